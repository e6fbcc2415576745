//! How the keys of one issuer are kept: what was fetched, how that went, and when to ask again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use tracing::{error, info, warn};

use crate::config::Issuer;
use crate::fetch::{Answer, FetchError, Fetcher, Validators};
use crate::x509::Instant;

use super::answer::{self, Answered};
use super::key::Keys;
use super::schedule::{after_failure, after_success, has_come, lifetime};
use super::source::{Held, InUse, KeySource};
use super::status::{IssuerStatus, KeyState};
use super::verified::sha256;

/// One issuer and its keys.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) settings: Issuer,
    pub(super) source: Arc<KeySource>,
    pub(super) fetcher: Fetcher,
    /// Whom the fetcher believes.
    pub(super) anchors: RootCertStore,
    pub(super) validators: Validators,
    /// Absent while it is being asked.
    pub(super) next_attempt: Option<SystemTime>,
    failures_in_a_row: u32,
    successes: u64,
    failures: u64,
    /// The state that was told last.
    told: KeyState,
}

/// What a fetch brought.
#[derive(Debug)]
pub(super) enum Fetched {
    /// The same as before.
    NotModified { freshness: Option<Duration> },
    /// An answer.
    Read { answered: Box<Answered>, digest: [u8; 32], validators: Validators, freshness: Option<Duration> },
}

impl Kept {
    pub(super) fn new(
        settings: Issuer,
        source: KeySource,
        fetcher: Fetcher,
        anchors: RootCertStore,
        now: SystemTime,
    ) -> Self {
        Self {
            settings,
            source: Arc::new(source),
            fetcher,
            anchors,
            validators: Validators::default(),
            next_attempt: Some(now),
            failures_in_a_row: 0,
            successes: 0,
            failures: 0,
            told: KeyState::Missing,
        }
    }

    /// Whether these settings still ask for the keys that are kept here, of servers that whoever was believed still is. Keys that a server
    /// gave whose authority is believed no more are not kept.
    pub(super) fn is_kept_by(&self, settings: &Issuer, anchors: &RootCertStore) -> bool {
        self.settings.jwks_url == settings.jwks_url
            && self.settings.keys_format == settings.keys_format
            && self.anchors.roots.iter().all(|anchor| anchors.roots.contains(anchor))
    }

