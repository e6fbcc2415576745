//! Why a chain was refused.

use std::fmt;
use std::time::SystemTime;

use super::{CertificateInfo, SerialNumber};

/// Why a peer's chain was refused, and whose it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the peer's certificate says of itself; absent where it could not be parsed or none came.
    pub certificate: Option<Box<CertificateInfo>>,
    /// The reason.
    pub reason: RefusalReason,
}

/// The reason, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The certificate's validity ended.
    Expired {
        /// When.
        not_after: SystemTime,
    },
    /// Listed on its issuer's CRL.
    Revoked {
        /// Which certificate of the path.
        serial: SerialNumber,
        /// Since when.
        since: SystemTime,
        /// The reason code's name in RFC 5280 section 5.3.1, such as `keyCompromise`.
        reason: Option<&'static str>,
    },
}

impl RefusalReason {
    /// A short fixed name for metrics and logs, such as `expired`, `unknown_issuer` or `revoked`.
    pub fn label(&self) -> &'static str {
        todo!()
    }

    /// What the reader of the refusal can do about it.
    pub fn hint(&self) -> &'static str {
        todo!()
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
