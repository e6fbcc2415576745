//! `[tls]`: which protocol versions are spoken.

/// The TLS policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The oldest version accepted and offered; default 1.3.
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// TLS 1.2, with ECDHE alone (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[default]
    V1_3,
}
