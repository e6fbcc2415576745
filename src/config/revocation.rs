//! `[revocation]`: which lists withdraw certificates, and what an unknown status means.

use std::path::PathBuf;
use std::time::Duration;

use super::Located;
use super::reader::TableReader;

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

const GRACE: Duration = Duration::from_secs(3600);
const MAX_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);
const ON_UNKNOWN: [(&str, OnUnknown); 2] = [("deny", OnUnknown::Deny), ("allow", OnUnknown::Allow)];
const DEPTHS: [(&str, RevocationDepth); 2] =
    [("chain", RevocationDepth::Chain), ("end-entity", RevocationDepth::EndEntity)];

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Option<Revocation> {
    let remedy = "name the CRL files, such as sources = [\"certs/ca.crl\"], or remove the table [revocation]";
    let sources = t.paths("sources");
    t.require("sources", remedy);
    if t.is_empty_list("sources") {
        t.error(t.span("sources"), format!("{} is empty: expected one file or more", t.thing("sources")), remedy);
    }
    let grace = t.duration("grace", Duration::ZERO..=MAX_GRACE).unwrap_or(GRACE);
    let on_stale = t.choice("on_stale", &ON_UNKNOWN).map_or_else(OnUnknown::default, |choice| choice.value);
    let on_missing = t.choice("on_missing", &ON_UNKNOWN).map_or_else(OnUnknown::default, |choice| choice.value);
    let depth = t.choice("depth", &DEPTHS).map_or_else(RevocationDepth::default, |choice| choice.value);
    Some(Revocation { sources: sources?, grace, on_stale, on_missing, depth })
}
