//! `[tls]`: which protocol versions are spoken.

use super::reader::TableReader;

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

const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Tls {
    let min_version = t.choice("min_version", &VERSIONS).map_or_else(TlsVersion::default, |choice| choice.value);
    Tls { min_version }
}
