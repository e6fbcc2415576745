//! One source of CRLs: what it is, how it fared, and when it is asked again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{CrlSource, CrlUrl};
use crate::fetch::Validators;
use crate::x509::RevocationIndex;

use super::reading::place_of;
use super::status::SourceStatus;

/// Where CRLs come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file, or a folder of files.
    Path(PathBuf),
    /// A configured address.
    Url(CrlUrl),
    /// An address that a certificate or a CRL names.
    DistributionPoint(CrlUrl),
    /// What came with the trust material, from whoever gave that.
    Given(Arc<str>),
}

/// One source.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) origin: Origin,
    pub(super) text: Arc<str>,
    /// Of a learnt address the branch below an anchor that named it, as [`crate::x509::WantedCrl::branch`]; absent for what is
    /// configured.
    pub(super) branch: Option<[u8; 32]>,
    pub(super) validators: Validators,
    /// When to ask it next; nothing while it is asked, and for files.
    pub(super) next_attempt: Option<SystemTime>,
    /// It was asked to be asked now while it was being asked.
    pub(super) is_wanted_again: bool,
    /// When the successor of what it gave is looked for.
    pub(super) refresh_at: Option<SystemTime>,
    /// Failures since the last success.
    pub(super) failures_in_a_row: u32,
    /// The names of the CRLs that it gave, as [`crate::x509::VerifiedCrl::stem`] makes them.
    pub(super) supplied: Vec<String>,
    /// The digests of what it gave last that was not taken, so that each is counted once.
    pub(super) refused: Vec<[u8; 32]>,
    /// It gave CRLs of CAs that are not known here.
    pub(super) has_unknown_issuer: bool,
    /// It gave a delta CRL whose complete one was not there.
    pub(super) lacks_base: bool,
    pub(super) last_attempt: Option<SystemTime>,
    /// How long the last attempt took.
    pub(super) took: Option<Duration>,
    pub(super) last_success: Option<SystemTime>,
    pub(super) last_error: Option<String>,
    pub(super) successes: u64,
    pub(super) failures: u64,
    pub(super) rollbacks: u64,
}

impl Origin {
    pub(super) fn url(&self) -> Option<&CrlUrl> {
        match self {
            Self::Path(_) | Self::Given(_) => None,
            Self::Url(url) | Self::DistributionPoint(url) => Some(url),
        }
    }

    fn text(&self) -> Arc<str> {
        match self {
            Self::Path(path) => place_of(path),
            Self::Url(url) | Self::DistributionPoint(url) => url.to_string().into(),
            Self::Given(giver) => Arc::clone(giver),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Path(path) if path.is_dir() => "directory",
            Self::Path(_) => "file",
            Self::Url(_) => "url",
            Self::DistributionPoint(_) => "distribution_point",
            Self::Given(_) => "workload_api",
        }
    }
}

impl From<&CrlSource> for Origin {
    fn from(source: &CrlSource) -> Self {
        match source {
            CrlSource::Path(path) => Self::Path(path.clone()),
            CrlSource::Url(url) => Self::Url(url.clone()),
        }
    }
}

impl Source {
    /// An address is to be asked at once.
    pub(super) fn new(origin: Origin, now: SystemTime) -> Self {
        let next_attempt = origin.url().map(|_| now);
        Self {
            text: origin.text(),
            branch: None,
            origin,
            validators: Validators::default(),
            next_attempt,
            is_wanted_again: false,
            refresh_at: None,
            failures_in_a_row: 0,
            supplied: Vec::new(),
            refused: Vec::new(),
            has_unknown_issuer: false,
            lacks_base: false,
            last_attempt: None,
            took: None,
            last_success: None,
            last_error: None,
            successes: 0,
            failures: 0,
            rollbacks: 0,
        }
    }

    pub(super) fn succeeded(&mut self, now: SystemTime) {
        (self.last_attempt, self.last_success) = (Some(now), Some(now));
        self.last_error = None;
        self.failures_in_a_row = 0;
        self.successes += 1;
    }

    /// True where the reason is another than the last time.
    pub(super) fn failed(&mut self, now: SystemTime, reason: String) -> bool {
        self.last_attempt = Some(now);
        self.failures += 1;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let is_news = self.last_error.as_ref() != Some(&reason);
        self.last_error = Some(reason);
        is_news
    }

    pub(super) fn status(&self) -> SourceStatus {
        SourceStatus {
            source: Arc::clone(&self.text),
            kind: self.origin.kind(),
            last_attempt: self.last_attempt,
            last_success: self.last_success,
            last_error: self.last_error.clone(),
            next_attempt: self.next_attempt,
            successes: self.successes,
            failures: self.failures,
            rollbacks: self.rollbacks,
        }
    }

    /// When the successor of what it gave is due.
    pub(super) fn next_update(&self, index: &RevocationIndex) -> Option<SystemTime> {
        let given = index.crls().filter(|crl| self.supplied.contains(&crl.stem));
        given.map(|crl| index.next_update(crl)).min()
    }

    /// An address whose CRLs are in use no more, as where their CA was not trusted for a while, is asked without a condition.
    pub(super) fn ask_again_for_what_is_gone(&mut self, index: &RevocationIndex, now: SystemTime) {
        let is_there = |stem: &String| index.crls().any(|crl| crl.stem == *stem);
        if !self.supplied.iter().all(is_there) || self.has_unknown_issuer {
            self.supplied.retain(is_there);
            self.validators = Validators::default();
            self.next_attempt = self.next_attempt.map(|_| now);
        }
    }
}
