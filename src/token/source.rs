//! The keys of one issuer as every verification sees them, and how it asks for those that are not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, watch};

use super::key::Keys;

/// Most requests that wait for one issuer at a time. Any more are told at once that it cannot be told.
const MAX_WAITING: usize = 256;
/// The longest that a request waits for an issuer.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Where the keys of one issuer are. It outlives reloads that leave the address alone.
#[derive(Debug)]
pub(super) struct KeySource {
    pub(super) id: u64,
    held: ArcSwap<Held>,
    /// A key that is not here was asked for, and the issuer has not answered since.
    is_wanted: AtomicBool,
    wanted: mpsc::UnboundedSender<u64>,
    /// The round that ended last.
    rounds: watch::Sender<u64>,
    waiting: Semaphore,
}

/// What is held, as one immutable value.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// Absent until an answer held one that can be used, and again after one that held none.
    pub(super) in_use: Option<InUse>,
    /// Why the last attempt failed.
    pub(super) failure: Option<Arc<str>>,
    /// When the issuer was asked last.
    pub(super) asked_at: Option<SystemTime>,
    /// How many attempts have ended.
    pub(super) round: u64,
}

/// Keys in use.
#[derive(Debug, Clone)]
pub(super) struct InUse {
    /// They are the same value for as long as they are the same keys.
    pub(super) keys: Arc<Keys>,
    /// SHA-256 of the answer that they came in.
    pub(super) digest: [u8; 32],
    pub(super) fetched_at: SystemTime,
    pub(super) fresh_until: SystemTime,
    /// Keys of that answer that are not used, and why.
    pub(super) left_out: Option<Arc<str>>,
}

/// What came of asking for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The issuer was asked since; what is held now is news.
    Anew,
    /// It was asked a moment ago, so that there is no more to know.
    TooSoon,
    /// It does not answer, or too many wait already.
    Silent,
}

impl KeySource {
    pub(super) fn new(id: u64, wanted: mpsc::UnboundedSender<u64>) -> Self {
        Self {
            id,
            held: ArcSwap::default(),
            is_wanted: AtomicBool::new(false),
            wanted,
            rounds: watch::Sender::new(0),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    pub(super) fn held(&self) -> arc_swap::Guard<Arc<Held>> {
        self.held.load()
    }

    /// Ends a round. Whoever waits looks again.
    pub(super) fn end_round(&self, held: Held) {
        let round = held.round;
        self.held.store(Arc::new(held));
        self.is_wanted.store(false, Ordering::Release);
        self.rounds.send_replace(round);
    }

    /// The wish for a key is not followed.
    pub(super) fn decline(&self) {
        self.is_wanted.store(false, Ordering::Release);
    }

    /// Has the issuer asked for a key that `held` does not hold, at most once an interval for all who ask, and waits for the answer
    /// within bounds.
    pub(super) async fn ask(&self, held: &Held, interval: Duration, now: SystemTime) -> Asked {
        if held.failure.is_some() {
            return Asked::Silent;
        }
        if !held.may_ask(interval, now) && !self.is_wanted.load(Ordering::Acquire) {
            return Asked::TooSoon;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Asked::Silent };
        let mut rounds = self.rounds.subscribe();
        if !self.is_wanted.swap(true, Ordering::AcqRel) {
            // The engine ends with the process alone.
            let _ = self.wanted.send(self.id);
        }
        let ended = tokio::time::timeout(MAX_WAIT, rounds.wait_for(|round| *round > held.round)).await;
        if matches!(ended, Ok(Ok(_))) { Asked::Anew } else { Asked::Silent }
    }
}

impl Held {
    /// Whether it is long enough ago that the issuer was asked.
    pub(super) fn may_ask(&self, interval: Duration, now: SystemTime) -> bool {
        let since = self.asked_at.map(|at| now.duration_since(at));
        // A clock that was put back does not keep anybody from asking.
        since.is_none_or(|since| since.is_err() || since.is_ok_and(|since| since >= interval))
    }
}
