//! Enrolment: a public key and a credential become a certificate.
//!
//! How a request arrives is left to `authority`. What the certificate says comes from the registration; the request contributes
//! its public key alone.

use std::time::Duration;

use rcgen::SubjectPublicKeyInfo;

use crate::identity::SpiffeId;

use super::authority::Authority;
use super::entity::{EntityState, digest_of_secret};
use super::issuance::Template;
use super::registration::active_in;
use super::signer::sha256_hex;
use super::store::{self, Change, Entry};
use super::{
    CaError, CertificateKind, CertificateRecord, Credential, CredentialUsage, DnsName, IssuedCertificate, KeyAlgorithm,
    ServiceName, SigningRequest, Timestamp,
};

/// What a request to enrol is allowed by.
#[derive(Debug, Clone, Copy)]
pub enum EnrolmentCredential<'a> {
    /// A name and its one-time secret.
    Secret {
        /// The name, as the caller gave it.
        name: &'a str,
        /// The secret.
        secret: &'a str,
    },
    /// A certificate whose key the caller has: a bootstrap certificate to enrol, the current one to renew.
    Certificate {
        /// In DER.
        der: &'a [u8],
        /// True where it is to be renewed.
        renewal: bool,
    },
}

/// A certificate that was issued to whoever enrolled.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// What was recorded.
    pub certificate: IssuedCertificate,
    /// In DER.
    pub der: Vec<u8>,
}

/// Why a certificate that the caller presents is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// This authority did not issue it.
    Unknown,
    /// It is over.
    Expired,
    /// It is revoked.
    Revoked,
    /// It is not of the kind that is asked for here.
    WrongKind,
}

/// Why nobody was enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The name is unknown or the secret is wrong, used or over: the caller is not told which.
    #[error(
        "the name or the one-time secret is not valid: unknown, used or expired; ask the operator for another secret"
    )]
    Secret {
        /// Which it was, for the log.
        reason: &'static str,
    },
    /// The certificate presented is not enough.
    #[error("{}", .0.message())]
    Certificate(CertificateFault),
    /// The registration forbids it.
    #[error(transparent)]
    Registration(CaError),
    /// The authority cannot issue at the moment.
    #[error(transparent)]
    Unavailable(CaError),
}

impl Authority {
    /// Issues a certificate for the key of a request. It is on the disk, and a secret is used up, before this returns.
    pub async fn enrol(
        &self,
        credential: EnrolmentCredential<'_>,
        request: &SigningRequest,
        ttl: Duration,
        actor: &str,
        now: Timestamp,
    ) -> Result<Enrolled, EnrolmentError> {
        let key = SubjectPublicKeyInfo::from_der(request.public_key())
            .map_err(|error| EnrolmentError::Unavailable(CaError::making("certificate")(error)))?;
        let issuers = self.issuers().await?;
        let mut change = self.store().begin().await?;
        let (name, action) = match credential {
            EnrolmentCredential::Secret { name, secret } => {
                (use_secret(&mut change, name, secret, now).await?, "enrolled")
            }
            EnrolmentCredential::Certificate { der, renewal } => {
                let wanted = if renewal { CertificateKind::EndEntity } else { CertificateKind::Bootstrap };
                let name = presented(&mut change, der, wanted, now).await?;
                (name, if renewal { "renewed" } else { "enrolled" })
            }
        };
        let entity = match active_in(&mut change, &name, now).await {
            Ok(entity) => entity,
            Err(
                error @ (CaError::NotRegistered { .. }
                | CaError::NotActive { .. }
                | CaError::RegistrationExpired { .. }),
            ) => {
                return Err(EnrolmentError::Registration(error));
            }
            Err(error) => return Err(error.into()),
        };
        let template = Template {
            kind: CertificateKind::EndEntity,
            name: entity.name.as_str(),
            spiffe: &entity.spiffe,
            dns: &entity.dns,
            ip: &entity.ip,
            usage: entity.usage,
            not_after: entity.end_of(now.saturating_add(entity.max_ttl.unwrap_or(ttl))),
        };
        let (certificate, der) = self.certify(&mut change, &issuers, &template, &key, now).await?;
        let detail =
            format!("serial {}, until {}, by {}", certificate.serial, certificate.not_after, credential.kind());
        change.log(Entry { at: now, actor, action, subject: entity.name.as_str(), detail: &detail }).await?;
        change.commit().await?;
        Ok(Enrolled { certificate, der })
    }

