//! What an operator sees of revocation.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::x509::{CrlInfo, TrustMaterial};

use super::Freshness;

/// The CRLs in use and the sources they come from.
#[derive(Debug, Clone, Default)]
pub struct RevocationStatus {
    /// The CRLs.
    pub crls: Vec<CrlStatus>,
    /// The sources.
    pub sources: Vec<SourceStatus>,
    /// What the CRLs say of our own certificate, where it is not good.
    pub own: Option<OwnAlarm>,
}

/// One CRL in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlStatus {
    /// What it says of itself.
    pub info: CrlInfo,
    /// Until when it serves: its next update or, where that is later, that of the delta CRL applied to it.
    pub serves_until: SystemTime,
    /// When its successor is looked for.
    pub refresh_at: Option<SystemTime>,
    /// How long it serves beyond that.
    pub grace: Duration,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// The file, folder or address.
    pub source: Arc<str>,
    /// `file`, `directory`, `url`, `distribution_point` or `workload_api`.
    pub kind: &'static str,
    /// When it was last asked; absent before the first answer.
    pub last_attempt: Option<SystemTime>,
    /// When it last gave what could be used.
    pub last_success: Option<SystemTime>,
    /// Why it gave nothing that could be used, the last time.
    pub last_error: Option<String>,
    /// When it is asked again; absent for files, whose change is noticed.
    pub next_attempt: Option<SystemTime>,
    /// Answers that could be used.
    pub successes: u64,
    /// Answers that could not, and attempts without an answer.
    pub failures: u64,
    /// CRLs that were refused because a newer one is in use.
    pub rollbacks: u64,
}

/// Our own certificate would be refused by a peer with our CRLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAlarm {
    /// A short fixed name: `revoked`, `revocation_unknown` or `revocation_stale`.
    pub label: &'static str,
    /// In words.
    pub message: String,
}

impl CrlStatus {
    /// Its state.
    pub fn state(&self, now: SystemTime) -> Freshness {
        Freshness::judge(self.serves_until, self.refresh_at, self.grace, now)
    }
}

impl OwnAlarm {
    /// What the CRLs in use say of our own certificate; nothing where it is good, or refused for another reason than revocation.
    pub fn judge(material: &TrustMaterial, now: SystemTime) -> Option<Self> {
        let refusal = material.verify_own(now)?.err()?;
        let label = refusal.reason.label();
        matches!(label, "revoked" | "revocation_unknown" | "revocation_stale").then(|| Self {
            label,
            message: format!("peers that read the same CRLs will refuse our own certificate: {}", refusal.reason),
        })
    }
}
