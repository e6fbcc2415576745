//! `[trust]`: the anchors of the closed PKI. The operating system's roots are never among them.

use std::path::PathBuf;

use super::Located;
use super::identity::GiverKeys;
use super::reader::TableReader;

/// Whom we believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// PEM files of trust anchors, at least one certificate in all; may be empty where the authority's are believed, or a SPIFFE agent gives some.
    pub anchors: Vec<Located<PathBuf>>,
    /// Whether the anchors that the authority of `[identity]` serves are believed too; by default where `anchors` is absent.
    pub anchors_from_authority: bool,
    /// PEM files of intermediates that peers may leave out and that CRLs may be signed by.
    pub intermediates: Vec<Located<PathBuf>>,
    /// Most intermediates in a path; 0 to 6, default 4.
    pub max_depth: u8,
}

const MAX_DEPTH: u8 = 4;

pub(super) const NOTHING_HELD: &str =
    "neither trust.anchors nor identity.authority_fingerprint is there: the authority could not prove itself";
pub(super) const NOTHING_HELD_REMEDY: &str = "name the authority's anchors in [trust], or write the fingerprint of one, which \"mantlet cert show\" prints, as authority_fingerprint in [identity]";

impl Trust {
    /// What an absent table means where the anchors of the authority, or those that a SPIFFE agent gives, are believed.
    pub(super) fn absent(anchors_from_authority: bool) -> Self {
        Self { anchors: Vec::new(), anchors_from_authority, intermediates: Vec::new(), max_depth: MAX_DEPTH }
    }
}

pub(super) fn read(t: &mut TableReader<'_, '_, '_>, giver: GiverKeys) -> Option<Trust> {
    let remedy = "name the PEM files of our own authority, such as anchors = [\"certs/ca.pem\"]";
    let anchors = t.paths("anchors");
    let from_authority = t.boolean("anchors_from_authority");
    let is_absent = t.span("anchors").is_none();
    if let Some(wanted) = from_authority.as_ref().filter(|wanted| wanted.value && !giver.enrols) {
        let message = format!("{} is true without identity.authority", t.thing("anchors_from_authority"));
        t.rule(Some(wanted.span.clone()), message, "name the authority in [identity], or remove it");
    }
    let anchors_from_authority = from_authority.as_ref().map_or(giver.enrols && is_absent, |wanted| wanted.value);
    if !anchors_from_authority && !giver.workload_api {
        t.require("anchors", remedy);
    } else if is_absent && giver.enrols && !giver.pinned {
        t.rule(t.header(), NOTHING_HELD.to_owned(), NOTHING_HELD_REMEDY);
    }
    if t.is_empty_list("anchors") {
        t.error(t.span("anchors"), format!("{} is empty: expected one file or more", t.thing("anchors")), remedy);
    }
    let anchors = if is_absent && (anchors_from_authority || giver.workload_api) { Some(Vec::new()) } else { anchors };
    let intermediates = t.paths("intermediates").unwrap_or_default();
    let max_depth = t.integer("max_depth", 0..=6).unwrap_or(MAX_DEPTH);
    Some(Trust { anchors: anchors?, anchors_from_authority, intermediates, max_depth })
}