    /// Who presents a certificate of this authority, valid in its time; revoked or not.
    pub async fn judge(
        &self,
        der: &[u8],
        now: Timestamp,
    ) -> Result<Result<CertificateRecord, CertificateFault>, CaError> {
        let mut connection = self.store().connection().await?;
        let found = store::certificate_by_digest(&mut connection, &sha256_hex(der)).await;
        let found = found.map_err(self.store().fault("read"))?;
        Ok(match found {
            None => Err(CertificateFault::Unknown),
            Some(found) if found.certificate.not_after < now => Err(CertificateFault::Expired),
            Some(found) => Ok(found),
        })
    }

    /// Issues the certificate of the authority's own server.
    pub async fn issue_server(
        &self,
        spiffe: &SpiffeId,
        dns: &[DnsName],
        ip: &[std::net::IpAddr],
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Credential, CaError> {
        let template = Template {
            kind: CertificateKind::Server,
            name: "ca",
            spiffe,
            dns,
            ip,
            usage: CredentialUsage::Server,
            not_after: now.saturating_add(ttl),
        };
        self.issue_with_key(&template, KeyAlgorithm::default(), "server", now).await
    }

    /// True where a name's registration changed after its certificate was issued, or another generation issues now: the holder
    /// should renew.
    pub async fn should_renew(&self, record: &CertificateRecord) -> Result<bool, CaError> {
        let certificate = &record.certificate;
        let issuers = self.issuers().await?;
        if certificate.issuer != issuers.issuing() {
            return Ok(true);
        }
        let Ok(name) = certificate.name.parse::<ServiceName>() else { return Ok(false) };
        let entity = match self.registered(&name).await {
            Err(CaError::NotRegistered { .. }) => return Ok(false),
            entity => entity?,
        };
        let dns: Vec<String> = entity.dns.iter().map(DnsName::to_string).collect();
        let same = entity.spiffe == certificate.spiffe && dns == certificate.dns && entity.ip == certificate.ip;
        Ok(entity.state == EntityState::Active && !same)
    }
}

async fn use_secret(
    change: &mut Change,
    name: &str,
    secret: &str,
    now: Timestamp,
) -> Result<ServiceName, EnrolmentError> {
    let wrong = |reason| EnrolmentError::Secret { reason };
    let digest = digest_of_secret(secret);
    let found = change.secret(&digest).await?.ok_or_else(|| wrong("unknown secret"))?;
    if found.name != name {
        return Err(wrong("secret of another name"));
    }
    if found.used_at.is_some() {
        return Err(wrong("secret used before"));
    }
    if found.expires <= now {
        return Err(wrong("secret expired"));
    }
    change.use_secret(&digest, now).await?;
    name.parse().map_err(|_| wrong("no name"))
}

async fn presented(
    change: &mut Change,
    der: &[u8],
    wanted: CertificateKind,
    now: Timestamp,
) -> Result<ServiceName, EnrolmentError> {
    let refused = |fault| EnrolmentError::Certificate(fault);
    let found = store::certificate_by_digest(change.connection(), &sha256_hex(der)).await;
    let CertificateRecord { certificate, revocation } =
        found.map_err(change.read_fault())?.ok_or_else(|| refused(CertificateFault::Unknown))?;
    if revocation.is_some() {
        return Err(refused(CertificateFault::Revoked));
    }
    if certificate.not_after < now {
        return Err(refused(CertificateFault::Expired));
    }
    if certificate.kind != wanted {
        return Err(refused(CertificateFault::WrongKind));
    }
    certificate.name.parse().map_err(|_| refused(CertificateFault::WrongKind))
}

impl EnrolmentCredential<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "one-time secret",
            Self::Certificate { renewal: false, .. } => "bootstrap certificate",
            Self::Certificate { renewal: true, .. } => "current certificate",
        }
    }
}

impl CertificateFault {
    /// For the caller.
    pub fn message(self) -> &'static str {
        match self {
            Self::Unknown => "the certificate presented was not issued by this authority",
            Self::Expired => {
                "the certificate presented has expired; enrol with the bootstrap certificate or a one-time secret"
            }
            Self::Revoked => "the certificate presented is revoked",
            Self::WrongKind => "the certificate presented is not of the kind that this request takes",
        }
    }
}

impl From<CaError> for EnrolmentError {
    fn from(error: CaError) -> Self {
        Self::Unavailable(error)
    }
}
