//! Revoking what was issued.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::x509::SerialNumber;

use super::authority::{Authority, common_name};
use super::signer::{read_certificate, sha256_hex};
use super::{CaError, CertificateKind, IssuedCertificate, Revocation, Timestamp};

/// Why a certificate is revoked (RFC 5280 section 5.3.1). `certificateHold` and `removeFromCRL` are absent: a revocation here
/// is for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RevocationReason {
    /// No reason given; the CRL entry then has none.
    #[default]
    Unspecified,
    /// Someone else has, or may have, the private key.
    KeyCompromise,
    /// The same of an authority's key.
    CaCompromise,
    /// The service changed its name or its owner.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// The service is no more.
    CessationOfOperation,
    /// The service may no longer do what the certificate stands for.
    PrivilegeWithdrawn,
}

/// A text that is no [`RevocationReason`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a revocation reason such as \"keyCompromise\"")]
pub struct UnknownReason {
    text: String,
}

/// What a call to revoke found or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationOutcome {
    /// Which certificate.
    pub certificate: IssuedCertificate,
    /// Since when and why it is revoked: as recorded first.
    pub revocation: Revocation,
    /// False where it was revoked before, which changes nothing.
    pub newly: bool,
}

impl RevocationReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The name that RFC 5280 gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
        }
    }

    pub(super) fn to_crl_code(self) -> rcgen::RevocationReason {
        match self {
            Self::Unspecified => rcgen::RevocationReason::Unspecified,
            Self::KeyCompromise => rcgen::RevocationReason::KeyCompromise,
            Self::CaCompromise => rcgen::RevocationReason::CaCompromise,
            Self::AffiliationChanged => rcgen::RevocationReason::AffiliationChanged,
            Self::Superseded => rcgen::RevocationReason::Superseded,
            Self::CessationOfOperation => rcgen::RevocationReason::CessationOfOperation,
            Self::PrivilegeWithdrawn => rcgen::RevocationReason::PrivilegeWithdrawn,
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RevocationReason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|reason| reason.as_str().eq_ignore_ascii_case(text));
        named.ok_or_else(|| UnknownReason { text: text.to_owned() })
    }
}

impl Authority {
    /// The serial number of a certificate in a file, PEM or DER, of which the first counts.
    ///
    /// # Errors
    /// An unreadable file, or a certificate that is not the one that this authority issued under that number.
    pub fn serial_of_file(&self, path: &Path) -> Result<SerialNumber, CaError> {
        let der = read_certificate(path)?;
        let (_, certificate) = X509Certificate::from_der(&der)
            .map_err(|error| CaError::unusable(path, format!("not an X.509 certificate: {error}")))?;
        let serial = SerialNumber::from_der_content(certificate.raw_serial());
        match self.store().find(&serial) {
            // The digest, not the name: anyone can write our name and number into a certificate.
            Some(issued) if issued.sha256 == sha256_hex(&der) => Ok(serial),
            Some(_) => Err(CaError::Impostor { path: path.to_owned(), serial }),
            None => {
                let (issuer, ours) = (common_name(certificate.issuer()), self.issuer_name()?);
                if issuer == ours {
                    return Err(CaError::UnknownSerial { serial });
                }
                Err(CaError::OtherIssuer { path: path.to_owned(), serial, issuer, ours })
            }
        }
    }

    /// Revokes a certificate for good. One that is revoked already keeps its date and reason.
    pub fn revoke(
        &mut self,
        serial: &SerialNumber,
        reason: RevocationReason,
        now: Timestamp,
    ) -> Result<RevocationOutcome, CaError> {
        let certificate = self.store().find(serial).cloned();
        let certificate = certificate.ok_or_else(|| CaError::UnknownSerial { serial: serial.clone() })?;
        if certificate.kind == CertificateKind::Root {
            return Err(CaError::RootRevocation { serial: serial.clone() });
        }
        if let Some(revocation) = self.store().revocation(serial) {
            return Ok(RevocationOutcome { certificate, revocation, newly: false });
        }
        let revocation = Revocation { at: now, reason };
        self.store_mut().record_revoked(serial, revocation)?;
        Ok(RevocationOutcome { certificate, revocation, newly: true })
    }
}
