//! How asking for a certificate goes.

use std::time::SystemTime;

use tokio::task::JoinHandle;

use super::{Failure, schedule};

/// How asking for a certificate goes.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    pub(super) task: Option<Running>,
    /// The certificate in use is the proof of the one that runs, or ran last.
    pub(super) by_current: bool,
    pub(super) next: Option<SystemTime>,
    pub(super) last: Option<SystemTime>,
    pub(super) last_success: Option<SystemTime>,
    pub(super) successes: u64,
    pub(super) failures: u64,
    pub(super) in_a_row: u32,
    pub(super) failing_since: Option<SystemTime>,
    pub(super) last_error: Option<Failure>,
}

/// A task that ends with whoever waits for it.
#[derive(Debug)]
pub(super) struct Running(pub(super) JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Attempt {
    /// Counts a failure. The value says when to try again, before `end`, when what is held ends.
    pub(super) fn failed(
        &mut self,
        failure: &Failure,
        end: Option<SystemTime>,
        jitter: f64,
        now: SystemTime,
    ) -> SystemTime {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.failures += 1;
        self.failing_since.get_or_insert(now);
        let left = end.and_then(|end| end.duration_since(now).ok());
        schedule::retry(now, self.in_a_row, failure, left, jitter)
    }

    /// Whether a failure is another than the last one.
    pub(super) fn is_news(&self, failure: &Failure) -> bool {
        self.last_error.as_ref().is_none_or(|before| before.label != failure.label)
    }

    /// Counts a success.
    pub(super) fn succeeded(&mut self, now: SystemTime) {
        (self.in_a_row, self.failing_since, self.last_error) = (0, None, None);
        self.successes += 1;
        self.last_success = Some(now);
    }
}
