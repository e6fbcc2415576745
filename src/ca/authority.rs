//! The authority itself: made once, opened ever after.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;
use zeroize::Zeroizing;

use crate::durable::{self, create_folder, create_private_folder, sync_folder};
use crate::identity::{SpiffeId, TrustDomain};
use crate::x509::SerialNumber;

use super::error::io_error;
use super::signer::{Signer, exposure_of, read_bounded, read_certificate, sha256_hex};
use super::{
    Access, Audience, CaError, CertificateKind, CrlOptions, IssuedCertificate, KeyAlgorithm, Store, Tier, Timestamp,
    write_durably,
};

const STATE_FOLDER: &str = "authority";
const LEDGER: &str = "ledger.jsonl";
const ANCHORS: &str = "ca.pem";
/// X.520's bound of an organization name.
const MAX_ORGANIZATION_BYTES: usize = 64;

/// How a new authority is to be.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Whom it issues for.
    pub trust_domain: TrustDomain,
    /// How long its certificates are valid.
    pub ttl: Duration,
    /// Whether an intermediate issues, so that the root key can be kept elsewhere.
    pub intermediate: bool,
    /// The kind of its keys.
    pub algorithm: KeyAlgorithm,
}

/// A certificate authority, locked against other processes while it is open.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    state: PathBuf,
    has_intermediate: bool,
    store: Store,
    warnings: Vec<String>,
}

impl Authority {
    /// Makes an authority in a directory, which may hold other files but neither an authority nor a `ca.pem`.
    ///
    /// The keys, certificates and ledger appear together or not at all.
    pub fn init(directory: &Path, options: &InitOptions, now: Timestamp) -> Result<Self, CaError> {
        if options.ttl < Duration::from_secs(1) {
            let bound = "shorter than one second".to_owned();
            return Err(CaError::Duration { option: "--ttl", value: options.ttl, bound });
        }
        let state = directory.join(STATE_FOLDER);
        for path in [&state, &directory.join(ANCHORS)] {
            if fs::symlink_metadata(path).is_ok() {
                return Err(CaError::AlreadyThere { path: path.clone() });
            }
        }
        create_folder(directory)?;
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).map_err(|reason| CaError::Random { reason })?;
        let building = directory.join(format!(".{STATE_FOLDER}.{:016x}", u64::from_be_bytes(suffix)));
        create_private_folder(&building)?;
        let made = Self::build(directory, &building, options, now).and_then(|mut authority| {
            // Renaming a folder over one that is not empty fails: of two that run at once, one wins and the other is told.
            fs::rename(&building, &state).map_err(|error| match error.kind() {
                ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => {
                    CaError::AlreadyThere { path: state.clone() }
                }
                _ => io_error("make", &state)(error),
            })?;
            authority.state.clone_from(&state);
            authority.store.moved_to(state.join(LEDGER));
            Ok(authority)
        });
        if made.is_err() {
            // The error to report is the first one; what stays behind is named like no authority.
            let _ = fs::remove_dir_all(&building);
        }
        let authority = made?;
        sync_folder(directory)?;
        authority.write_anchors_if_missing()?;
        Ok(authority)
    }

    /// Opens the authority of a directory, waiting for other processes to be done with it.
    pub fn open(directory: &Path, access: Access) -> Result<Self, CaError> {
        let state = directory.join(STATE_FOLDER);
        if !state.is_dir() {
            return Err(CaError::NoAuthority { directory: directory.to_owned() });
        }
        let store = Store::open(&state.join(LEDGER), access)?;
        let has_intermediate = store.issued().iter().any(|issued| issued.kind == CertificateKind::Intermediate);
        let mut warnings: Vec<String> = exposure_of(&state).into_iter().collect();
        if store.was_torn() {
            warnings.push(format!(
                "{}: the last line was torn by a crash and is dropped; what it would have recorded was not handed out",
                state.join(LEDGER).display()
            ));
        }
        let authority = Self { directory: directory.to_owned(), state, has_intermediate, store, warnings };
        if access == Access::Exclusive {
            authority.write_anchors_if_missing()?;
        }
        Ok(authority)
    }

    /// What was issued and revoked.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The directory that holds it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The trust anchors to hand out.
    pub fn anchors_file(&self) -> PathBuf {
        self.directory.join(ANCHORS)
    }

    /// Where the key of a tier belongs.
    pub fn key_file(&self, tier: Tier) -> PathBuf {
        self.state.join(format!("{tier}.key"))
    }

    /// True where an intermediate issues.
    pub fn has_intermediate(&self) -> bool {
        self.has_intermediate
    }

    /// What the operator should know although it stopped nothing, such as a key that others can read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    pub(super) fn state_file(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// Whose key signs end-entity certificates.
    pub(super) fn issuing_tier(&self) -> Tier {
        if self.has_intermediate { Tier::Intermediate } else { Tier::Root }
    }

    pub(super) fn certificate_file(&self, tier: Tier) -> PathBuf {
        self.state.join(format!("{tier}.pem"))
    }

    /// Reads the certificate and key of a tier.
    pub(super) fn signer(&mut self, tier: Tier, purpose: &'static str) -> Result<Signer, CaError> {
        let key_file = self.key_file(tier);
        let signer = Signer::load(tier, &self.certificate_file(tier), &key_file, purpose)?;
        let exposure = exposure_of(&key_file);
        self.warnings.extend(exposure);
        Ok(signer)
    }

    /// The common name of the certificate that issues.
    pub(super) fn issuer_name(&self) -> Result<String, CaError> {
        let path = self.certificate_file(self.issuing_tier());
        let der = read_certificate(&path)?;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|_| CaError::unusable(&path, "not an X.509 certificate"))?;
        Ok(common_name(certificate.subject()))
    }

    fn build(directory: &Path, state: &Path, options: &InitOptions, now: Timestamp) -> Result<Self, CaError> {
        let store = Store::create(&state.join(LEDGER), &options.trust_domain, now)?;
        let mut authority = Self {
            directory: directory.to_owned(),
            state: state.to_owned(),
            has_intermediate: options.intermediate,
            store,
            warnings: Vec::new(),
        };
        let root_key = options.algorithm.generate()?;
        let root = AuthorityCertificate::new(Tier::Root, options, authority.store.unused_serial()?, now)?;
        let certificate = root.params.self_signed(&root_key).map_err(CaError::making("root certificate"))?;
        authority.keep(&root, &certificate, &root_key)?;
        if options.intermediate {
            let issuer = Issuer::new(root.params, root_key);
            let key = options.algorithm.generate()?;
            let below = AuthorityCertificate::new(Tier::Intermediate, options, authority.store.unused_serial()?, now)?;
            let certificate =
                below.params.signed_by(&key, &issuer).map_err(CaError::making("intermediate certificate"))?;
            authority.keep(&below, &certificate, &key)?;
            // So that the root key can leave at once and a CRL of every issuer is there all the same.
            authority.sign_root_crl(&CrlOptions::default(), now)?;
        }
        Ok(authority)
    }

    /// Writes a new certificate of the authority and its key, and records it.
    fn keep(
        &mut self,
        made: &AuthorityCertificate,
        certificate: &rcgen::Certificate,
        key: &KeyPair,
    ) -> Result<(), CaError> {
        let key_pem = Zeroizing::new(key.serialize_pem());
        write_durably(&self.key_file(made.tier), key_pem.as_bytes(), Audience::Owner)?;
        write_durably(&self.certificate_file(made.tier), certificate.pem().as_bytes(), Audience::Anyone)?;
        let (kind, name) = match made.tier {
            Tier::Root => (CertificateKind::Root, "root"),
            Tier::Intermediate => (CertificateKind::Intermediate, "intermediate"),
        };
        self.store.record_issued(IssuedCertificate {
            serial: made.serial.clone(),
            kind,
            issuer: Tier::Root,
            name: name.to_owned(),
            spiffe: made.spiffe.clone(),
            dns: Vec::new(),
            ip: Vec::new(),
            not_before: made.not_before,
            not_after: made.not_after,
            sha256: sha256_hex(certificate.der()),
        })
    }

    /// The anchors are a copy for handing out; a crash of `init` or a stray `rm` costs nothing.
    fn write_anchors_if_missing(&self) -> Result<(), CaError> {
        let anchors = self.anchors_file();
        if fs::symlink_metadata(&anchors).is_ok() {
            return Ok(());
        }
        let root = read_bounded(&self.certificate_file(Tier::Root))?;
        Ok(durable::write_durably(&anchors, &root, Audience::Anyone)?)
    }
}

