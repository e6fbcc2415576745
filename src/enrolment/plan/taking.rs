//! What follows from what the authority brought.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use tracing::{debug, error, info, warn};

use crate::enrolment::exchange::{Certified, Served};
use crate::enrolment::push::News;
use crate::enrolment::{Absorbed, Brought, Failure, FailureKind, schedule};
use crate::x509::{Instant, RevocationLists};

use super::{ANCHORS, MIN_RENEWAL, Plan};

/// How soon the anchors are looked at again after that failed.
const ANCHORS_AGAIN: Duration = Duration::from_secs(30);

impl Plan {
    /// Looks at what the authority brought.
    pub(in crate::enrolment) fn absorb(
        &mut self,
        brought: Brought,
        lists: &Arc<RevocationLists>,
        random: &mut fastrand::Rng,
        now: SystemTime,
    ) -> Absorbed {
        match brought {
            Brought::FirstAnchor(outcome) => self.take_first_anchor(outcome, lists, random, now),
            Brought::Certified(outcome) => self.take_certified(outcome, lists, random, now),
            Brought::Anchors(outcome) => self.take_anchors(outcome, lists, random, now),
            Brought::News(news) => self.take_news(*news, now),
            Brought::Deaf(failure) => self.take_deaf(failure, random, now),
            #[cfg(feature = "spiffe")]
            Brought::Given(_) => Absorbed::default(),
        }
    }

    fn take_first_anchor(
        &mut self,
        outcome: Result<CertificateDer<'static>, Failure>,
        lists: &Arc<RevocationLists>,
        random: &mut fastrand::Rng,
        now: SystemTime,
    ) -> Absorbed {
        self.attempt.task = None;
        match outcome.and_then(|anchor| self.adopt_first_anchor(&anchor, lists, now)) {
            Ok(()) => {
                let fingerprint = self.settings.fingerprint.as_ref().map(|pin| pin.value.to_string());
                info!(authority = %self.place.url, fingerprint, "the authority's anchor has the fingerprint that was given, and is believed");
                self.attempt.next = Some(now);
            }
            Err(failure) => {
                self.failed(failure, random, now);
            }
        }
        Absorbed { is_news: true, ..Absorbed::default() }
    }

    fn take_certified(
        &mut self,
        outcome: Result<Box<Certified>, Failure>,
        lists: &Arc<RevocationLists>,
        random: &mut fastrand::Rng,
        now: SystemTime,
    ) -> Absorbed {
        self.attempt.task = None;
        let adopted = outcome.and_then(|certified| Ok((self.adopt(&certified, lists, now)?, certified.proof.label())));
        let (held, proof) = match adopted {
            Ok(adopted) => adopted,
            Err(failure) => {
                self.failed(failure, random, now);
                return Absorbed { is_news: true, ..Absorbed::default() };
            }
        };
        self.succeeded(now);
        let renewal = schedule::renewal(held.from(), held.info.not_after, random.f64());
        self.attempt.next = Some(renewal);
        info!(
            authority = %self.place.url,
            proof,
            identity = %held.info.names,
            serial = %held.info.serial,
            not_after = %Instant(held.info.not_after),
            renewal = %Instant(renewal),
            "certified by the authority"
        );
        (self.held, self.missing) = (Some(held), None);
        self.look.next = Some(now + ANCHORS);
        // The new certificate proves who we are from now on.
        self.push.task = None;
        self.push.next = Some(now);
        Absorbed { has_new_material: true, is_news: true, asks_for_crls: false }
    }

    fn take_anchors(
        &mut self,
        outcome: Result<Served, Failure>,
        lists: &Arc<RevocationLists>,
        random: &mut fastrand::Rng,
        now: SystemTime,
    ) -> Absorbed {
        self.look.task = None;
        let adopted = outcome.and_then(|served| Ok((self.adopt_anchors(&served, lists, now)?, served.anchors.len())));
        let again = |span: Duration, random: &mut fastrand::Rng| Some(now + span.mul_f64(1.0 - 0.2 * random.f64()));
        match adopted {
            Ok((None, _)) => {
                self.look.next = again(ANCHORS, random);
                Absorbed::default()
            }
            Ok((Some(renews), anchors)) => {
                self.look.next = again(ANCHORS, random);
                info!(authority = %self.place.url, anchors, "the authority serves other anchors");
                if renews {
                    self.attempt.next = self.attempt.next.map(|next| next.min(now));
                }
                Absorbed { has_new_material: true, is_news: true, asks_for_crls: false }
            }
            Err(failure) => {
                self.look.next = again(ANCHORS_AGAIN, random);
                if failure.kind == FailureKind::Away {
                    debug!(reason = failure.message, "the authority's anchors could not be looked at");
                } else {
                    warn!(
                        reason = failure.message,
                        remedy = failure.remedy,
                        "the anchors that the authority serves are not taken"
                    );
                }
                Absorbed::default()
            }
        }
    }

    fn take_news(&mut self, news: News, now: SystemTime) -> Absorbed {
        let mut absorbed = Absorbed::default();
        let push = &mut self.push;
        if !push.connected {
            info!(authority = %self.place.url, "changes are heard of at once");
            (push.connected, push.in_a_row, push.last_error) = (true, 0, None);
            absorbed.is_news = true;
        }
        let News { tag, crls, anchors, registration, certificate, renew } = news;
        let before = push.heard.replace((tag, crls.tag.clone(), anchors.tag.clone()));
        // What changed while nobody listened is not known: the first news asks for all.
        absorbed.asks_for_crls = before.as_ref().is_none_or(|(_, before, _)| *before != crls.tag);
        if before.is_none_or(|(_, _, before)| before != anchors.tag) {
            self.look.next = Some(now);
        }
        if registration.state != self.registration {
            absorbed.is_news = true;
            let (authority, name) = (self.place.url.to_string(), &*self.settings.name.value);
            match registration.state.as_str() {
                "active" if self.registration.is_empty() => {}
                "active" => info!(authority, name, "our registration is active again"),
                state => warn!(authority, name, state, "the authority certifies us no more"),
            }
            self.registration = super::super::failure::printable(&registration.state);
        }
        if certificate.state == "revoked" && !self.is_withdrawn && self.attempt.failing_since.is_none() {
            error!(authority = %self.place.url, "the authority has revoked our certificate");
            self.is_withdrawn = true;
            self.attempt.next = self.attempt.next.map(|next| next.min(now));
        } else if renew && self.attempt.failing_since.is_none() {
            let soonest = self.attempt.last_success.map_or(now, |last| now.max(last + MIN_RENEWAL));
            self.attempt.next = self.attempt.next.map(|next| next.min(soonest));
        }
        absorbed
    }

    fn take_deaf(&mut self, failure: Failure, random: &mut fastrand::Rng, now: SystemTime) -> Absorbed {
        let push = &mut self.push;
        push.task = None;
        push.in_a_row = push.in_a_row.saturating_add(1);
        push.next = Some(schedule::retry(now, push.in_a_row, &failure, None, random.f64()));
        let is_news = push.connected || push.last_error.as_ref().is_none_or(|before| before.label != failure.label);
        if is_news {
            let (reason, remedy) = (&*failure.message, &*failure.remedy);
            warn!(authority = %self.place.url, reason, remedy, "changes are not heard of at once; what changes is found by asking now and then");
        }
        (push.connected, push.last_error) = (false, Some(failure));
        Absorbed { is_news, ..Absorbed::default() }
    }
}
