//! `[timeouts]`: bounds on how long a peer may take.

use std::time::Duration;

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
