//! What the configuration asks for, what is held, and how it goes.

mod adopting;
mod asking;
mod taking;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::sign::CertifiedKey;
use tracing::{error, info, warn};

use crate::config::{Config, Enrolment};
use crate::x509::{CertificateInfo, Instant, MaterialSources};

use super::attempt::{Attempt, Running};
use super::schedule::{self, Stage};
use super::session::Place;
use super::state::StateDir;
use super::status::{EnrolmentStatus, Giver, PushStatus, SKEW, skewed};
use super::{Failure, FailureKind};

/// How often the authority's anchors are looked at while nothing is heard of changes.
const ANCHORS: Duration = Duration::from_secs(600);
/// How soon a wish of the authority that we renew is followed again.
const MIN_RENEWAL: Duration = Duration::from_secs(5);
/// How soon another proof is tried where one was refused.
const OTHER_PROOF: Duration = Duration::from_millis(250);

/// A certificate of ours that can be used.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) info: CertificateInfo,
    pub(super) key: Arc<CertifiedKey>,
    /// When it was got, where that is known.
    pub(super) obtained: Option<SystemTime>,
}

/// What the configuration asks for, what is held, and how it goes.
#[derive(Debug)]
pub(super) struct Plan {
    settings: Enrolment,
    /// The files of a sidecar so configured.
    sources: MaterialSources,
    /// Those of them that the operator names as anchors.
    anchor_files: usize,
    anchors_from_authority: bool,
    lenient: Option<crate::x509::RevocationPolicy>,
    place: Place,
    state: StateDir,
    pub(super) held: Option<Held>,
    /// Why nothing is held.
    pub(super) missing: Option<String>,
    /// Absent before the plan is followed.
    pub(super) generation: Option<u64>,
    attempt: Attempt,
    look: Look,
    push: Push,
    told: Stage,
    skew: Option<i64>,
    registration: String,
    /// The authority does not take the certificate in use any more, good as it may look.
    is_withdrawn: bool,
}

/// How looking at the anchors goes.
#[derive(Debug, Default)]
struct Look {
    task: Option<Running>,
    next: Option<SystemTime>,
}

/// How hearing of changes goes.
#[derive(Debug, Default)]
struct Push {
    task: Option<Running>,
    next: Option<SystemTime>,
    in_a_row: u32,
    connected: bool,
    last_error: Option<Failure>,
    /// The last tags: of everything, of the CRLs and of the anchors.
    heard: Option<(String, String, String)>,
}

impl Held {
    /// When its lifetime counts from: a certificate is dated back a little, so that a clock that is behind takes it.
    fn from(&self) -> SystemTime {
        let CertificateInfo { not_before, not_after, .. } = self.info;
        self.obtained.unwrap_or(not_before).clamp(not_before, not_after.max(not_before))
    }
}

impl Plan {
    pub(super) fn new(
        config: &Config,
        settings: &Enrolment,
        state: StateDir,
        held: Option<Held>,
        missing: Option<String>,
    ) -> Self {
        let place = Place { url: settings.authority.value.clone(), expect: settings.expect.clone() };
        Self {
            settings: settings.clone(),
            sources: MaterialSources::from(config),
            anchor_files: config.trust.anchors.len(),
            anchors_from_authority: config.trust.anchors_from_authority,
            lenient: super::preparing::lenient(config.revocation.as_ref()),
            place,
            state,
            held,
            missing,
            generation: None,
            attempt: Attempt::default(),
            look: Look::default(),
            push: Push::default(),
            told: Stage::Ample,
            skew: None,
            registration: String::new(),
            is_withdrawn: false,
        }
    }

    /// Goes on from an earlier plan, where it is with the same authority. What had failed is tried again now: the reason for a
    /// reload may be that an operator has mended it.
    pub(super) fn take_over(&mut self, before: Self, now: SystemTime) {
        if self.settings != before.settings || self.anchors_from_authority != before.anchors_from_authority {
            return;
        }
        let is_same = |one: &Option<Held>| one.as_ref().map(|held| held.info.fingerprint);
        let same_certificate = is_same(&self.held) == is_same(&before.held);
        self.generation = before.generation;
        (self.attempt, self.look, self.push) = (before.attempt, before.look, before.push);
        (self.told, self.skew, self.registration) = (before.told, before.skew, before.registration);
        self.is_withdrawn = before.is_withdrawn;
        if same_certificate {
            self.held = before.held;
        } else {
            self.attempt.next = None;
        }
        self.hurry(now);
    }

    /// What has failed is tried again now.
    pub(super) fn hurry(&mut self, now: SystemTime) {
        if self.attempt.failing_since.is_some() {
            self.attempt.next = Some(now);
        }
        if self.push.task.is_none() {
            self.push.next = Some(now);
        }
    }

