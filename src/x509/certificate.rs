//! What a certificate says of itself, for people, logs and headers.

use std::fmt;
use std::time::SystemTime;

use thiserror::Error;

use crate::identity::ProvenNames;

use super::SerialNumber;
use super::facts::Facts;

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

/// Bytes that are not an X.509 certificate in strict DER.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not an X.509 certificate in DER: {detail}")]
pub struct MalformedCertificate {
    /// What the parser found.
    pub detail: String,
}

impl CertificateInfo {
    /// Reads a certificate in DER. Where it carries more than one SPIFFE ID, or an ill-formed one, `names` holds none.
    ///
    /// # Errors
    /// Where the bytes are not one whole certificate, or one of the extensions that rules look at is ill-formed.
    pub fn from_der(der: &[u8]) -> Result<Self, MalformedCertificate> {
        Facts::read(der).map(|facts| facts.info)
    }

    /// A short name for messages: the subject, or else the first name, or else the serial number.
    pub fn title(&self) -> String {
        if !self.subject.is_empty() {
            self.subject.clone()
        } else if self.names.is_empty() {
            format!("serial {}", self.serial)
        } else {
            self.names.to_string()
        }
    }

    /// SHA-256 of the DER as lower-case hexadecimal.
    pub fn fingerprint_hex(&self) -> String {
        Hex(&self.fingerprint).to_string()
    }
}

/// Octets as lower-case hexadecimal.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}
