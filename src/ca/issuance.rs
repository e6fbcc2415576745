//! Issuing certificates to services.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use zeroize::Zeroizing;

use crate::durable::write_pair_durably;
use crate::identity::SpiffeId;

use super::authority::Authority;
use super::issuers::{Issuers, pem_of};
use super::signer::{Signer, sha256_hex};
use super::store::{self, Change, Entry, Store};
use super::{
    Audience, CaError, CertificateKind, DnsName, IssuedCertificate, IssuerId, KeyAlgorithm, ServiceName, Tier,
    Timestamp,
};

/// The longest life of an end-entity certificate.
pub const MAX_TTL: Duration = Duration::from_secs(397 * 86_400);
const MAX_ALTERNATIVE_NAMES: usize = 100;
/// The one purpose of a bootstrap certificate. No TLS peer asks for it, and since the extension is there, it is asked for:
/// neither a server nor a client of anyone's accepts such a certificate. An arc of ours alone (ITU-T X.667).
const BOOTSTRAP_PURPOSE: [u64; 3] = [2, 25, 6_203_447_118_253_170_461];
/// id-ce-noRevAvail (RFC 9608).
const NO_REV_AVAIL: [u64; 4] = [2, 5, 29, 56];
const DISTRIBUTION_POINT: &str = "distribution_point";
const NO_REVOCATION_BELOW: &str = "no_revocation_below";
const DELTA_NEXT_UPDATE: &str = "delta_next_update";

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

/// What certificates say of revocation. The server notes it in the store, so that the command line issues alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevocationPointers {
    /// Where the CRL of the first generation's issuing key is; later generations' is beside it, see [`distribution_point_of`].
    pub distribution_point: Option<String>,
    /// Certificates that live no longer than this say that nobody will revoke them (RFC 9608).
    pub no_revocation_below: Option<Duration>,
    /// How long a delta CRL serves; without it there are none. They are beside the distribution point, which they need, such
    /// as `http://ca:8480/ca-delta.crl` beside `http://ca:8480/ca.crl`.
    pub delta_next_update: Option<Duration>,
}

/// How the revocations of an issuer are told between its complete CRLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeltaCrls {
    /// Where its delta CRL is.
    pub(super) url: String,
    /// How long that serves.
    pub(super) next_update: Duration,
}

/// A certificate, its chain and its key: recorded, and not yet handed out. `Debug` shows no key.
pub struct Credential {
    /// What was recorded.
    pub certificate: IssuedCertificate,
    /// What the operator should know.
    pub warning: Option<String>,
    chain_pem: String,
    key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A certificate that is to be signed.
pub(super) struct Template<'a> {
    pub(super) kind: CertificateKind,
    pub(super) name: &'a str,
    pub(super) spiffe: &'a SpiffeId,
    pub(super) dns: &'a [DnsName],
    pub(super) ip: &'a [IpAddr],
    pub(super) usage: CredentialUsage,
    /// When it is to end; cut to the end of its issuer.
    pub(super) not_after: Timestamp,
}

impl Authority {
    /// Issues a certificate with a new key. Its serial number is on the disk before this returns.
    pub async fn issue(&self, request: &IssueRequest, actor: &str, now: Timestamp) -> Result<Credential, CaError> {
        let spiffe = spiffe_id_for(self.store(), &request.name, request.spiffe.as_ref())?;
        check_ttl("--ttl", request.ttl)?;
        check_names(&request.dns, &request.ip)?;
        let template = Template {
            kind: CertificateKind::EndEntity,
            name: request.name.as_str(),
            spiffe: &spiffe,
            dns: &request.dns,
            ip: &request.ip,
            usage: request.usage,
            not_after: now.saturating_add(request.ttl),
        };
        self.issue_with_key(&template, request.algorithm, actor, now).await
    }

    /// Issues to a key that is made here.
    pub(super) async fn issue_with_key(
        &self,
        template: &Template<'_>,
        algorithm: KeyAlgorithm,
        actor: &str,
        now: Timestamp,
    ) -> Result<Credential, CaError> {
        let key = algorithm.generate()?;
        let issuers = self.issuers().await?;
        let mut change = self.store().begin().await?;
        let (certificate, der) = self.certify(&mut change, &issuers, template, &key, now).await?;
        let detail = format!("serial {}, {}, until {}", certificate.serial, certificate.kind, certificate.not_after);
        change.log(Entry { at: now, actor, action: "issued", subject: template.name, detail: &detail }).await?;
        change.commit().await?;
        let warning = (certificate.not_after < template.not_after).then(|| {
            format!(
                "the {} certificate ends at {}, and so does this one, not at {}",
                certificate.issuer, certificate.not_after, template.not_after
            )
        });
        let intermediate = issuers.intermediate().map(|der| pem_of("CERTIFICATE", der)).unwrap_or_default();
        let chain_pem = pem_of("CERTIFICATE", &der) + &intermediate;
        Ok(Credential { certificate, warning, chain_pem, key_pem: Zeroizing::new(key.serialize_pem()) })
    }

