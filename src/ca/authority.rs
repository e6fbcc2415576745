//! The authority itself: made once, opened ever after.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;

use crate::config::PostgresUrl;
use crate::durable::{self, create_folder, create_private_folder, sync_folder};
use crate::identity::{SpiffeId, TrustDomain};
use crate::x509::SerialNumber;

use super::error::io_error;
use super::issuers::{Issuers, pem_of};
use super::private_key;
use super::signer::{Signer, exposure_of, read_bounded, read_certificate, sha256_hex};
use super::store::{self, Entry, Store, StorePlace};
use super::{
    Audience, CaError, CertificateKind, CrlOptions, IssuedCertificate, IssuerId, KeyAlgorithm, Tier, Timestamp,
    write_durably,
};

const STATE_FOLDER: &str = "authority";
const DATABASE: &str = "authority.db";
const LEDGER: &str = "ledger.jsonl";
/// Holds the address of the store where that is no file of the folder.
const STORE_ADDRESS: &str = "store";
const LOCK: &str = "lock";
const ROOT_CRL: &str = "root.crl";
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
    /// The file with the passphrase that its keys are encrypted with; without it they are not.
    pub passphrase_file: Option<PathBuf>,
}

/// A certificate authority. Any number of processes may have it open; the store keeps their changes apart.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    state: PathBuf,
    store: Store,
    warnings: Vec<String>,
    /// Where the passphrase of its keys is.
    passphrase_file: Option<PathBuf>,
    /// The keys that issue, once they were used.
    signers: Mutex<HashMap<IssuerId, Arc<Signer>>>,
}

/// Keeps others from writing files of the same names. The lock ends with the process however that ends.
#[derive(Debug)]
pub struct FilesLock {
    _file: File,
}

impl Authority {
    /// Makes an authority in a directory, which may hold other files but neither an authority nor a `ca.pem`.
    ///
    /// The keys, certificates and store appear together or not at all.
    pub async fn init(directory: &Path, options: &InitOptions, now: Timestamp) -> Result<Self, CaError> {
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
        let made = Self::build_and_publish(directory, &building, &state, options, now).await;
        if made.is_err() {
            // The error to report is the first one; what stays behind is named like no authority.
            let _ = fs::remove_dir_all(&building);
        }
        let authority = made?;
        sync_folder(directory)?;
        authority.write_anchors_if_missing().await?;
        Ok(authority)
    }

    /// Opens the authority of a directory.
    pub async fn open(directory: &Path) -> Result<Self, CaError> {
        let state = directory.join(STATE_FOLDER);
        if !state.is_dir() {
            return Err(CaError::NoAuthority { directory: directory.to_owned() });
        }
        let mut warnings: Vec<String> = exposure_of(&state).into_iter().collect();
        let place = if let Some(url) = store_address(&state)? {
            StorePlace::Postgres(url)
        } else {
            if take_over_ledger(&state).await? {
                warnings.push(format!(
                    "{}: the last line was torn by a crash and is dropped; what it would have recorded was not handed out",
                    state.join(LEDGER).display()
                ));
            }
            StorePlace::Sqlite(state.join(DATABASE))
        };
        let store = Store::open(place).await?;
        let authority = Self {
            directory: directory.to_owned(),
            state,
            store,
            warnings,
            passphrase_file: None,
            signers: Mutex::default(),
        };
        authority.write_anchors_if_missing().await?;
        authority.with_exposures().await
    }

    /// Opens its keys with the passphrase of a file, which is read when a key is needed.
    #[must_use]
    pub fn with_passphrase_file(mut self, file: Option<PathBuf>) -> Self {
        self.warnings.extend(file.as_deref().and_then(exposure_of));
        self.passphrase_file = file;
        self
    }

    /// What was issued, revoked and registered.
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

    /// Where the key of an issuer belongs.
    pub fn key_file(&self, issuer: IssuerId) -> PathBuf {
        self.state.join(format!("{issuer}.key"))
    }

