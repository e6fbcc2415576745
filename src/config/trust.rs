//! `[trust]`: the anchors of the closed PKI. The operating system's roots are never among them.

use std::path::PathBuf;

use super::Located;
use super::reader::TableReader;

/// Whom we believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// PEM files of trust anchors, at least one certificate in all.
    pub anchors: Vec<Located<PathBuf>>,
    /// PEM files of intermediates that peers may leave out and that CRLs may be signed by.
    pub intermediates: Vec<Located<PathBuf>>,
    /// Most intermediates in a path; 0 to 6, default 4.
    pub max_depth: u8,
}

const MAX_DEPTH: u8 = 4;

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Option<Trust> {
    let remedy = "name the PEM files of our own authority, such as anchors = [\"certs/ca.pem\"]";
    let anchors = t.paths("anchors");
    t.require("anchors", remedy);
    if t.is_empty_list("anchors") {
        t.error(t.span("anchors"), format!("{} is empty: expected one file or more", t.thing("anchors")), remedy);
    }
    let intermediates = t.paths("intermediates").unwrap_or_default();
    let max_depth = t.integer("max_depth", 0..=6).unwrap_or(MAX_DEPTH);
    Some(Trust { anchors: anchors?, intermediates, max_depth })
}
