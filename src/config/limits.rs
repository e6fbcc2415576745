//! `[limits]`: bounds on what a peer controls.

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
    /// Idle connections kept to one upstream by one worker; default 64.
    pub max_idle_upstream: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_handshakes: 256,
            max_header_bytes: 64 * 1024,
            max_headers: 100,
            max_streams: 256,
            max_idle_upstream: 64,
        }
    }
}
