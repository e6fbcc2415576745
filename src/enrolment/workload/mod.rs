//! Being given an identity by a SPIFFE agent on this machine, over the SPIFFE Workload API.
//!
//! The agent holds a stream open and sends a whole message whenever something changes. A message is judged as it will be used and
//! taken as a whole, or not at all. Nothing of it is written anywhere.

mod message;
mod stream;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::config::{Config, WorkloadApi};
use crate::x509::{
    CertificateInfo, GivenMaterial, Instant, MaterialPart, MaterialSources, RevocationLists, TrustMaterial,
    UnusableMaterial, VerifiedCrl,
};

use super::attempt::{Attempt, Running};
use super::schedule::Stage;
use super::status::{EnrolmentStatus, Giver, PushStatus};
use super::{Absorbed, Brought, Failure, Finished};

use stream::Subscription;

/// What was given, and is in use.
#[derive(Debug, Clone)]
struct Held {
    given: Arc<GivenMaterial>,
    info: CertificateInfo,
    /// When it was given.
    obtained: SystemTime,
}

/// What the configuration asks for, what is held, and how it goes.
#[derive(Debug)]
pub(super) struct Plan {
    settings: WorkloadApi,
    /// The files of a sidecar so configured, beside what is given.
    sources: MaterialSources,
    held: Option<Held>,
    /// Why nothing is held.
    missing: Option<String>,
    pub(super) generation: Option<u64>,
    /// Its task is the stream.
    attempt: Attempt,
    /// The stream is open, and has given something.
    is_connected: bool,
    told: Stage,
}

impl Held {
    /// When its lifetime counts from: a certificate is dated back a little, so that a clock that is behind takes it.
    fn from(&self) -> SystemTime {
        self.obtained.clamp(self.info.not_before, self.info.not_after.max(self.info.not_before))
    }
}

impl Plan {
    /// A plan that holds what the plan before it does, where that is of the same agent and can be used with these files.
    ///
    /// # Errors
    /// Every problem that no agent can mend.
    pub(super) fn new(
        config: &Config,
        settings: &WorkloadApi,
        before: Option<&Self>,
        lists: &Arc<RevocationLists>,
        now: SystemTime,
    ) -> Result<Self, UnusableMaterial> {
        let mut plan = Self {
            settings: settings.clone(),
            sources: MaterialSources::from(config),
            held: None,
            missing: Some("there is no certificate yet".to_owned()),
            generation: None,
            attempt: Attempt::default(),
            is_connected: false,
            told: Stage::Ample,
        };
        let Some(held) = before.filter(|before| before.settings == *settings).and_then(|before| before.held.clone())
        else {
            return Ok(plan);
        };
        match TrustMaterial::load_given(&plan.sources, &held.given, lists, now) {
            Ok(_) => (plan.held, plan.missing) = (Some(held), None),
            Err(unusable) => {
                let mut fatal = unusable.problems.iter().filter(|problem| problem.fatal);
                if !fatal.clone().all(|problem| problem.part == MaterialPart::Given) {
                    return Err(unusable);
                }
                plan.missing = fatal.next().map(|problem| problem.message.clone());
            }
        }
        Ok(plan)
    }

    /// Why nothing is held.
    pub(super) fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// What is held.
    pub(super) fn given(&self) -> Option<&Arc<GivenMaterial>> {
        self.held.as_ref().map(|held| &held.given)
    }

    /// Goes on from an earlier plan, where it is with the same agent: its stream stays open.
    pub(super) fn take_over(&mut self, before: Self, now: SystemTime) {
        if self.settings != before.settings {
            return;
        }
        self.generation = before.generation;
        (self.attempt, self.is_connected, self.told) = (before.attempt, before.is_connected, before.told);
        if self.held.is_none() {
            // What it gave cannot be used any more: the next message may be better, and an agent sends one when asked.
            self.attempt.next = Some(now);
        }
        self.hurry(now);
    }

