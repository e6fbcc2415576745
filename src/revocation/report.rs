//! What each source gave, for `mantlet crl fetch`.

use std::time::Duration;

use super::cache;
use super::source::Source;
use super::{CrlStatus, Engine, SourceStatus};

/// One source and what it gave.
#[derive(Debug, Clone)]
pub struct SourceReport {
    /// How it fared.
    pub status: SourceStatus,
    /// How long the last attempt took.
    pub took: Option<Duration>,
    /// The CRLs that it gave, or those in use in place of them.
    pub crls: Vec<SuppliedCrl>,
}

/// A CRL that a source gave.
#[derive(Debug, Clone)]
pub struct SuppliedCrl {
    /// How it stands.
    pub status: CrlStatus,
    /// The name of the file in `revocation.cache_dir` that it is kept in.
    pub file_name: String,
}

impl Engine {
    /// What each source gave, the configured ones first and in their order.
    pub fn report(&self) -> Vec<SourceReport> {
        let Some(plan) = &self.plan else { return Vec::new() };
        let index = self.lists.load();
        let report = |source: &Source| {
            let given = index.crls().filter(|crl| source.supplied.contains(&crl.stem));
            let mut crls: Vec<SuppliedCrl> = given
                .map(|crl| SuppliedCrl { status: plan.crl_status(&index, crl), file_name: cache::file_name(crl) })
                .collect();
            crls.sort_by(|one, other| one.file_name.cmp(&other.file_name));
            SourceReport { status: source.status(), took: source.took, crls }
        };
        plan.sources.iter().map(report).collect()
    }

    /// Distribution points that certificates name and that are not asked.
    pub fn refused_points(&self) -> Vec<String> {
        let mut refused: Vec<String> = self.plan.iter().flat_map(|plan| plan.refused_points.iter().cloned()).collect();
        refused.sort();
        refused
    }
}
