//! A PKI made for one test, whose present is [`now`]: 2030, so that nothing depends on the clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mantlet::config::{CrlSource, Revocation};
use mantlet::revocation::{Engine, OwnAlarm};
use mantlet::x509::{
    CrlInfo, MaterialPart, MaterialProblem, MaterialSources, RefusalReason, TrustMaterial, Usage, VerifiedPath,
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationList, CertificateRevocationListParams,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevocationReason, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;

/// 2030-01-01T00:00:00Z
pub(crate) fn now() -> SystemTime {
    date_time_ymd(2030, 1, 1).into()
}

/// A CA with its key.
pub(crate) struct Ca {
    pub(crate) params: CertificateParams,
    pub(crate) key: KeyPair,
    pub(crate) cert: Certificate,
}

/// An end entity with its key.
pub(crate) struct Leaf {
    pub(crate) key: KeyPair,
    pub(crate) cert: Certificate,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

pub(crate) fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(crate) fn spiffe(id: &str) -> SanType {
    SanType::URI(id.try_into().expect("IA5"))
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("IA5"))
}

impl Ca {
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    pub(crate) fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::self_signed(name, KeyPair::generate().expect("key"), change)
    }

    pub(crate) fn self_signed(name: &str, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        let cert = params.self_signed(&key).expect("signed");
        Self { params, key, cert }
    }

    pub(crate) fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub(crate) fn sub(&self, name: &str) -> Self {
        self.sub_with(name, |_| {})
    }

    pub(crate) fn sub_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        self.certify(name, KeyPair::generate().expect("key"), change)
    }

    /// The same name and key may be certified by several CAs.
    pub(crate) fn certify(&self, name: &str, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer()).expect("signed");
        Self { params, key, cert }
    }

    pub(crate) fn leaf(&self, name: &str) -> Leaf {
        self.leaf_with(name, |_| {})
    }

    pub(crate) fn leaf_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        self.leaf_of(KeyPair::generate().expect("key"), name, change)
    }

    pub(crate) fn leaf_of(&self, key: KeyPair, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = params(name);
        params.subject_alt_names = vec![spiffe(&format!("spiffe://fm/{name}"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer()).expect("signed");
        Leaf { key, cert }
    }

    /// Valid from one day before [`now`] to one day after it.
    pub(crate) fn crl(&self, serials: &[&[u8]]) -> CertificateRevocationList {
        self.crl_with(serials, |_| {})
    }

    pub(crate) fn crl_with(
        &self,
        serials: &[&[u8]],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> CertificateRevocationList {
        let mut params = crl_params(serials);
        change(&mut params);
        params.signed_by(&self.issuer()).expect("signed")
    }
}

pub(crate) fn crl_params(serials: &[&[u8]]) -> CertificateRevocationListParams {
    CertificateRevocationListParams {
        this_update: date_time_ymd(2029, 12, 31),
        next_update: date_time_ymd(2030, 1, 2),
        crl_number: SerialNumber::from(7),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(|serial| revoked(serial)).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

pub(crate) fn revoked(serial: &[u8]) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: date_time_ymd(2029, 6, 1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    }
}

/// A folder of files that trust material is loaded from.
pub(crate) struct Folder {
    dir: TempDir,
    pub(crate) sources: MaterialSources,
    revocation: Option<Revocation>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let sources = MaterialSources {
            certificate: None,
            private_key: None,
            anchors: Vec::new(),
            intermediates: Vec::new(),
            max_depth: 4,
            revocation: None,
            kept_in: None,
        };
        Self { dir: tempfile::tempdir().expect("folder"), sources, revocation: None }
    }

    /// With the given anchors in one file.
    pub(crate) fn trusting(anchors: &[&Certificate]) -> Self {
        let mut folder = Self::new();
        let text: String = anchors.iter().map(|anchor| anchor.pem()).collect();
        let path = folder.write("anchors.pem", &text);
        folder.sources.anchors.push(path);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, contents).expect("written");
        path
    }

    pub(crate) fn write_key(&self, name: &str, contents: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(name, contents);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
        path
    }

    pub(crate) fn own(&mut self, leaf: &Leaf, issuers: &[&Certificate]) {
        let chain: String = std::iter::once(&leaf.cert).chain(issuers.iter().copied()).map(Certificate::pem).collect();
        self.sources.certificate = Some(self.write("own.pem", chain));
        self.sources.private_key = Some(self.write_key("own.key", &leaf.key.serialize_pem()));
    }

    pub(crate) fn intermediates(mut self, intermediates: &[&Certificate]) -> Self {
        let text: String = intermediates.iter().map(|intermediate| intermediate.pem()).collect();
        let path = self.write("intermediates.pem", &text);
        self.sources.intermediates.push(path);
        self
    }

    /// Each CRL in a file of its own; deny all that is unknown.
    pub(crate) fn revoking(mut self, crls: &[&CertificateRevocationList]) -> Self {
        let write = |(index, crl): (usize, &&CertificateRevocationList)| {
            self.write(&format!("{index}.crl"), crl.pem().expect("PEM"))
        };
        let files: Vec<PathBuf> = crls.iter().enumerate().map(write).collect();
        self.revocation = Some(Revocation::of(files.into_iter().map(CrlSource::Path)));
        self
    }

    pub(crate) fn revocation(&mut self) -> &mut Revocation {
        self.revocation.as_mut().expect("revoking")
    }

    /// In place of the files so far.
    pub(crate) fn revoking_files(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        self.revocation().sources = Revocation::of(files.into_iter().map(CrlSource::Path)).sources;
    }

    /// As a start does it: the certificates, then the CRLs, then what these say of our own certificate.
    pub(crate) fn load(&self) -> Result<(TrustMaterial, Vec<MaterialProblem>), Vec<MaterialProblem>> {
        let sources = MaterialSources { revocation: self.revocation.as_ref().map(Into::into), ..self.sources.clone() };
        let (mut engine, lists) = Engine::new();
        let (material, mut problems) =
            TrustMaterial::load_at(&sources, &lists, now()).map_err(|unusable| unusable.problems)?;
        let mut prepared = engine.prepare(self.revocation.as_ref(), &material, now())?;
        problems.append(&mut prepared.findings);
        engine.install(prepared);
        problems.extend(OwnAlarm::judge(&material, now()).map(|alarm| MaterialProblem {
            part: MaterialPart::Certificate,
            fatal: false,
            message: alarm.message,
            remedy: String::new(),
        }));
        Ok((material, problems))
    }

    #[track_caller]
    pub(crate) fn material(&self) -> TrustMaterial {
        self.load().expect("usable").0
    }

    /// The message of the one fatal problem.
    #[track_caller]
    pub(crate) fn fatal(&self) -> String {
        let problems = self.load().expect_err("a fatal problem");
        let fatal: Vec<_> = problems.iter().filter(|problem| problem.fatal).collect();
        assert_eq!(fatal.len(), 1, "{problems:#?}");
        assert!(!fatal[0].remedy.is_empty());
        fatal[0].message.clone()
    }
}

/// The CRLs in use.
pub(crate) fn crls(material: &TrustMaterial) -> Vec<CrlInfo> {
    material.lists().load().crls().map(|crl| crl.info.clone()).collect()
}

/// The verdict on a client's chain.
pub(crate) fn verdict(
    material: &TrustMaterial,
    end_entity: &Certificate,
    presented: &[&Certificate],
) -> Result<VerifiedPath, RefusalReason> {
    verdict_at(material, end_entity, presented, Usage::Client, now())
}

pub(crate) fn verdict_at(
    material: &TrustMaterial,
    end_entity: &Certificate,
    presented: &[&Certificate],
    usage: Usage,
    now: SystemTime,
) -> Result<VerifiedPath, RefusalReason> {
    let presented: Vec<CertificateDer<'_>> = presented.iter().map(|certificate| certificate.der().clone()).collect();
    material.verify(end_entity.der(), &presented, usage, now).map_err(|refusal| refusal.reason)
}

/// The label and the sentence of a refusal.
#[track_caller]
pub(crate) fn refused(verdict: Result<VerifiedPath, RefusalReason>) -> (&'static str, String) {
    let reason = verdict.expect_err("refused");
    assert!(!reason.hint().is_empty());
    (reason.label(), reason.to_string())
}