    /// Says when to do what has no time yet.
    pub(super) fn schedule(&mut self, random: &mut fastrand::Rng, now: SystemTime) {
        let due = match &self.held {
            None => now,
            Some(held) => schedule::renewal(held.from(), held.info.not_after, random.f64()),
        };
        self.attempt.next.get_or_insert(due);
        self.look.next.get_or_insert(now + ANCHORS.mul_f64(random.f64()));
        self.push.next.get_or_insert(now);
    }

    /// Notes that the authority gave no certificate.
    fn failed(&mut self, failure: Failure, random: &mut fastrand::Rng, now: SystemTime) -> bool {
        let end = self.held.as_ref().map(|held| held.info.not_after);
        let attempt = &mut self.attempt;
        let mut next = attempt.failed(&failure, end, random.f64(), now);
        let is_of_certificate = matches!(failure.label, "revoked" | "certificate" | "certificate_expired");
        if attempt.by_current && failure.kind == FailureKind::Refused && is_of_certificate {
            (self.is_withdrawn, next) = (true, now + OTHER_PROOF);
        } else if !attempt.by_current {
            self.is_withdrawn = false;
        }
        attempt.next = Some(next);
        if attempt.is_news(&failure) {
            let (authority, name) = (self.place.url.to_string(), &*self.settings.name.value);
            let (reason, error, remedy) = (failure.label, &*failure.message, &*failure.remedy);
            let next_attempt = Instant(next).to_string();
            if let Some(end) = end {
                let not_after = Instant(end).to_string();
                warn!(
                    authority,
                    name, reason, error, remedy, not_after, next_attempt, "our certificate is not renewed"
                );
            } else {
                warn!(authority, name, reason, error, remedy, next_attempt, "we are not certified");
            }
        }
        attempt.last_error = Some(failure);
        true
    }

    fn succeeded(&mut self, now: SystemTime) {
        self.attempt.succeeded(now);
        self.is_withdrawn = false;
        self.told = Stage::Ample;
    }

    /// Tells, ever louder, that the certificate in use comes to its end without another.
    pub(super) fn tell_stage(&mut self, now: SystemTime) -> bool {
        let Some(held) = &self.held else { return false };
        let stage = Stage::of(held.from(), held.info.not_after, now);
        if stage <= self.told || (self.attempt.failing_since.is_none() && stage != Stage::Over) {
            return false;
        }
        self.told = stage;
        let (authority, not_after) = (self.place.url.to_string(), Instant(held.info.not_after).to_string());
        let reason = self.attempt.last_error.as_ref().map_or_else(String::new, ToString::to_string);
        match stage {
            Stage::Ample | Stage::Quarter => {
                warn!(
                    authority,
                    not_after, reason, "a quarter of our certificate's lifetime is left, and its renewal fails"
                );
            }
            Stage::Eighth => {
                error!(
                    authority,
                    not_after, reason, "an eighth of our certificate's lifetime is left, and its renewal fails"
                );
            }
            Stage::Sixteenth => {
                error!(authority, not_after, reason, "our certificate is about to end, and its renewal fails");
            }
            Stage::Over => {
                error!(
                    authority,
                    not_after, reason, "our certificate has expired; peers refuse us until another is there"
                );
            }
        }
        true
    }

    /// Tells of clocks that differ. True where that is news.
    pub(super) fn note_skew(&mut self, skew: Option<i64>) -> bool {
        let Some(skew) = skew else { return false };
        let is_skewed = |skew: Option<i64>| skew.is_some_and(|skew| skew.abs() >= SKEW);
        let (before, after) = (is_skewed(self.skew), is_skewed(Some(skew)));
        self.skew = Some(skew);
        match (before, after) {
            (false, true) => warn!(seconds = skew, "{}", skewed(skew)),
            (true, false) => info!("the clock of this machine agrees with the authority's again"),
            _ => {}
        }
        before != after
    }

    pub(super) fn status(&self, now: SystemTime) -> EnrolmentStatus {
        let attempt = &self.attempt;
        let not_after = self.held.as_ref().map(|held| held.info.not_after);
        let is_over = not_after.filter(|end| *end < now);
        let missing = match (is_over, &self.held) {
            (Some(end), _) => Some(format!("our certificate expired {}", Instant(end))),
            (None, Some(_)) => None,
            (None, None) => Some(self.missing.clone().unwrap_or_default()),
        };
        EnrolmentStatus {
            giver: Giver::Authority,
            authority: self.place.url.to_string(),
            name: self.settings.name.value.clone(),
            missing,
            not_after,
            renewal: attempt.next.filter(|_| self.held.is_some() && attempt.failing_since.is_none()),
            last_attempt: attempt.last,
            last_success: attempt.last_success,
            next_attempt: attempt.next.filter(|_| attempt.task.is_none()),
            successes: attempt.successes,
            failures: attempt.failures,
            failing_since: attempt.failing_since,
            last_error: attempt.last_error.clone(),
            registration: self.registration.clone(),
            push: PushStatus { connected: self.push.connected, last_error: self.push.last_error.clone() },
            clock_skew: self.skew,
        }
    }
}