    /// What has failed is tried again now.
    pub(super) fn hurry(&mut self, now: SystemTime) {
        if self.attempt.failing_since.is_some() || self.attempt.task.is_none() {
            self.attempt.next = Some(now);
        }
    }

    /// Says when to do what has no time yet.
    pub(super) fn schedule(&mut self, now: SystemTime) {
        if self.attempt.task.is_none() {
            self.attempt.next.get_or_insert(now);
        }
    }

    /// Opens the stream where that is due: there is none, or what it brought could not be used. True where there is something else
    /// to show than before.
    pub(super) fn ask(&mut self, tell: &mpsc::Sender<Finished>, now: SystemTime) -> bool {
        if self.attempt.next.is_none_or(|next| next > now) {
            return false;
        }
        let generation = self.generation.unwrap_or_default();
        let subscription = Subscription { settings: self.settings.clone(), generation, tell: tell.clone() };
        (self.attempt.next, self.attempt.last) = (None, Some(now));
        self.attempt.task = Some(Running(tokio::spawn(subscription.run())));
        true
    }

    /// Looks at what the agent brought.
    pub(super) fn absorb(
        &mut self,
        brought: Brought,
        lists: &Arc<RevocationLists>,
        random: &mut fastrand::Rng,
        now: SystemTime,
    ) -> Absorbed {
        let has_new_material = match brought {
            Brought::Given(Ok(given)) => {
                self.is_connected = true;
                match self.take(Arc::new(*given), lists, now) {
                    Ok(is_new) => is_new,
                    Err(failure) => self.failed(failure, random, now),
                }
            }
            Brought::Given(Err(failure)) => {
                self.is_connected = true;
                self.failed(failure, random, now)
            }
            Brought::Deaf(failure) => {
                (self.attempt.task, self.is_connected) = (None, false);
                self.failed(failure, random, now)
            }
            _ => return Absorbed::default(),
        };
        Absorbed { has_new_material, is_news: true, asks_for_crls: false }
    }

    /// Takes what was given, as a whole. False where it is what is held already, as after a restart of the agent.
    fn take(
        &mut self,
        given: Arc<GivenMaterial>,
        lists: &Arc<RevocationLists>,
        now: SystemTime,
    ) -> Result<bool, Failure> {
        let info = self.judge(&given, lists, now)?;
        self.attempt.succeeded(now);
        self.attempt.next = None;
        let is_new = self.given().is_none_or(|held| **held != *given);
        if !is_new {
            return Ok(false);
        }
        let is_renewed = self.held.as_ref().is_none_or(|held| held.info.fingerprint != info.fingerprint);
        info!(
            agent = %self.settings.endpoint.value,
            identity = %info.names,
            serial = %info.serial,
            not_after = %Instant(info.not_after),
            trust_domains = given.bundles.len(),
            crls = given.crls.len(),
            "{}",
            if is_renewed { "given an identity by the SPIFFE agent" } else { "given other anchors or CRLs by the SPIFFE agent" }
        );
        let obtained = self.held.as_ref().filter(|_| !is_renewed).map_or(now, |held| held.obtained);
        (self.held, self.missing) = (Some(Held { given, info, obtained }), None);
        if is_renewed {
            self.told = Stage::Ample;
        }
        Ok(true)
    }

    /// Judges what was given as it will be used: pair and path, and the CRLs by the anchors that came with them.
    fn judge(
        &self,
        given: &Arc<GivenMaterial>,
        lists: &Arc<RevocationLists>,
        now: SystemTime,
    ) -> Result<CertificateInfo, Failure> {
        let loaded = TrustMaterial::load_given(&self.sources, given, lists, now);
        let (material, _) = loaded.map_err(|unusable| Failure::of_material(&unusable))?;
        let (issuers, place) = (material.crl_issuers(), Arc::from(given.giver.as_str()));
        for (der, position) in given.crls.iter().zip(1..) {
            VerifiedCrl::read(der, &issuers, &place, now).map_err(|error| {
                let message = format!("{place}: CRL {position} cannot be used: {error}");
                Failure::unusable(message, error.remedy())
            })?;
        }
        material
            .own
            .ok_or_else(|| Failure::unusable(format!("{place}: there is no certificate"), "look at the agent's log"))
    }

