//! `[limits]`: bounds on what a peer controls.

use super::reader::TableReader;

/// Counts and sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of one listener; default 10,000. One more waits in the kernel's queue.
    pub max_connections: usize,
    /// TLS handshakes in flight on one listener; default 256.
    pub max_handshakes: usize,
    /// Bytes of one request's or response's header section; default 64 KiB.
    pub max_header_bytes: usize,
    /// Header fields of one HTTP/1.1 message; default 100.
    pub max_headers: usize,
    /// Streams in flight that a peer may open on one HTTP/2 connection; default 256.
    pub max_streams: u32,
    /// Idle connections kept to one upstream by one worker; default 256, as many as one caller's connection may have streams: where
    /// fewer are kept than are used at once, each request beyond them connects anew.
    pub max_idle_upstream: usize,
    /// Connections to one upstream over HTTP, in use or idle; default 4,096. A request that needs one more is answered with 503.
    pub max_upstream: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_handshakes: 256,
            max_header_bytes: 64 * 1024,
            max_headers: 100,
            max_streams: 256,
            max_idle_upstream: 256,
            max_upstream: 4096,
        }
    }
}

/// Bytes of a body read at a time: with the header of the HTTP/2 frame that they go on in, four full TLS records.
const HTTP1_BUFFER: usize = 4 * (1 << 14) - 9;

impl Limits {
    /// Bytes that an HTTP/1.1 connection buffers each way.
    pub fn http1_buffer(&self) -> usize {
        self.max_header_bytes.max(HTTP1_BUFFER)
    }
}

/// The least that the HTTP/1.1 parser can work with.
const MIN_HEADER_BYTES: usize = 8 * 1024;

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Limits {
    let default = Limits::default();
    Limits {
        max_connections: t.integer("max_connections", 1..=1_000_000).unwrap_or(default.max_connections),
        max_handshakes: t.integer("max_handshakes", 1..=100_000).unwrap_or(default.max_handshakes),
        max_header_bytes: t
            .integer("max_header_bytes", MIN_HEADER_BYTES..=1024 * 1024)
            .unwrap_or(default.max_header_bytes),
        max_headers: t.integer("max_headers", 1..=10_000).unwrap_or(default.max_headers),
        max_streams: t.integer("max_streams", 1..=100_000).unwrap_or(default.max_streams),
        max_idle_upstream: t.integer("max_idle_upstream", 0..=10_000).unwrap_or(default.max_idle_upstream),
        max_upstream: t.integer("max_upstream", 1..=1_000_000).unwrap_or(default.max_upstream),
    }
}
