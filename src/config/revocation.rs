//! `[revocation]`: which lists withdraw certificates, and what an unknown status means.

use std::path::PathBuf;
use std::time::Duration;

use super::Located;

/// How revocation is judged. Without the table nothing is checked, and the log at start says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Files of CRLs, PEM or DER.
    pub sources: Vec<Located<PathBuf>>,
    /// How long a CRL still serves after its next update; default 1 hour.
    pub grace: Duration,
    /// What a certificate means whose issuer's CRL is older than that; default deny.
    pub on_stale: OnUnknown,
    /// What a certificate means whose issuer has no CRL; default deny.
    pub on_missing: OnUnknown,
    /// Which certificates of a path are looked up; default the whole chain below the anchor.
    pub depth: RevocationDepth,
}

/// What follows from a status that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// Refuse the peer.
    #[default]
    Deny,
    /// Take the certificate for good.
    Allow,
}

/// Which certificates of a verified path are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RevocationDepth {
    /// The end-entity certificate and every intermediate.
    #[default]
    Chain,
    /// The end-entity certificate alone.
    EndEntity,
}