    /// Notes that the agent gave nothing that can be used. There is never new material then.
    fn failed(&mut self, failure: Failure, random: &mut fastrand::Rng, now: SystemTime) -> bool {
        let end = self.held.as_ref().map(|held| held.info.not_after);
        let next = self.attempt.failed(&failure, end, random.f64(), now);
        self.attempt.next = Some(next);
        if self.attempt.is_news(&failure) {
            let agent = self.settings.endpoint.value.to_string();
            let (reason, error, remedy) = (failure.label, &*failure.message, &*failure.remedy);
            let next_attempt = Instant(next).to_string();
            if let Some(end) = end {
                let not_after = Instant(end).to_string();
                warn!(
                    agent,
                    reason,
                    error,
                    remedy,
                    not_after,
                    next_attempt,
                    "the SPIFFE agent gives nothing new; what it gave serves on"
                );
            } else {
                warn!(agent, reason, error, remedy, next_attempt, "the SPIFFE agent gives us no identity");
            }
        }
        self.attempt.last_error = Some(failure);
        false
    }

    /// Tells, ever louder, that the certificate in use comes to its end without another, and asks the agent anew: agents renew when
    /// half of the lifetime is over, and an agent that hangs says nothing on a stream that is open.
    pub(super) fn tell_stage(&mut self, now: SystemTime) -> bool {
        let Some(held) = &self.held else { return false };
        let stage = Stage::of(held.from(), held.info.not_after, now);
        if stage <= self.told {
            return false;
        }
        self.told = stage;
        let (agent, not_after) = (self.settings.endpoint.value.to_string(), Instant(held.info.not_after).to_string());
        let reason =
            self.attempt.last_error.as_ref().map_or_else(|| "the agent is silent".to_owned(), ToString::to_string);
        match stage {
            Stage::Ample | Stage::Quarter => {
                warn!(
                    agent,
                    not_after,
                    reason,
                    "a quarter of our certificate's lifetime is left, and the SPIFFE agent gives no other"
                );
            }
            Stage::Eighth => {
                error!(
                    agent,
                    not_after,
                    reason,
                    "an eighth of our certificate's lifetime is left, and the SPIFFE agent gives no other"
                );
            }
            Stage::Sixteenth => {
                error!(
                    agent,
                    not_after, reason, "our certificate is about to end, and the SPIFFE agent gives no other"
                );
            }
            Stage::Over => {
                error!(agent, not_after, reason, "our certificate has expired; peers refuse us until another is there");
            }
        }
        self.attempt.next = Some(self.attempt.next.map_or(now, |next| next.min(now)));
        true
    }

    pub(super) fn status(&self, now: SystemTime) -> EnrolmentStatus {
        let attempt = &self.attempt;
        let not_after = self.held.as_ref().map(|held| held.info.not_after);
        let missing = match (not_after.filter(|end| *end < now), &self.missing) {
            (Some(end), _) => Some(format!("our certificate expired {}", Instant(end))),
            (None, missing) => missing.clone(),
        };
        let wanted = self.settings.spiffe_id.as_ref().map(|wanted| wanted.value.to_string());
        let name = self.given().map(|given| given.spiffe_id.to_string()).or(wanted).unwrap_or_default();
        EnrolmentStatus {
            giver: Giver::WorkloadApi,
            authority: self.settings.endpoint.value.to_string(),
            name,
            missing,
            not_after,
            renewal: None,
            last_attempt: attempt.last,
            last_success: attempt.last_success,
            next_attempt: attempt.next,
            successes: attempt.successes,
            failures: attempt.failures,
            failing_since: attempt.failing_since,
            last_error: attempt.last_error.clone(),
            registration: String::new(),
            push: PushStatus {
                connected: self.is_connected,
                last_error: attempt.last_error.clone().filter(|_| !self.is_connected),
            },
            clock_skew: None,
        }
    }
}
