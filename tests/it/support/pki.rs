//! A closed PKI in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

/// The trust domain of every test.
pub(crate) const TRUST_DOMAIN: &str = "fleamarket.internal";

/// An authority and what it issued.
pub(crate) struct Pki {
    pub(crate) folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
    crl_number: std::sync::atomic::AtomicU64,
}

/// A certificate and its key, in files and in memory.
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) spiffe: String,
    pub(crate) serial: SerialNumber,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) key_der: Vec<u8>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self::named("flea market root")
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::of(CertifiedIssuer::self_signed(ca(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// An intermediate of this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        Self::of(CertifiedIssuer::signed_by(ca(name), KeyPair::generate().unwrap(), &self.issuer).unwrap())
    }

    fn of(issuer: CertifiedIssuer<'static, KeyPair>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer, crl_number: std::sync::atomic::AtomicU64::new(1) }
    }

    pub(crate) fn anchors(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A certificate for `spiffe://fleamarket.internal/NAME` and the DNS name NAME, good for both usages for a day.
    pub(crate) fn issue(&self, name: &str) -> Issued {
        self.issue_with(name, name, |_| {})
    }

    /// The same, written to `file`.pem and `file`.key, after a change.
    pub(crate) fn issue_with(&self, name: &str, file: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let spiffe = format!("spiffe://{TRUST_DOMAIN}/{name}");
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.push(SanType::URI(spiffe.as_str().try_into().unwrap()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let serial = SerialNumber::from(fastrand::u64(1..u64::MAX / 2));
        params.serial_number = Some(serial.clone());
        (params.not_before, params.not_after) = validity(Duration::from_secs(86_400));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |suffix| self.folder.path().join(format!("{file}.{suffix}"));
        fs::write(path("pem"), certificate.pem()).unwrap();
        write_private(&path("key"), &key.serialize_pem());
        Issued {
            certificate: path("pem"),
            key: path("key"),
            spiffe,
            serial: params.serial_number.clone().unwrap_or(serial),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }

    /// A certificate for the key of a signing request in DER, good for both usages.
    pub(crate) fn certify(&self, request: &[u8], name: &str, lifetime: Duration) -> CertificateDer<'static> {
        let mut request = CertificateSigningRequestParams::from_der(&request.into()).unwrap();
        let params = &mut request.params;
        *params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let spiffe = format!("spiffe://{TRUST_DOMAIN}/{name}");
        params.subject_alt_names.push(SanType::URI(spiffe.as_str().try_into().unwrap()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from(fastrand::u64(1..u64::MAX / 2)));
        (params.not_before, params.not_after) = validity(lifetime);
        request.signed_by(&self.issuer).unwrap().der().clone()
    }

    /// Writes a CRL that lists these certificates and is good for a day, to `ca.crl`.
    pub(crate) fn revoke(&self, revoked: &[&Issued]) -> PathBuf {
        let file = self.folder.path().join("ca.crl");
        self.write_crl(&file, revoked, OffsetDateTime::now_utc() + Duration::from_secs(86_400));
        file
    }

    pub(crate) fn write_crl(&self, file: &Path, revoked: &[&Issued], next_update: OffsetDateTime) {
        let number = self.crl_number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let now = OffsetDateTime::now_utc() - Duration::from_secs(60);
        let revoked_certs = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: issued.serial.clone(),
            revocation_time: now,
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        replace(file, &params.signed_by(&self.issuer).unwrap().pem().unwrap());
    }
}

impl Issued {
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key_der.clone()).unwrap()
    }

    /// The serial number as mantlet prints it.
    pub(crate) fn serial_hex(&self) -> String {
        let octets = self.serial.as_ref();
        let first = octets.iter().position(|octet| *octet != 0).unwrap();
        mantlet::x509::SerialNumber::from_der_content(&octets[first..]).to_string()
    }
}

/// What a CA of this name says of itself.
fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(Duration::from_secs(86_400));
    params
}

pub(crate) fn validity(from_now: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - Duration::from_secs(300), now + from_now)
}

/// Replaces a file as a careful tool does: whole or not at all.
pub(crate) fn replace(file: &Path, content: &str) {
    let temporary = file.with_extension("new");
    fs::write(&temporary, content).unwrap();
    fs::rename(&temporary, file).unwrap();
}

pub(crate) fn write_private(file: &Path, content: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let temporary = file.with_extension("newkey");
    fs::write(&temporary, content).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&temporary, file).unwrap();
}
