//! Revocation: CRLs that were verified when they were loaded, and the lookup of a serial number in them.
//!
//! An index holds one CRL for each issuer *key*, so that a CA of the same name cannot answer for another. Only complete
//! CRLs are taken (RFC 5280 section 5): an entry says revoked, and the absence of one says not revoked.

mod list;
mod serials;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::config::{OnUnknown, RevocationDepth};

use super::facts::IssuerKey;
use super::{CertificateInfo, RefusalReason, RevocationSources, SerialNumber};

pub(super) use list::{Issuer, VerifiedCrl, read};

/// One CRL in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlInfo {
    /// The issuer as RFC 4514 text.
    pub issuer: String,
    /// The CRL number as hexadecimal (RFC 5280 section 5.2.3); absent where the CRL has none.
    pub number: Option<SerialNumber>,
    /// When it was issued.
    pub this_update: SystemTime,
    /// When its successor is due.
    pub next_update: SystemTime,
    /// How many certificates it lists.
    pub entries: usize,
    /// The file it was read from.
    pub source: PathBuf,
}

/// The CRLs in use, by issuer key, and what an unknown status means.
#[derive(Debug)]
pub(super) struct RevocationIndex {
    by_issuer: HashMap<IssuerKey, VerifiedCrl>,
    grace: Duration,
    on_stale: OnUnknown,
    on_missing: OnUnknown,
    depth: RevocationDepth,
}

impl RevocationIndex {
    pub(super) fn new(sources: &RevocationSources) -> Self {
        Self {
            by_issuer: HashMap::new(),
            grace: sources.grace,
            on_stale: sources.on_stale,
            on_missing: sources.on_missing,
            depth: sources.depth,
        }
    }

    /// Takes a CRL, unless a newer one of the same issuer is there. The one that gave way is returned.
    pub(super) fn insert(&mut self, crl: VerifiedCrl) -> Option<CrlInfo> {
        if let Some(known) = self.by_issuer.get(&crl.issuer_key)
            && !crl.info.is_newer_than(&known.info)
        {
            return Some(crl.info);
        }
        self.by_issuer.insert(crl.issuer_key, crl).map(|older| older.info)
    }

    pub(super) fn crls(&self) -> impl Iterator<Item = &CrlInfo> {
        self.by_issuer.values().map(|crl| &crl.info)
    }

    /// How many certificates of a path are looked up, counted from the end entity.
    pub(super) fn looked_up(&self) -> usize {
        match self.depth {
            RevocationDepth::Chain => usize::MAX,
            RevocationDepth::EndEntity => 1,
        }
    }

    /// Looks a serial number up under the key of its issuer.
    ///
    /// An entry counts however old the CRL is, and whatever its reason: `certificateHold` withdraws for the time being, and
    /// `removeFromCRL` has no meaning in a complete CRL (RFC 5280 section 5.3.1), so that an entry with it is an entry.
    pub(super) fn check(
        &self,
        serial: &SerialNumber,
        issuer_key: &IssuerKey,
        issuer: &CertificateInfo,
        now: SystemTime,
    ) -> Result<(), RefusalReason> {
        let Some(crl) = self.by_issuer.get(issuer_key) else {
            return unless_allowed(self.on_missing, || RefusalReason::RevocationUnknown {
                serial: serial.clone(),
                issuer: issuer.title(),
            });
        };
        if let Some(entry) = crl.serials.find(serial.as_der_content()) {
            return Err(RefusalReason::Revoked { serial: serial.clone(), since: entry.since, reason: entry.reason });
        }
        let CrlInfo { next_update, .. } = crl.info;
        // A grace that reaches beyond the clock's range never ends.
        if next_update.checked_add(self.grace).is_none_or(|end| now <= end) {
            return Ok(());
        }
        unless_allowed(self.on_stale, || RefusalReason::RevocationStale {
            serial: serial.clone(),
            issuer: issuer.title(),
            next_update,
        })
    }
}

impl CrlInfo {
    /// By CRL number where both have one, then by time of issue.
    fn is_newer_than(&self, other: &Self) -> bool {
        let by_number = match (&self.number, &other.number) {
            (Some(ours), Some(theirs)) => {
                let (ours, theirs) = (ours.as_der_content(), theirs.as_der_content());
                ours.len().cmp(&theirs.len()).then_with(|| ours.cmp(theirs))
            }
            _ => std::cmp::Ordering::Equal,
        };
        by_number.then_with(|| self.this_update.cmp(&other.this_update)).is_gt()
    }
}

fn unless_allowed(on_unknown: OnUnknown, reason: impl FnOnce() -> RefusalReason) -> Result<(), RefusalReason> {
    match on_unknown {
        OnUnknown::Allow => Ok(()),
        OnUnknown::Deny => Err(reason()),
    }
}
