//! Revoking what was issued.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::x509::SerialNumber;

use super::authority::{Authority, common_name, subject_of};
use super::signer::{read_certificate, sha256_hex};
use super::store::{self, CertificateFilter, Change, Entry};
use super::{CaError, CertificateKind, CertificateRecord, IssuedCertificate, Revocation, ServiceName, Timestamp};

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
    pub async fn serial_of_file(&self, path: &Path) -> Result<SerialNumber, CaError> {
        let der = read_certificate(path)?;
        let (_, certificate) = X509Certificate::from_der(&der)
            .map_err(|error| CaError::unusable(path, format!("not an X.509 certificate: {error}")))?;
        let serial = SerialNumber::from_der_content(certificate.raw_serial());
        match self.find(&serial).await? {
            // The digest, not the name: anyone can write our name and number into a certificate.
            Some(found) if found.certificate.sha256 == sha256_hex(&der) => Ok(serial),
            Some(_) => Err(CaError::Impostor { path: path.to_owned(), serial }),
            None => {
                let issuer = common_name(certificate.issuer());
                let issuers = self.issuers().await?;
                let mut names = issuers.live().filter_map(|(_, der)| subject_of(der));
                if names.any(|ours| ours == issuer) {
                    return Err(CaError::UnknownSerial { serial });
                }
                let ours = subject_of(issuers.der(issuers.issuing())?).unwrap_or_default();
                Err(CaError::OtherIssuer { path: path.to_owned(), serial, issuer, ours })
            }
        }
    }

    /// The certificate with a serial number.
    pub async fn find(&self, serial: &SerialNumber) -> Result<Option<CertificateRecord>, CaError> {
        let mut connection = self.store().connection().await?;
        store::certificate(&mut connection, serial).await.map_err(self.store().fault("read"))
    }

    /// Revokes a certificate for good. One that is revoked already keeps its date and reason.
    pub async fn revoke(
        &self,
        serial: &SerialNumber,
        reason: RevocationReason,
        actor: &str,
        now: Timestamp,
    ) -> Result<RevocationOutcome, CaError> {
        let mut change = self.store().begin().await?;
        let found = store::certificate(change.connection(), serial).await.map_err(change.read_fault())?;
        let CertificateRecord { certificate, revocation } =
            found.ok_or_else(|| CaError::UnknownSerial { serial: serial.clone() })?;
        if certificate.kind == CertificateKind::Root {
            return Err(CaError::RootRevocation { serial: serial.clone() });
        }
        if let Some(revocation) = revocation {
            return Ok(RevocationOutcome { certificate, revocation, newly: false });
        }
        let revocation = Revocation { at: now, reason };
        record(&mut change, &certificate, revocation, actor).await?;
        change.commit().await?;
        Ok(RevocationOutcome { certificate, revocation, newly: true })
    }

    /// Revokes every certificate of a name that is valid and not revoked, and makes its unused one-time secrets useless: whoever
    /// has the one may have the other.
    ///
    /// # Errors
    /// [`CaError::NothingToRevoke`] where there is none.
    pub async fn revoke_name(
        &self,
        name: &ServiceName,
        reason: RevocationReason,
        actor: &str,
        now: Timestamp,
    ) -> Result<Vec<IssuedCertificate>, CaError> {
        let mut change = self.store().begin().await?;
        // By a clock that is behind, too: there it could still be renewed.
        let valid_at = Some(now.backdated());
        let filter = CertificateFilter { name: Some(name.to_string()), valid_at, ..CertificateFilter::default() };
        let found = store::certificates(change.connection(), &filter).await.map_err(change.read_fault())?;
        if found.is_empty() {
            return Err(CaError::NothingToRevoke { name: name.to_string() });
        }
        for CertificateRecord { certificate, .. } in &found {
            record(&mut change, certificate, Revocation { at: now, reason }, actor).await?;
        }
        change.void_secrets(name.as_str()).await?;
        change.commit().await?;
        Ok(found.into_iter().map(|found| found.certificate).collect())
    }
}

async fn record(
    change: &mut Change,
    certificate: &IssuedCertificate,
    revocation: Revocation,
    actor: &str,
) -> Result<(), CaError> {
    change.record_revoked(&certificate.serial, revocation).await?;
    let detail = format!("serial {}, {}", certificate.serial, revocation.reason);
    let (at, action, subject) = (revocation.at, "revoked", certificate.name.as_str());
    change.log(Entry { at, actor, action, subject, detail: &detail }).await
}