/// A certificate of the authority that is yet to be signed.
struct AuthorityCertificate {
    tier: Tier,
    params: CertificateParams,
    serial: SerialNumber,
    spiffe: SpiffeId,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl AuthorityCertificate {
    fn new(tier: Tier, options: &InitOptions, serial: SerialNumber, now: Timestamp) -> Result<Self, CaError> {
        // The SPIFFE ID of the trust domain itself (SPIFFE X509-SVID section 4.1).
        let spiffe: SpiffeId = format!("spiffe://{}", options.trust_domain).parse()?;
        let not_before = now.backdated();
        let not_after = now.saturating_add(options.ttl);
        let mut params = CertificateParams::default();
        params.not_before = not_before.to_date_time();
        params.not_after = not_after.to_date_time();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(serial.as_der_content()));
        let domain = options.trust_domain.as_str();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, &domain[..domain.len().min(MAX_ORGANIZATION_BYTES)]);
        // Part of the serial number, so that two authorities of one trust domain have two names.
        let digits = serial.to_string();
        subject.push(DnType::CommonName, format!("mantlet {tier} {}", &digits[..digits.len().min(8)]));
        params.distinguished_name = subject;
        let uri = spiffe.as_str().try_into().map_err(CaError::making("name"))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let intermediates_below = u8::from(tier == Tier::Root && options.intermediate);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(intermediates_below));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        Ok(Self { tier, params, serial, spiffe, not_before, not_after })
    }
}

/// The common name, or the whole name where there is none.
pub(super) fn common_name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|attribute| attribute.as_str().ok());
    common.map_or_else(|| name.to_string(), str::to_owned)
}
