//! What can go wrong with a certificate authority.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::durable::FileError;
use crate::identity::{SpiffeId, SpiffeIdError, TrustDomain};
use crate::x509::SerialNumber;

use super::{NameError, Tier, Timestamp};

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
    /// The ledger of an authority is gone. A new one would issue blindly, so none is made.
    #[error(
        "{path}: the ledger is missing, without which no serial number can be trusted to be new; restore it from a backup"
    )]
    LedgerMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A line of the ledger other than a torn last one is unusable.
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
    #[error("{path}: the {tier} key is missing, and {purpose} needs it; bring it back from where it is kept")]
    KeyMissing {
        /// Where it should be.
        path: PathBuf,
        /// Whose key.
        tier: Tier,
        /// What it should have signed.
        purpose: &'static str,
    },
    /// The issuer's own certificate is over.
    #[error(
        "the {tier} certificate expired at {not_after}; make a new authority with \"mantlet ca init\" in another directory"
    )]
    IssuerExpired {
        /// Which.
        tier: Tier,
        /// Since when.
        not_after: Timestamp,
    },
    /// The issuer's own certificate is revoked.
    #[error(
        "the intermediate certificate was revoked at {since} and issues no more; make a new authority with \"mantlet ca init\" in another directory"
    )]
    IssuerRevoked {
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
    #[error("serial {serial} was not issued by this authority; \"mantlet ca list\" shows those that were")]
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
        "{path}: the root's CRL lacks serial {serial}, revoked since; bring the root key back to {key} and run this again"
    )]
    RootCrlOutdated {
        /// The CRL kept.
        path: PathBuf,
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
