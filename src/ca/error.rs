//! What can go wrong with a certificate authority.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::durable::FileError;
use crate::identity::{SpiffeId, SpiffeIdError, TrustDomain};
use crate::x509::SerialNumber;

use super::{EntityState, IssuerId, NameError, Timestamp};

/// Why the certificate authority did not do what was asked. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, Error)]
pub enum CaError {
    /// The directory has none.
    #[error(
        "{directory}: no certificate authority in this directory; make one with \"mantlet ca init --dir {directory} --trust-domain NAME\""
    )]
    NoAuthority {
        /// The directory as it was given.
        directory: PathBuf,
    },
    /// The directory has one, or a trust anchor of another origin.
    #[error("{path}: exists already, and an authority is never overwritten; choose another --dir")]
    AlreadyThere {
        /// What was found.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store of an authority is gone. A new one would issue blindly, so none is made.
    #[error(
        "{path}: the store is missing, without which no serial number can be trusted to be new; restore it from a backup"
    )]
    StoreMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The store is not what was written to it.
    #[error("{place}: the store is corrupt: {reason}; restore it from a backup")]
    StoreCorrupt {
        /// Which store.
        place: String,
        /// What the database says.
        reason: String,
    },
    /// There is no room for what was to be recorded.
    #[error("{place}: no room is left on the disk, and nothing was recorded; make room and try again")]
    StoreFull {
        /// Which store.
        place: String,
    },
    /// The store cannot be written to.
    #[error("{place}: the store is read-only; let this user write the file and its folder")]
    StoreReadOnly {
        /// Which store.
        place: String,
    },
    /// Others kept the store for too long.
    #[error("{place}: the store is busy; try again")]
    StoreBusy {
        /// Which store.
        place: String,
    },
    /// A later mantlet has changed the store.
    #[error("{place}: the store has version {version}, and this mantlet knows {known}; run a newer mantlet")]
    StoreNewer {
        /// Which store.
        place: String,
        /// Its version.
        version: usize,
        /// The latest that we know.
        known: usize,
    },
    /// The database that a store is to move to is in use.
    #[error("{place}: holds the store of an authority already; name an empty database")]
    StoreTaken {
        /// Which database.
        place: String,
    },
    /// The database is that of another authority.
    #[error("{place}: holds the store of another authority than {directory}; name the database that belongs to it")]
    StoreOfOther {
        /// Which database.
        place: String,
        /// The authority's folder.
        directory: PathBuf,
    },
    /// The store is not where the configuration says.
    #[error("{directory}: the store of this authority is {used}, not {given}; write store = {used:?}")]
    StoreElsewhere {
        /// The authority's folder.
        directory: PathBuf,
        /// Where it is.
        used: String,
        /// Where the configuration says it is.
        given: String,
    },
    /// Any other failure of the database.
    #[error("cannot {action} the store {place}")]
    Store {
        /// What was tried, such as `read`.
        action: &'static str,
        /// Which store.
        place: String,
        /// What the database says.
        source: sqlx::Error,
    },
    /// A name that nobody registered.
    #[error("{name} is not registered; register it with \"mantlet ca register {name} --dir DIR\"")]
    NotRegistered {
        /// The name.
        name: String,
    },
    /// A name that is registered already.
    #[error(
        "{name} is registered already; \"mantlet ca secret {name} --dir DIR\" makes another one-time secret, \"mantlet ca remove {name} --dir DIR\" ends the registration"
    )]
    AlreadyRegistered {
        /// The name.
        name: String,
    },
    /// A registration that forbids what was asked for.
    #[error("{name} is {state} since its registration was changed; {remedy}")]
    NotActive {
        /// The name.
        name: String,
        /// How it stands.
        state: EntityState,
        /// What to do.
        remedy: &'static str,
    },
    /// A registration that has ended.
    #[error("the registration of {name} ended at {since}; register it anew")]
    RegistrationExpired {
        /// The name.
        name: String,
        /// Since when.
        since: Timestamp,
    },
    /// A name without any certificate that could be revoked.
    #[error(
        "{name} has no certificate that is valid and not revoked; \"mantlet ca list --dir DIR\" shows those that were issued"
    )]
    NothingToRevoke {
        /// The name.
        name: String,
    },
    /// A step of a rotation out of its turn.
    #[error("{reason}; \"mantlet ca rotate status --dir DIR\" says what is next")]
    Rotation {
        /// Why not.
        reason: String,
    },
    /// The log does not follow from itself.
    #[error("{place}: entry {entry} of the log is not what was written: it, or one before it, was changed or removed")]
    LogChanged {
        /// Which store.
        place: String,
        /// The first entry that does not follow.
        entry: i64,
    },
    /// A line of the ledger of an earlier mantlet, other than a torn last one, is unusable.
    #[error("{path}: line {line} is corrupt: {reason}; restore the file from a backup")]
    LedgerCorrupt {
        /// The ledger.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate, key or CRL file is not what it should be.
    #[error("{path}: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key that must sign is not where it should be.
    #[error("{path}: the {issuer} key is missing, and {purpose} needs it; bring it back from where it is kept")]
    KeyMissing {
        /// Where it should be.
        path: PathBuf,
        /// Whose key.
        issuer: IssuerId,
        /// What it should have signed.
        purpose: &'static str,
    },
    /// A key is encrypted, and nothing says where its passphrase is.
    #[error(
        "{path}: the key is encrypted; name the file of its passphrase by --passphrase-file, passphrase_file under [authority] or \
         MANTLET_CA_PASSPHRASE_FILE"
    )]
    PassphraseMissing {
        /// The key's file.
        path: PathBuf,
    },
    /// A passphrase that is not that of the key.
    #[error("{path}: the passphrase in {file} does not open this key; name the file of the one that it was made with")]
    PassphraseWrong {
        /// The key's file.
        path: PathBuf,
        /// The passphrase's.
        file: PathBuf,
    },
    /// The issuer's own certificate is over.
    #[error(
        "the {issuer} certificate expired at {not_after}; make a new authority with \"mantlet ca init\" in another directory"
    )]
    IssuerExpired {
        /// Which.
        issuer: IssuerId,
        /// Since when.
        not_after: Timestamp,
    },
    /// The issuer's own certificate is revoked.
    #[error(
        "the {issuer} certificate was revoked at {since} and issues no more; rotate the authority with \"mantlet ca rotate\""
    )]
    IssuerRevoked {
        /// Which.
        issuer: IssuerId,
        /// Since when.
        since: Timestamp,
    },
    /// A duration outside its bounds.
    #[error("{option} {value} is {bound}", value = humantime::format_duration(*value))]
    Duration {
        /// The option's name.
        option: &'static str,
        /// Its value.
        value: std::time::Duration,
        /// The bound and what to do.
        bound: String,
    },
    /// A name that no certificate can carry.
    #[error(transparent)]
    Name(#[from] NameError),
    /// More names than a certificate should carry.
    #[error("{count} DNS names and addresses are more than the {limit} that one certificate may carry")]
    TooManyNames {
        /// How many were asked for.
        count: usize,
        /// The most.
        limit: usize,
    },
    /// An ID that is none.
    #[error("not a SPIFFE ID")]
    SpiffeId(#[from] SpiffeIdError),
    /// A SPIFFE ID that this authority may not vouch for.
    #[error("--spiffe {id}: the trust domain of this authority is {trust_domain:?}, and it issues for no other", trust_domain = trust_domain.as_str())]
    OtherTrustDomain {
        /// The ID asked for.
        id: SpiffeId,
        /// The authority's.
        trust_domain: TrustDomain,
    },
    /// The trust domain's own ID, which belongs to its authority (SPIFFE X509-SVID section 4.1).
    #[error("--spiffe {id}: names the trust domain and no member of it; add a path such as {id}/adservice")]
    NoPath {
        /// The ID asked for.
        id: SpiffeId,
    },
    /// A serial number that was never issued here.
    #[error("serial {serial} was not issued by this authority; \"mantlet ca list --dir DIR\" shows those that were")]
    UnknownSerial {
        /// The number.
        serial: SerialNumber,
    },
    /// A certificate that another authority issued.
    #[error("{path}: serial {serial} was issued by {issuer:?}, not by this authority ({ours:?}); revoke it there")]
    OtherIssuer {
        /// The certificate's file.
        path: PathBuf,
        /// Its serial number.
        serial: SerialNumber,
        /// Who it says issued it.
        issuer: String,
        /// Our name.
        ours: String,
    },
    /// A certificate that bears our name and a serial number of ours and yet is not the one that we issued.
    #[error(
        "{path}: claims serial {serial} of this authority but is not the certificate issued under it; revoke with --serial if that one is meant"
    )]
    Impostor {
        /// The certificate's file.
        path: PathBuf,
        /// Its serial number.
        serial: SerialNumber,
    },
    /// No CRL can revoke a trust anchor.
    #[error("serial {serial} is the root, which no CRL can revoke; remove it from every peer's trust anchors instead")]
    RootRevocation {
        /// Its serial number.
        serial: SerialNumber,
    },
    /// The CRL kept for the root does not say what the ledger says, and the root key is not here to sign another.
    #[error(
        "the {issuer}'s CRL lacks serial {serial}, revoked since; bring the {issuer} key back to {key} and run this again"
    )]
    RootCrlOutdated {
        /// Whose CRL was kept.
        issuer: IssuerId,
        /// What it lacks.
        serial: SerialNumber,
        /// Where the key belongs.
        key: PathBuf,
    },
    /// The library that makes certificates refused.
    #[error("cannot make the {what}")]
    Making {
        /// What it should have made.
        what: &'static str,
        /// Why not.
        source: rcgen::Error,
    },
    /// The system's random source failed.
    #[error("the system gave no random bytes: {reason}")]
    Random {
        /// What it said.
        reason: getrandom::Error,
    },
}

impl CaError {
    pub(super) fn making(what: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |source| Self::Making { what, source }
    }

    pub(super) fn unusable(path: &Path, reason: impl Into<String>) -> Self {
        Self::Unusable { path: path.to_owned(), reason: reason.into() }
    }
}

impl From<FileError> for CaError {
    fn from(error: FileError) -> Self {
        let FileError { action, path, source } = error;
        Self::Io { action, path, source }
    }
}

/// For `map_err`: what was tried on which file.
pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CaError {
    let path = path.to_owned();
    move |source| CaError::Io { action, path, source }
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
