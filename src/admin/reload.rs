//! How the reloads of configuration, certificates and CRLs went.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How the reloads of this process went. A reload that found nothing changed is none.
#[derive(Debug)]
pub struct ReloadStatus(Mutex<ReloadRecord>);

/// A snapshot of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadRecord {
    /// Reloads that were taken over.
    pub successes: u64,
    /// Reloads that were refused, so that what ran before stayed.
    pub failures: u64,
    /// When the last one was taken over; the start counts as the first.
    pub last_success: SystemTime,
    /// Why the last one was refused; absent where the last one was taken over.
    pub last_error: Option<ReloadError>,
}

/// A reload that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadError {
    /// When.
    pub time: SystemTime,
    /// Why.
    pub message: String,
}

impl ReloadStatus {
    pub(super) fn new(started: SystemTime) -> Self {
        Self(Mutex::new(ReloadRecord { successes: 0, failures: 0, last_success: started, last_error: None }))
    }

    /// Notes a reload that was taken over. It settles an earlier failure.
    pub fn succeeded(&self) {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.successes += 1;
        record.last_success = SystemTime::now();
        record.last_error = None;
    }

    /// Notes a reload that was refused, and why.
    pub fn failed(&self, message: impl Into<String>) {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.failures += 1;
        record.last_error = Some(ReloadError { time: SystemTime::now(), message: message.into() });
    }

    /// How things stand.
    pub fn record(&self) -> ReloadRecord {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
