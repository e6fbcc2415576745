//! `[trust]`: the anchors of the closed PKI. The operating system's roots are never among them.

use std::path::PathBuf;

use super::Located;

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
