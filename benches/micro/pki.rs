//! A closed PKI made for one benchmark: `mantlet::ca` issues, with P-256 keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mantlet::ca::{
    Authority, CredentialUsage, DnsName, InitOptions, IssueRequest, IssuerId, KeyAlgorithm, ServiceName, Timestamp,
};
use mantlet::config::{CrlSource, Revocation};
use mantlet::identity::PeerPattern;
use mantlet::revocation::Engine;
use mantlet::x509::{MaterialSources, SerialNumber, TrustMaterial};
use rcgen::{
    CertificateRevocationList, CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason,
    RevokedCertParams,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::runtime::{Builder, Runtime};

const DAY: Duration = Duration::from_secs(86_400);

/// An authority and the folder of its files.
pub(crate) struct Pki {
    folder: TempDir,
    authority: Authority,
    runtime: Runtime,
}

/// A certificate and its key, in files and in memory.
pub(crate) struct Issued {
    certificate_file: PathBuf,
    key_file: PathBuf,
    pub(crate) serial: SerialNumber,
    pub(crate) spiffe: PeerPattern,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = InitOptions {
            trust_domain: "fleamarket.internal".parse().expect("a trust domain"),
            ttl: DAY,
            intermediate: false,
            algorithm: KeyAlgorithm::P256,
            passphrase_file: None,
        };
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let made = Authority::init(folder.path(), &options, Timestamp::now());
        let authority = runtime.block_on(made).expect("an authority");
        Self { folder, authority, runtime }
    }

    /// A certificate for `spiffe://fleamarket.internal/NAME` and the DNS name NAME, good for both usages.
    pub(crate) fn issue(&mut self, name: &str) -> Issued {
        let request = IssueRequest {
            name: name.parse::<ServiceName>().expect("a name"),
            dns: vec![name.parse::<DnsName>().expect("a DNS name")],
            ip: Vec::new(),
            spiffe: None,
            ttl: DAY,
            usage: CredentialUsage::Both,
            algorithm: KeyAlgorithm::P256,
        };
        let credential =
            self.runtime.block_on(self.authority.issue(&request, "bench", Timestamp::now())).expect("issued");
        let (certificate_file, key_file) = credential.write_to(self.folder.path()).expect("written");
        Issued {
            certificate_file,
            key_file,
            serial: credential.certificate.serial.clone(),
            spiffe: PeerPattern::Spiffe(credential.certificate.spiffe.clone()),
            der: CertificateDer::from_pem_slice(credential.chain_pem().as_bytes()).expect("a certificate"),
            key: PrivateKeyDer::from_pem_slice(credential.key_pem().as_bytes()).expect("a key"),
        }
    }

    /// A CRL of any length. It is signed here because the authority lists only what it issued.
    pub(crate) fn sign_crl<'a>(&self, serials: impl Iterator<Item = &'a SerialNumber>) -> CertificateRevocationList {
        let read = |path: &Path| fs::read_to_string(path).expect("a file of the authority");
        let key = KeyPair::from_pem(&read(&self.authority.key_file(IssuerId::ROOT))).expect("the root's key");
        let issuer = Issuer::from_ca_cert_pem(&read(&self.authority.anchors_file()), key).expect("the root");
        let this_update = OffsetDateTime::now_utc() - Duration::from_secs(60);
        let revoked = serials.map(|serial| RevokedCertParams {
            serial_number: rcgen::SerialNumber::from_slice(serial.as_der_content()),
            revocation_time: this_update,
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update,
            next_update: this_update + DAY,
            crl_number: rcgen::SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&issuer).expect("signed")
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("written");
        path
    }

    pub(crate) fn anchor(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.authority.anchors_file()).expect("the anchor")
    }

    /// The files of a sidecar, as its configuration names them.
    pub(crate) fn sources(&self, own: Option<&Issued>, crl: PathBuf) -> Sources {
        let revocation = Revocation { grace: Duration::ZERO, ..Revocation::of([CrlSource::Path(crl)]) };
        let material = MaterialSources {
            certificate: own.map(|own| own.certificate_file.clone()),
            private_key: own.map(|own| own.key_file.clone()),
            anchors: vec![self.authority.anchors_file()],
            intermediates: Vec::new(),
            max_depth: 4,
            revocation: Some((&revocation).into()),
            kept_in: None,
        };
        Sources { material, revocation }
    }

    /// What a sidecar with this certificate trusts: the authority, and a CRL that lists nobody.
    pub(crate) fn material(&self, own: &Issued) -> Arc<TrustMaterial> {
        let crl = self.write("empty.crl", self.sign_crl([].into_iter()).der());
        Arc::new(load(&self.sources(Some(own), crl)))
    }
}

/// The files that trust is read from.
pub(crate) struct Sources {
    material: MaterialSources,
    revocation: Revocation,
}

/// Loads material and CRLs in which nothing at all is wrong, as a start does.
pub(crate) fn load(sources: &Sources) -> TrustMaterial {
    let (mut engine, lists) = Engine::new();
    let (material, problems) = TrustMaterial::load(&sources.material, &lists).expect("usable material");
    assert!(problems.is_empty(), "{problems:?}");
    let prepared = engine.prepare(Some(&sources.revocation), &material, SystemTime::now()).expect("usable CRLs");
    assert!(prepared.findings.is_empty(), "{:?}", prepared.findings);
    engine.install(prepared);
    material
}
