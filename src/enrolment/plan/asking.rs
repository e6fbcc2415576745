//! Asking the authority for what is due, in the background.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;

use crate::config::Fingerprint;
use crate::enrolment::attempt::Running;
use crate::enrolment::exchange::{self, Proof, Told};
use crate::enrolment::preparing::bootstrap_proof;
use crate::enrolment::push::Subscription;
use crate::enrolment::session::Clock;
use crate::enrolment::{Brought, Failure, Finished};
use crate::x509::{Instant, MaterialSources, RevocationLists, TrustMaterial};

use super::Plan;

/// By what whoever answers has to prove to be the authority.
enum Trust {
    /// By an anchor that is held.
    Held(Arc<TrustMaterial>),
    /// None is held: the anchor of this fingerprint is looked for.
    Pinned(Fingerprint),
}

impl Plan {
    /// Asks for what is due. True where there is something else to show than before.
    pub(in crate::enrolment) fn ask(
        &mut self,
        lists: &Arc<RevocationLists>,
        tell: &mpsc::Sender<Finished>,
        random: &mut fastrand::Rng,
        now: SystemTime,
    ) -> bool {
        let is_due = |next: Option<SystemTime>| next.is_some_and(|at| at <= now);
        let mut is_news = false;
        if self.attempt.task.is_none() && is_due(self.attempt.next) {
            is_news |= self.ask_for_certificate(lists, tell, random, now);
        }
        let is_certified = self.held.as_ref().is_some_and(|held| now < held.info.not_after);
        if self.look.task.is_none() && is_due(self.look.next) && is_certified {
            self.look_at_anchors(lists, tell, now);
        }
        if self.push.task.is_none() && is_due(self.push.next) && is_certified {
            self.subscribe(lists, tell, now);
        }
        is_news
    }

    fn ask_for_certificate(
        &mut self,
        lists: &Arc<RevocationLists>,
        tell: &mpsc::Sender<Finished>,
        random: &mut fastrand::Rng,
        now: SystemTime,
    ) -> bool {
        self.attempt.last = Some(now);
        let trust_and_proof = self.trust(lists, now).and_then(|trust| Ok((trust, self.proof(now)?)));
        let (place, name, clock) = (self.place.clone(), self.settings.name.value.clone(), Clock::told(now));
        let task = match trust_and_proof {
            Err(failure) => {
                self.attempt.by_current = false;
                return self.failed(failure, random, now);
            }
            Ok((Trust::Pinned(pin), _)) => self.spawn(tell, Brought::FirstAnchor, async move {
                exchange::first_anchor(&place, pin, &name, clock).await
            }),
            Ok((Trust::Held(material), proof)) => {
                self.attempt.by_current = matches!(proof, Proof::Current(_));
                self.spawn(tell, Brought::Certified, async move {
                    exchange::certify(&place, &material, proof, &name, clock).await
                })
            }
        };
        self.attempt.task = Some(task);
        true
    }

    fn look_at_anchors(&mut self, lists: &Arc<RevocationLists>, tell: &mpsc::Sender<Finished>, now: SystemTime) {
        self.look.next = Some(now + super::ANCHORS);
        let Ok(Trust::Held(material)) = self.trust(lists, now) else { return };
        let (place, name, clock) = (self.place.clone(), self.settings.name.value.clone(), Clock::told(now));
        let task =
            self.spawn(tell, Brought::Anchors, async move { exchange::anchors(&place, &material, &name, clock).await });
        self.look.task = Some(task);
    }

    fn subscribe(&mut self, lists: &Arc<RevocationLists>, tell: &mpsc::Sender<Finished>, now: SystemTime) {
        let (Ok(Trust::Held(material)), Some(held)) = (self.trust(lists, now), &self.held) else { return };
        self.push.next = None;
        let subscription = Subscription {
            place: self.place.clone(),
            material,
            credential: Arc::clone(&held.key),
            name: self.settings.name.value.clone(),
            since: self.push.heard.as_ref().map(|(tag, ..)| tag.clone()),
            clock: Clock::told(now),
            generation: self.generation.unwrap_or_default(),
            tell: tell.clone(),
        };
        self.push.task = Some(Running(tokio::spawn(subscription.run())));
    }

    fn spawn<T: Send + 'static>(
        &self,
        tell: &mpsc::Sender<Finished>,
        brought: fn(Result<T, Failure>) -> Brought,
        asking: impl Future<Output = Told<T>> + Send + 'static,
    ) -> Running {
        let (tell, generation) = (tell.clone(), self.generation.unwrap_or_default());
        Running(tokio::spawn(async move {
            let (outcome, skew) = asking.await;
            // Nobody listens any more where the process ends.
            let _ = tell.send(Finished { generation, brought: brought(outcome), skew }).await;
        }))
    }

    fn trust(&self, lists: &Arc<RevocationLists>, now: SystemTime) -> Result<Trust, Failure> {
        let believes_held = self.anchors_from_authority && self.believes_held_anchors();
        let anchors = self.anchor_paths(believes_held.then(|| self.state.anchors.clone()));
        if anchors.is_empty() {
            let pin = self.settings.fingerprint.as_ref().map(|pin| Trust::Pinned(pin.value));
            return pin.ok_or_else(|| {
                let message =
                    "there is no anchor and no fingerprint by which the authority could prove itself".to_owned();
                Failure::unusable(message, "write identity.authority_fingerprint, or name files in trust.anchors")
            });
        }
        let sources =
            MaterialSources { certificate: None, anchors, revocation: self.lenient.clone(), ..self.sources.clone() };
        let (material, _) =
            TrustMaterial::load_at(&sources, lists, now).map_err(|unusable| Failure::of_material(&unusable))?;
        Ok(Trust::Held(Arc::new(material)))
    }

    fn proof(&self, now: SystemTime) -> Result<Proof, Failure> {
        let why = match &self.held {
            None => "there is no certificate that could be renewed".to_owned(),
            Some(held) if held.info.not_after <= now => {
                format!("our certificate expired {}", Instant(held.info.not_after))
            }
            Some(_) if self.is_withdrawn => "the authority does not take our certificate any more".to_owned(),
            Some(held) => return Ok(Proof::Current(Arc::clone(&held.key))),
        };
        bootstrap_proof(&self.settings, &self.state, &why, now)
    }
}