    /// The authority's own certificates, and which of them are in use.
    pub async fn issuers(&self) -> Result<Issuers, CaError> {
        let mut connection = self.store.connection().await?;
        let ders = store::issuers(&mut connection).await.map_err(self.store.fault("read"))?;
        drop(connection);
        Ok(Issuers::new(self.store.state().await?, ders))
    }

    /// What the operator should know although it stopped nothing, such as a key that others can read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Waits until no other process writes files of this authority, and keeps others waiting until it is dropped.
    pub fn lock_files(&self) -> Result<FilesLock, CaError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.state.join(LOCK);
        let opened = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(io_error("open", &path))?;
        file.lock().map_err(io_error("lock", &path))?;
        Ok(FilesLock { _file: file })
    }

    /// Opens the authority of a directory with its store in a `PostgreSQL` database. What is on record in the directory moves to an
    /// empty database, once; from then on every command and every replica uses that one.
    ///
    /// # Errors
    /// A database that belongs to another authority, or a directory whose store is in another database.
    pub async fn open_with_postgres(directory: &Path, url: &PostgresUrl) -> Result<Self, CaError> {
        let state = directory.join(STATE_FOLDER);
        if !state.is_dir() {
            return Err(CaError::NoAuthority { directory: directory.to_owned() });
        }
        if let Some(used) = store_address(&state)? {
            if used == *url {
                return Self::open(directory).await;
            }
            let (used, given) = (used.to_string(), url.to_string());
            return Err(CaError::StoreElsewhere { directory: directory.to_owned(), used, given });
        }
        let place = StorePlace::Postgres(url.clone());
        if Store::is_in_use(place.clone()).await? {
            check_same_authority(directory, &state, &place).await?;
        } else {
            let before = Self::open(directory).await?;
            before.store.copy_to(place).await?;
            before.store.close().await;
        }
        write_durably(&state.join(STORE_ADDRESS), url.reveal().as_bytes(), Audience::Owner)?;
        Self::open(directory).await
    }

    /// What the operator should know, once.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    pub(super) fn passphrase_file(&self) -> Option<&Path> {
        self.passphrase_file.as_deref()
    }

    pub(super) fn certificate_file(&self, issuer: IssuerId) -> PathBuf {
        self.state.join(format!("{issuer}.pem"))
    }

    /// The key of an issuer with its certificate. The one that issues is read once.
    pub(super) fn signer(
        &self,
        issuers: &Issuers,
        id: IssuerId,
        purpose: &'static str,
    ) -> Result<Arc<Signer>, CaError> {
        let kept = || self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = kept().get(&id) {
            return Ok(Arc::clone(signer));
        }
        let signer = Arc::new(Signer::load(id, issuers.der(id)?, &self.key_file(id), self.passphrase_file(), purpose)?);
        // The root key, where it need not be here, leaves the memory with its file.
        if id == issuers.issuing() {
            kept().insert(id, Arc::clone(&signer));
        }
        Ok(signer)
    }

    /// Opens the key that issues, without which there is little to do.
    ///
    /// # Errors
    /// [`CaError::KeyMissing`] where it is not here, and everything that keeps it from being used.
    pub async fn check_issuing_key(&self) -> Result<(), CaError> {
        let issuers = self.issuers().await?;
        self.signer(&issuers, issuers.issuing(), "issuing").map(drop)
    }

    /// Makes the key and certificate of a new generation, in files and in the change.
    pub(super) async fn add_generation(
        &self,
        change: &mut store::Change,
        generation: u32,
        options: &InitOptions,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), CaError> {
        let root_id = IssuerId { generation, tier: Tier::Root };
        let root_key = options.algorithm.generate()?;
        let root = AuthorityCertificate::new(root_id, options, Store::random_serial()?, now)?;
        let certificate = root.params.self_signed(&root_key).map_err(CaError::making("root certificate"))?;
        self.keep(change, &root, &certificate, &root_key, actor, now).await?;
        if options.intermediate {
            let issuer = Issuer::new(root.params, root_key);
            let key = options.algorithm.generate()?;
            let id = root_id.with_tier(Tier::Intermediate);
            let below = AuthorityCertificate::new(id, options, Store::random_serial()?, now)?;
            let certificate =
                below.params.signed_by(&key, &issuer).map_err(CaError::making("intermediate certificate"))?;
            self.keep(change, &below, &certificate, &key, actor, now).await?;
        }
        Ok(())
    }

    async fn build_and_publish(
        directory: &Path,
        building: &Path,
        state: &Path,
        options: &InitOptions,
        now: Timestamp,
    ) -> Result<Self, CaError> {
        let place = StorePlace::Sqlite(building.join(DATABASE));
        let store = Store::create(place, &options.trust_domain, now).await?;
        let mut authority = Self {
            directory: directory.to_owned(),
            state: building.to_owned(),
            store,
            warnings: options.passphrase_file.as_deref().and_then(exposure_of).into_iter().collect(),
            passphrase_file: options.passphrase_file.clone(),
            signers: Mutex::default(),
        };
        let mut change = authority.store.begin().await?;
        authority.add_generation(&mut change, 1, options, "init", now).await?;
        change.commit().await?;
        if options.intermediate {
            // So that the root key can leave at once and a CRL of every issuer is there all the same.
            authority.sign_root_crls(&CrlOptions::default(), "init", now).await?;
        }
        authority.store.close().await;
        // Renaming a folder over one that is not empty fails: of two that run at once, one wins and the other is told.
        fs::rename(building, state).map_err(|error| match error.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => CaError::AlreadyThere { path: state.to_owned() },
            _ => io_error("make", state)(error),
        })?;
        state.clone_into(&mut authority.state);
        authority.store.moved_to(state.join(DATABASE)).await?;
        Ok(authority)
    }

    /// Writes a new certificate of the authority and its key, and records it.
    async fn keep(
        &self,
        change: &mut store::Change,
        made: &AuthorityCertificate,
        certificate: &rcgen::Certificate,
        key: &KeyPair,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), CaError> {
        let key_pem = private_key::to_pem(key, self.passphrase_file())?;
        write_durably(&self.key_file(made.id), key_pem.as_bytes(), Audience::Owner)?;
        write_durably(&self.certificate_file(made.id), certificate.pem().as_bytes(), Audience::Anyone)?;
        let kind = match made.id.tier {
            Tier::Root => CertificateKind::Root,
            Tier::Intermediate => CertificateKind::Intermediate,
        };
        let issued = IssuedCertificate {
            serial: made.serial.clone(),
            kind,
            issuer: made.id.with_tier(Tier::Root),
            name: made.id.to_string(),
            spiffe: made.spiffe.clone(),
            dns: Vec::new(),
            ip: Vec::new(),
            not_before: made.not_before,
            not_after: made.not_after,
            sha256: sha256_hex(certificate.der()),
        };
        change.record_issued(&issued).await?;
        change.record_issuer(made.id, certificate.der()).await?;
        let detail = format!("serial {}", made.serial);
        let (subject, action) = (made.id.to_string(), "made");
        change.log(Entry { at: now, actor, action, subject: &subject, detail: &detail }).await
    }

    /// The anchors are a copy for handing out; a crash of `init` or a stray `rm` costs nothing.
    async fn write_anchors_if_missing(&self) -> Result<(), CaError> {
        if fs::symlink_metadata(self.anchors_file()).is_ok() {
            return Ok(());
        }
        self.write_anchors().await
    }

    /// Writes the anchors that are published.
    pub(super) async fn write_anchors(&self) -> Result<(), CaError> {
        let pem: String = self.issuers().await?.anchors().map(|(_, der)| pem_of("CERTIFICATE", der)).collect();
        Ok(durable::write_durably(&self.anchors_file(), pem.as_bytes(), Audience::Anyone)?)
    }

    async fn with_exposures(mut self) -> Result<Self, CaError> {
        let issuers = self.issuers().await?;
        let exposed: Vec<String> = issuers.live().filter_map(|(id, _)| exposure_of(&self.key_file(id))).collect();
        self.warnings.extend(exposed);
        Ok(self)
    }
}