    /// Signs a certificate over a public key and records it in the change.
    pub(super) async fn certify(
        &self,
        change: &mut Change,
        issuers: &Issuers,
        template: &Template<'_>,
        public_key: &impl PublicKeyData,
        now: Timestamp,
    ) -> Result<(IssuedCertificate, Vec<u8>), CaError> {
        let issuer = issuers.issuing();
        check_is_not_revoked(change, issuer, issuers.der(issuer)?).await?;
        let signer = self.signer(issuers, issuer, "issuing")?;
        if signer.not_after <= now {
            return Err(CaError::IssuerExpired { issuer, not_after: signer.not_after });
        }
        let pointers = pointers(change).await?;
        let serial = Store::random_serial()?;
        // No certificate outlives its issuer: it would fail on a day that nobody wrote down.
        let (not_before, not_after) = (now.backdated(), template.not_after.min(signer.not_after));
        let mut params = CertificateParams::default();
        params.not_before = not_before.to_date_time();
        params.not_after = not_after.to_date_time();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(serial.as_der_content()));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, template.name);
        params.subject_alt_names = template.alternative_names()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = template.purposes();
        params.use_authority_key_identifier_extension = true;
        pointers.put_on(&mut params, issuer, not_after, now);
        let made = sign(&params, public_key, &signer)?;
        let certificate = IssuedCertificate {
            serial,
            kind: template.kind,
            issuer,
            name: template.name.to_owned(),
            spiffe: template.spiffe.clone(),
            dns: template.dns.iter().map(DnsName::to_string).collect(),
            ip: template.ip.to_vec(),
            not_before,
            not_after,
            sha256: sha256_hex(made.der()),
        };
        change.record_issued(&certificate).await?;
        Ok((certificate, made.der().to_vec()))
    }

    /// What certificates say of revocation.
    pub async fn revocation_pointers(&self) -> Result<RevocationPointers, CaError> {
        let mut connection = self.store().connection().await?;
        pointers_on(&mut connection).await.map_err(self.store().fault("read"))
    }

    /// Notes what certificates say of revocation from now on.
    pub async fn set_revocation_pointers(&self, pointers: &RevocationPointers) -> Result<(), CaError> {
        if self.revocation_pointers().await? == *pointers {
            return Ok(());
        }
        let mut change = self.store().begin().await?;
        let below = pointers.no_revocation_below.map(|below| below.as_secs().to_string());
        change.set_setting(DISTRIBUTION_POINT, pointers.distribution_point.as_deref()).await?;
        change.set_setting(NO_REVOCATION_BELOW, below.as_deref()).await?;
        let delta = pointers.delta_next_update.map(|next_update| next_update.as_secs().to_string());
        change.set_setting(DELTA_NEXT_UPDATE, delta.as_deref()).await?;
        change.commit().await.map(drop)
    }
}

fn sign(
    params: &CertificateParams,
    public_key: &impl PublicKeyData,
    signer: &Signer,
) -> Result<rcgen::Certificate, CaError> {
    params.signed_by(public_key, &signer.issuer).map_err(CaError::making("certificate"))
}

async fn check_is_not_revoked(change: &mut Change, issuer: IssuerId, der: &[u8]) -> Result<(), CaError> {
    if issuer.tier == Tier::Root {
        return Ok(());
    }
    let own = store::certificate_by_digest(change.connection(), &sha256_hex(der)).await;
    match own.map_err(change.read_fault())?.and_then(|own| own.revocation) {
        Some(revocation) => Err(CaError::IssuerRevoked { issuer, since: revocation.at }),
        None => Ok(()),
    }
}

pub(super) async fn pointers(change: &mut Change) -> Result<RevocationPointers, CaError> {
    pointers_on(change.connection()).await.map_err(change.read_fault())
}

async fn pointers_on(connection: &mut sqlx::AnyConnection) -> sqlx::Result<RevocationPointers> {
    let distribution_point = store::setting(connection, DISTRIBUTION_POINT).await?;
    let seconds = |setting: Option<String>| setting.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let no_revocation_below = seconds(store::setting(connection, NO_REVOCATION_BELOW).await?);
    let delta_next_update = seconds(store::setting(connection, DELTA_NEXT_UPDATE).await?);
    Ok(RevocationPointers { distribution_point, no_revocation_below, delta_next_update })
}

impl RevocationPointers {
    /// How the revocations of a generation's issuing key are told between complete CRLs, where that is by delta CRLs.
    pub(super) fn delta_crls(&self, generation: u32) -> Option<DeltaCrls> {
        let point = distribution_point_of(self.distribution_point.as_deref()?, generation);
        Some(DeltaCrls { url: delta_point_of(&point), next_update: self.delta_next_update? })
    }

