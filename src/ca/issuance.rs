//! Issuing end-entity certificates.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use zeroize::Zeroizing;

use crate::durable::write_pair_durably;
use crate::identity::SpiffeId;

use super::authority::Authority;
use super::signer::{Signer, read_bounded, sha256_hex};
use super::{
    Audience, CaError, CertificateKind, DnsName, IssuedCertificate, KeyAlgorithm, ServiceName, Tier, Timestamp,
};

/// The longest life of an end-entity certificate.
pub const MAX_TTL: Duration = Duration::from_secs(397 * 86_400);
const MAX_ALTERNATIVE_NAMES: usize = 100;

/// What a certificate is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CredentialUsage {
    /// Both, as a service that calls and is called needs.
    #[default]
    Both,
    /// Calling only.
    Client,
    /// Being called only.
    Server,
}

/// A certificate that is asked for.
#[derive(Debug, Clone)]
pub struct IssueRequest {
    /// What its files are called.
    pub name: ServiceName,
    /// Its DNS names.
    pub dns: Vec<DnsName>,
    /// Its IP addresses.
    pub ip: Vec<IpAddr>,
    /// Its SPIFFE ID; by default the member of the trust domain called `name`.
    pub spiffe: Option<SpiffeId>,
    /// How long it is valid from now; cut to the end of its issuer.
    pub ttl: Duration,
    /// What it is to be used for.
    pub usage: CredentialUsage,
    /// The kind of its key.
    pub algorithm: KeyAlgorithm,
}

/// A certificate, its chain and its key: recorded, and not yet handed out. `Debug` shows no key.
pub struct Credential {
    /// What was recorded.
    pub certificate: IssuedCertificate,
    chain_pem: String,
    key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// Issues a certificate. Its serial number is on the disk before this returns.
    pub fn issue(&mut self, request: &IssueRequest, now: Timestamp) -> Result<Credential, CaError> {
        let spiffe = self.spiffe_id_for(request)?;
        check_ttl(request.ttl)?;
        let alternative_names = alternative_names(&spiffe, request)?;
        let tier = self.issuing_tier();
        self.check_issuer_is_not_revoked(tier)?;
        let signer = self.signer(tier, "issuing")?;
        let not_after = self.end_of_validity(&signer, request.ttl, now)?;
        let not_before = now.backdated();
        let serial = self.store().unused_serial()?;

        let mut params = CertificateParams::default();
        params.not_before = not_before.to_date_time();
        params.not_after = not_after.to_date_time();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(serial.as_der_content()));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, request.name.as_str());
        params.subject_alt_names = alternative_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = request.usage.purposes();
        params.use_authority_key_identifier_extension = true;
        let key = request.algorithm.generate()?;
        let made = params.signed_by(&key, &signer.issuer).map_err(CaError::making("certificate"))?;

        let certificate = IssuedCertificate {
            serial,
            kind: CertificateKind::EndEntity,
            issuer: tier,
            name: request.name.to_string(),
            spiffe,
            dns: request.dns.iter().map(DnsName::to_string).collect(),
            ip: request.ip.clone(),
            not_before,
            not_after,
            sha256: sha256_hex(made.der()),
        };
        let chain_pem = made.pem() + &self.intermediate_pem()?;
        self.store_mut().record_issued(certificate.clone())?;
        Ok(Credential { certificate, chain_pem, key_pem: Zeroizing::new(key.serialize_pem()) })
    }

    fn spiffe_id_for(&self, request: &IssueRequest) -> Result<SpiffeId, CaError> {
        let trust_domain = self.store().trust_domain();
        let Some(id) = &request.spiffe else {
            return Ok(trust_domain.member(request.name.as_str())?);
        };
        if id.trust_domain() != trust_domain.as_str() {
            return Err(CaError::OtherTrustDomain { id: id.clone(), trust_domain: trust_domain.clone() });
        }
        if id.path().is_empty() {
            return Err(CaError::NoPath { id: id.clone() });
        }
        Ok(id.clone())
    }

    fn check_issuer_is_not_revoked(&self, tier: Tier) -> Result<(), CaError> {
        if tier == Tier::Root {
            return Ok(());
        }
        let store = self.store();
        let mut own = store.issued().iter().filter(|issued| issued.kind == CertificateKind::Intermediate);
        match own.find_map(|issued| store.revocation(&issued.serial)) {
            Some(revocation) => Err(CaError::IssuerRevoked { since: revocation.at }),
            None => Ok(()),
        }
    }

    /// No certificate outlives its issuer: it would fail on a day that nobody wrote down.
    fn end_of_validity(&mut self, signer: &Signer, ttl: Duration, now: Timestamp) -> Result<Timestamp, CaError> {
        if signer.not_after <= now {
            return Err(CaError::IssuerExpired { tier: signer.tier, not_after: signer.not_after });
        }
        let wanted = now.saturating_add(ttl);
        if wanted > signer.not_after {
            self.warn(format!(
                "the {} certificate ends at {}, and so does this one, not at {wanted}",
                signer.tier, signer.not_after
            ));
        }
        Ok(wanted.min(signer.not_after))
    }

    fn intermediate_pem(&self) -> Result<String, CaError> {
        if !self.has_intermediate() {
            return Ok(String::new());
        }
        let path = self.certificate_file(Tier::Intermediate);
        String::from_utf8(read_bounded(&path)?).map_err(|_| CaError::unusable(&path, "not PEM"))
    }
}

impl CredentialUsage {
    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Self::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Self::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        }
    }
}

impl Credential {
    /// The certificate and the intermediate, if any, in PEM.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The private key in PEM (PKCS #8).
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Writes `NAME.pem` and `NAME.key` (mode 0600) to a folder, each whole or not at all, and returns their paths.
    ///
    /// Two files cannot be replaced in one step: between the two renames, the new key stands beside the old certificate. A
    /// sidecar that reads them then keeps what it has and reads again.
    pub fn write_to(&self, folder: &Path) -> Result<(PathBuf, PathBuf), CaError> {
        let chain = folder.join(format!("{}.pem", self.certificate.name));
        let key = folder.join(format!("{}.key", self.certificate.name));
        write_pair_durably(
            (&key, self.key_pem.as_bytes(), Audience::Owner),
            (&chain, self.chain_pem.as_bytes(), Audience::Anyone),
        )?;
        Ok((chain, key))
    }
}

fn check_ttl(ttl: Duration) -> Result<(), CaError> {
    let bound = if ttl < Duration::from_secs(1) {
        "shorter than one second".to_owned()
    } else if ttl > MAX_TTL {
        let most = MAX_TTL.as_secs() / 86_400;
        format!("longer than the {most}d that a service's certificate may live; issue a shorter one and renew it")
    } else {
        return Ok(());
    };
    Err(CaError::Duration { option: "--ttl", value: ttl, bound })
}

fn alternative_names(spiffe: &SpiffeId, request: &IssueRequest) -> Result<Vec<SanType>, CaError> {
    let count = request.dns.len() + request.ip.len();
    if count > MAX_ALTERNATIVE_NAMES {
        return Err(CaError::TooManyNames { count, limit: MAX_ALTERNATIVE_NAMES });
    }
    let ia5 = |text: &str| text.try_into().map_err(CaError::making("name"));
    let mut names = vec![SanType::URI(ia5(spiffe.as_str())?)];
    for dns in &request.dns {
        names.push(SanType::DnsName(ia5(dns.as_str())?));
    }
    names.extend(request.ip.iter().copied().map(SanType::IpAddress));
    Ok(names)
}
