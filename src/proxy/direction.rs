//! Which way a connection goes.

/// Which way a connection goes, seen from the local service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards the local service.
    Inbound,
    /// Away from it.
    Outbound,
    /// From the public to peers.
    Edge,
}

impl Direction {
    /// Its name in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Edge => "edge",
        }
    }
}
