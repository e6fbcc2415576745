//! What a certificate says of itself, for people, logs and headers.

use std::time::SystemTime;

use crate::identity::ProvenNames;

use super::SerialNumber;

/// What a certificate says of itself. Nothing here is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The subject as RFC 4514 text; may be empty.
    pub subject: String,
    /// The issuer as RFC 4514 text.
    pub issuer: String,
    /// The serial number.
    pub serial: SerialNumber,
    /// The names of the subject alternative name extension that identify a peer.
    pub names: ProvenNames,
    /// Start of validity.
    pub not_before: SystemTime,
    /// End of validity.
    pub not_after: SystemTime,
    /// SHA-256 of the DER.
    pub fingerprint: [u8; 32],
}