    /// The same keys, under new settings.
    pub(super) fn renewed(&self, settings: Issuer, fetcher: Fetcher, anchors: RootCertStore) -> Self {
        Self { settings, fetcher, anchors, ..self.clone() }
    }

    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        self.next_attempt.is_some_and(|at| has_come(at, self.settings.max_age, now))
    }

    /// Asks at once for a key that somebody wants, unless the issuer was asked a moment ago or fails.
    pub(super) fn want(&mut self, now: SystemTime) {
        let held = self.source.held();
        if held.failure.is_some() || !held.may_ask(self.settings.refetch_interval, now) {
            self.source.decline();
        } else if self.next_attempt.is_some() {
            self.next_attempt = Some(now);
        }
    }

    /// Makes a fetch of it, which changes nothing by itself.
    pub(super) fn fetch(&mut self) -> impl Future<Output = Result<Fetched, String>> + Send + 'static {
        self.next_attempt = None;
        let (fetcher, validators) = (self.fetcher.clone(), self.validators.clone());
        let (url, format) = (self.settings.jwks_url.value.url().clone(), self.settings.keys_format);
        async move {
            match fetcher.get(&url, &validators).await {
                Err(error) => Err(error.to_string()),
                Ok(Answer::NotModified { freshness }) => Ok(Fetched::NotModified { freshness }),
                Ok(Answer::Body { bytes, validators, freshness }) => {
                    // What a hostile answer might do to the reader stays there.
                    let read = move || (answer::read(&bytes, format), sha256(&bytes));
                    let (answered, digest) = tokio::task::spawn_blocking(read)
                        .await
                        .map_err(|_| "gives keys that cannot be read: the reader failed".to_owned())?;
                    let answered = answered.map_err(|reason| format!("gives no keys: the answer {reason}"))?;
                    Ok(Fetched::Read { answered: Box::new(answered), digest, validators, freshness })
                }
            }
        }
    }

    /// Takes what a fetch brought, and notes how that went and when to ask again.
    pub(super) fn settle(&mut self, fetched: Result<Fetched, String>, jitter: f64, now: SystemTime) {
        let before = Held::clone(&self.source.held());
        let mut held = Held { asked_at: Some(now), round: before.round + 1, failure: None, ..before.clone() };
        let outcome = fetched.map_err(NotUsed::from).and_then(|fetched| self.take(fetched, before.in_use, now));
        let failure = match outcome {
            Ok((in_use, lifetime)) => {
                held.in_use = Some(in_use);
                (self.successes, self.failures_in_a_row) = (self.successes + 1, 0);
                self.next_attempt = Some(after_success(now, lifetime, jitter));
                None
            }
            Err(NotUsed { reason, withdraws }) => {
                if withdraws {
                    held.in_use = None;
                }
                self.validators = Validators::default();
                (self.failures, self.failures_in_a_row) = (self.failures + 1, self.failures_in_a_row + 1);
                self.next_attempt = Some(after_failure(now, self.failures_in_a_row, jitter));
                Some(Arc::from(reason))
            }
        };
        held.failure = failure;
        self.tell_outcome(before.failure.as_deref(), &held);
        self.source.end_round(held);
        self.tell_state(now);
    }

    /// Puts what was fetched in the place of what is in use.
    fn take(
        &mut self,
        fetched: Fetched,
        before: Option<InUse>,
        now: SystemTime,
    ) -> Result<(InUse, std::time::Duration), NotUsed> {
        let (kept, freshness) = match (fetched, before) {
            // A reload has dropped what the condition meant.
            (Fetched::NotModified { .. }, None) => return Err(FetchError::NotModifiedUnasked.to_string().into()),
            (Fetched::NotModified { freshness }, Some(before)) => (before, freshness),
            (Fetched::Read { digest, validators, freshness, .. }, Some(before)) if before.digest == digest => {
                self.validators = validators;
                (before, freshness)
            }
            (Fetched::Read { answered, digest, validators, freshness }, _) => {
                let Answered { keys, left_out } = *answered;
                if keys.iter().next().is_none() {
                    let left_out = left_out.map(|reasons| format!(": {reasons}")).unwrap_or_default();
                    return Err(NotUsed {
                        reason: format!("gives no key that can be used{left_out}"),
                        withdraws: true,
                    });
                }
                self.validators = validators;
                self.tell_keys(&keys, left_out.as_deref());
                let in_use = InUse {
                    keys: Arc::new(keys),
                    digest,
                    left_out: left_out.map(Arc::from),
                    fetched_at: now,
                    fresh_until: now,
                };
                (in_use, freshness)
            }
        };
        let lifetime = lifetime(freshness, self.settings.max_age);
        Ok((InUse { fetched_at: now, fresh_until: now + lifetime, ..kept }, lifetime))
    }

    fn tell_keys(&self, keys: &Keys, left_out: Option<&str>) {
        let (issuer, count) = (&*self.settings.name.value, keys.iter().count());
        info!(issuer, keys = count, url = %self.settings.jwks_url.value, left_out, "the keys of an issuer are in use");
    }

    fn tell_outcome(&self, before: Option<&str>, held: &Held) {
        let (issuer, url) = (&*self.settings.name.value, &self.settings.jwks_url.value);
        match (&held.failure, before) {
            (None, Some(_)) => info!(issuer, %url, "the keys of an issuer can be fetched again"),
            (Some(reason), before) if before != Some(reason) => {
                let serves_until =
                    held.in_use.as_ref().map(|in_use| Instant(in_use.serves_until(&self.settings)).to_string());
                let next_attempt = self.next_attempt.map(|at| Instant(at).to_string());
                warn!(issuer, %url, reason = &**reason, serves_until, next_attempt, "the keys of an issuer cannot be fetched");
            }
            _ => {}
        }
    }

    /// Tells once of keys that are stale, or too old. True where there is something else to show than before.
    pub(super) fn tell_state(&mut self, now: SystemTime) -> bool {
        let status = self.status();
        let state = status.state(now);
        if state == self.told {
            return false;
        }
        self.told = state;
        let issuer = &*self.settings.name.value;
        let serves_until = status.serves_until.map(|until| Instant(until).to_string());
        let reason = status.last_error.as_deref();
        match state {
            KeyState::Fresh => {}
            KeyState::Stale => warn!(issuer, serves_until, reason, "the keys of an issuer are stale, and still serve"),
            KeyState::Missing | KeyState::Expired => {
                error!(
                    issuer,
                    serves_until, reason, "there are no keys of an issuer that serve: its tokens are answered with 503"
                );
            }
        }
        true
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let held = self.source.held();
        let in_use = held.in_use.as_ref();
        let mut keys: Vec<String> =
            in_use.iter().flat_map(|in_use| in_use.keys.iter()).map(ToString::to_string).collect();
        keys.sort();
        IssuerStatus {
            name: self.settings.name.value.clone(),
            issuer: self.settings.issuer.value.clone(),
            jwks_url: self.settings.jwks_url.value.to_string(),
            keys,
            left_out: in_use.and_then(|in_use| in_use.left_out.clone()),
            fetched_at: in_use.map(|in_use| in_use.fetched_at),
            fresh_until: in_use.map(|in_use| in_use.fresh_until),
            serves_until: in_use.map(|in_use| in_use.serves_until(&self.settings)),
            last_attempt: held.asked_at,
            last_error: held.failure.clone(),
            next_attempt: self.next_attempt,
            successes: self.successes,
            failures: self.failures,
        }
    }
}

/// Why what was fetched is not used.
struct NotUsed {
    reason: String,
    /// The issuer has said that none of its keys holds any more.
    withdraws: bool,
}

impl From<String> for NotUsed {
    fn from(reason: String) -> Self {
        Self { reason, withdraws: false }
    }
}