    fn put_on(&self, params: &mut CertificateParams, issuer: IssuerId, not_after: Timestamp, now: Timestamp) {
        if self.no_revocation_below.is_some_and(|below| not_after <= now.saturating_add(below)) {
            // NULL, as RFC 9608 section 2 has it. A certificate that says so names no CRL.
            params.custom_extensions = vec![CustomExtension::from_oid_content(&NO_REV_AVAIL, vec![0x05, 0x00])];
        } else if let Some(point) = &self.distribution_point {
            let uris = vec![distribution_point_of(point, issuer.generation)];
            params.crl_distribution_points = vec![CrlDistributionPoint { uris }];
        }
    }
}

/// Where the delta CRL is whose complete one is at this address.
fn delta_point_of(distribution_point: &str) -> String {
    with_suffix(distribution_point, "-delta")
}

/// Where the CRL of a generation's issuing key is: of the first at the address that is configured, of others beside it, such
/// as `http://ca:8480/ca-2.crl`. A distribution point holds the CRL of one issuer.
pub fn distribution_point_of(configured: &str, generation: u32) -> String {
    if generation == 1 {
        return configured.to_owned();
    }
    with_suffix(configured, &format!("-{generation}"))
}

/// An address of a file whose name, but for its extension, ends so.
fn with_suffix(address: &str, suffix: &str) -> String {
    let end_of_path = address.find(['?', '#']).unwrap_or(address.len());
    let (path, rest) = address.split_at(end_of_path);
    let file = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[file..].rfind('.') {
        Some(dot) => format!("{}{suffix}{}{rest}", &path[..file + dot], &path[file + dot..]),
        None => format!("{path}{suffix}{rest}"),
    }
}

/// The SPIFFE ID that a name has, or may have by the wish of the operator.
pub(super) fn spiffe_id_for(store: &Store, name: &ServiceName, wanted: Option<&SpiffeId>) -> Result<SpiffeId, CaError> {
    let trust_domain = store.trust_domain();
    let Some(id) = wanted else {
        return Ok(trust_domain.member(name.as_str())?);
    };
    if id.trust_domain() != trust_domain.as_str() {
        return Err(CaError::OtherTrustDomain { id: id.clone(), trust_domain: trust_domain.clone() });
    }
    if id.path().is_empty() {
        return Err(CaError::NoPath { id: id.clone() });
    }
    Ok(id.clone())
}

impl Template<'_> {
    fn alternative_names(&self) -> Result<Vec<SanType>, CaError> {
        if self.kind == CertificateKind::Bootstrap {
            return Ok(Vec::new());
        }
        let ia5 = |text: &str| text.try_into().map_err(CaError::making("name"));
        let mut names = vec![SanType::URI(ia5(self.spiffe.as_str())?)];
        for dns in self.dns {
            names.push(SanType::DnsName(ia5(dns.as_str())?));
        }
        names.extend(self.ip.iter().copied().map(SanType::IpAddress));
        Ok(names)
    }

    fn purposes(&self) -> Vec<ExtendedKeyUsagePurpose> {
        if self.kind == CertificateKind::Bootstrap {
            return vec![ExtendedKeyUsagePurpose::Other(BOOTSTRAP_PURPOSE.to_vec())];
        }
        self.usage.purposes()
    }
}

impl CredentialUsage {
    /// As the store and JSON have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Both, Self::Client, Self::Server].into_iter().find(|usage| usage.as_str() == text)
    }

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

    /// Both in one PEM text, the key first.
    pub fn combined_pem(&self) -> Zeroizing<String> {
        Zeroizing::new([self.key_pem.as_str(), &self.chain_pem].concat())
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

pub(super) fn check_ttl(option: &'static str, ttl: Duration) -> Result<(), CaError> {
    let bound = if ttl < Duration::from_secs(1) {
        "shorter than one second".to_owned()
    } else if ttl > MAX_TTL {
        let most = MAX_TTL.as_secs() / 86_400;
        format!("longer than the {most}d that a service's certificate may live; issue a shorter one and renew it")
    } else {
        return Ok(());
    };
    Err(CaError::Duration { option, value: ttl, bound })
}

pub(super) fn check_names(dns: &[DnsName], ip: &[IpAddr]) -> Result<(), CaError> {
    let count = dns.len() + ip.len();
    if count > MAX_ALTERNATIVE_NAMES {
        return Err(CaError::TooManyNames { count, limit: MAX_ALTERNATIVE_NAMES });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_generation_has_its_crl_beside_the_first() {
        for (configured, second) in [
            ("http://ca:8480/ca.crl", "http://ca:8480/ca-2.crl"),
            ("http://ca.example/pki/crl", "http://ca.example/pki/crl-2"),
            ("http://ca/a.b.crl?x=1.2", "http://ca/a.b-2.crl?x=1.2"),
        ] {
            assert_eq!(distribution_point_of(configured, 1), configured);
            assert_eq!(distribution_point_of(configured, 2), second);
        }
    }
}