/// A replica brings a folder of its own, copied from the first one's: the database must know its root, and hold all that the folder
/// does.
async fn check_same_authority(directory: &Path, state: &Path, place: &StorePlace) -> Result<(), CaError> {
    let shared = Store::open(place.clone()).await?;
    let root = read_certificate(&state.join(format!("{}.pem", IssuerId::ROOT)))?;
    let mut connection = shared.connection().await?;
    let found = store::certificate_by_digest(&mut connection, &sha256_hex(&root)).await;
    let known = found.map_err(shared.fault("read"))?.is_some();
    drop(connection);
    let version = shared.state().await?.version;
    shared.close().await;
    let own = match Store::open(StorePlace::Sqlite(state.join(DATABASE))).await {
        Ok(own) => own.state().await.map_or(0, |state| state.version),
        // None, or emptied when it was moved.
        Err(_) => 0,
    };
    if known && own <= version {
        return Ok(());
    }
    Err(CaError::StoreOfOther { place: place.to_string(), directory: directory.to_owned() })
}

/// The address of the store where it is no file of the folder.
fn store_address(state: &Path) -> Result<Option<PostgresUrl>, CaError> {
    let path = state.join(STORE_ADDRESS);
    let text = match read_bounded(&path) {
        Err(CaError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
        read => String::from_utf8(read?).map_err(|_| CaError::unusable(&path, "not text"))?,
    };
    let url = PostgresUrl::on_any_host(text.trim());
    url.map(Some).map_err(|error| CaError::unusable(&path, error.to_string()))
}

async fn take_over_ledger(state: &Path) -> Result<bool, CaError> {
    let (ledger, database) = (state.join(LEDGER), state.join(DATABASE));
    if !ledger.exists() {
        return Ok(false);
    }
    let mut issuers = Vec::new();
    for tier in [Tier::Root, Tier::Intermediate] {
        let id = IssuerId::ROOT.with_tier(tier);
        let path = state.join(format!("{id}.pem"));
        if path.exists() {
            issuers.push((id, read_certificate(&path)?.to_vec()));
        }
    }
    let root_crl = read_bounded(&state.join(ROOT_CRL)).ok();
    let root_crl = root_crl.and_then(|pem| super::crl::der_of_pem(&pem)).map(|der| (IssuerId::ROOT, der));
    Store::take_over_ledger(&ledger, &database, &issuers, root_crl).await
}

/// A certificate of the authority that is yet to be signed.
struct AuthorityCertificate {
    id: IssuerId,
    params: CertificateParams,
    serial: SerialNumber,
    spiffe: SpiffeId,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl AuthorityCertificate {
    fn new(id: IssuerId, options: &InitOptions, serial: SerialNumber, now: Timestamp) -> Result<Self, CaError> {
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
        subject.push(DnType::CommonName, format!("mantlet {} {}", id.tier, &digits[..digits.len().min(8)]));
        params.distinguished_name = subject;
        let uri = spiffe.as_str().try_into().map_err(CaError::making("name"))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let intermediates_below = u8::from(id.tier == Tier::Root && options.intermediate);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(intermediates_below));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        Ok(Self { id, params, serial, spiffe, not_before, not_after })
    }
}

/// The common name, or the whole name where there is none.
pub(super) fn common_name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|attribute| attribute.as_str().ok());
    common.map_or_else(|| name.to_string(), str::to_owned)
}

/// The common name of a certificate's subject.
pub(super) fn subject_of(der: &[u8]) -> Option<String> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| common_name(certificate.subject()))
}
