//! `[timeouts]`: bounds on how long a peer may take.

use std::time::Duration;

use super::reader::TableReader;

/// Times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// A TLS handshake, ours or a peer's; default 10 s.
    pub handshake: Duration,
    /// Connecting to the local service or a peer, name resolution included; default 5 s.
    pub connect: Duration,
    /// The header section of a request, from its first byte; default 10 s.
    pub request_header: Duration,
    /// From the end of a request's header section to the first byte of the answer; default no bound.
    pub response_header: Option<Duration>,
    /// A connection without a request in flight or, for TCP, without a byte; default 5 min.
    pub idle: Duration,
    /// A pooled upstream connection without a request; default 60 s.
    pub upstream_idle: Duration,
    /// What is left in flight at a shutdown or a retired connection; default 30 s.
    pub drain: Duration,
    /// The age at which a connection is retired; default 1 h.
    pub max_connection_age: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            request_header: Duration::from_secs(10),
            response_header: None,
            idle: Duration::from_secs(300),
            upstream_idle: Duration::from_secs(60),
            drain: Duration::from_secs(30),
            max_connection_age: Duration::from_secs(3600),
        }
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Timeouts {
    let default = Timeouts::default();
    Timeouts {
        handshake: t.duration("handshake", SHORTEST..=HOUR).unwrap_or(default.handshake),
        connect: t.duration("connect", SHORTEST..=HOUR).unwrap_or(default.connect),
        request_header: t.duration("request_header", SHORTEST..=HOUR).unwrap_or(default.request_header),
        response_header: t.duration("response_header", Duration::ZERO..=DAY).filter(|bound| !bound.is_zero()),
        idle: t.duration("idle", SHORTEST..=DAY).unwrap_or(default.idle),
        upstream_idle: t.duration("upstream_idle", SHORTEST..=DAY).unwrap_or(default.upstream_idle),
        drain: t.duration("drain", SHORTEST..=DAY).unwrap_or(default.drain),
        max_connection_age: t
            .duration("max_connection_age", Duration::from_secs(1)..=30 * DAY)
            .unwrap_or(default.max_connection_age),
    }
}
