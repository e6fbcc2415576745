//! What follows when trust changes: every live connection is judged again, and what is said of our own certificate.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use tracing::{error, info, warn};

use crate::config::OnUnknown;
use crate::policy::AccessRequest;
use crate::proxy::Direction;
use crate::proxy::connections::{EndReason, Live, Phase};
use crate::revocation::{Event, OwnAlarm};
use crate::x509::{Refusal, RefusalReason, Usage, VerifiedPath};

use super::App;

/// The verdicts on end-entity certificates, by fingerprint and listener.
type Verdicts = HashMap<([u8; 32], Arc<str>), Option<EndReason>>;

impl App {
    /// Looks at what the sources of CRLs brought.
    pub(super) fn take_revocation_event(&mut self, event: Event) {
        let is_answer = event.is_answer();
        let changed = self.revocation.absorb(event, SystemTime::now());
        if changed {
            self.judge_live_connections();
        }
        // Judging our own certificate may find a CRL missing, which is an event again: only what is new is shown.
        if changed || is_answer {
            self.show();
        }
    }

    /// Lets the CRLs age.
    pub(super) fn tick_revocation(&mut self) {
        if self.revocation.tick(SystemTime::now()) {
            self.judge_live_connections();
            self.show();
        }
    }

    /// Whether every peer would be refused for want of any CRL.
    pub(super) fn is_nobody_let_in(&self) -> bool {
        let denies = self.config.revocation.as_ref().is_some_and(|settings| settings.on_missing == OnUnknown::Deny);
        denies && self.lists.load().crls().next().is_none()
    }

    /// Tells of our own certificate where that is news.
    pub(super) fn tell_own_alarm(&mut self, alarm: Option<&OwnAlarm>) {
        if self.own_alarm.as_ref() == alarm {
            return;
        }
        if let Some(alarm) = alarm {
            error!(reason = alarm.label, "{}", alarm.message);
        } else {
            info!("the CRLs find our own certificate good again");
        }
        self.own_alarm = alarm.cloned();
    }

    /// Judges live connections by the material and the policy as they are now. What a handshake under way lets in compares the
    /// trust that judged it with the trust in use, once it is on the list. Only those that would be refused today are ended: a
    /// revoked peer within `revoked_grace`, at once and in the middle of whatever it carries where there is none.
    pub(super) fn judge_live_connections(&self) {
        let now = SystemTime::now();
        let verdicts = RefCell::new(HashMap::new());
        let revoked_grace = self.config.revocation.as_ref().map(|revocation| revocation.revoked_grace);
        let revoked_grace = revoked_grace.unwrap_or_default();
        let ended = self.connections.end_where(|live| {
            if live.phase() == Phase::Cut {
                return false;
            }
            let Some(reason) = self.withdrawn(live, now, &mut verdicts.borrow_mut()) else { return false };
            let ends = match reason {
                EndReason::CertificateRevoked => live.end_within(revoked_grace, reason),
                // It may well be good; it finishes what it has begun.
                EndReason::RevocationUnknown => live.end(Phase::Draining, reason),
                _ => live.end(Phase::Cut, reason),
            };
            if !ends {
                return false;
            }
            let peer = live.peer.as_ref().map(|peer| peer.identity.to_string());
            warn!(
                listener = &*live.listener,
                direction = live.direction.label(),
                peer,
                peer.address = %live.peer_address,
                reason = reason.label(),
                "connection cut"
            );
            true
        });
        if ended > 0 {
            info!(connections = ended, "live connections were cut because trust or policy changed");
        }
    }

    /// Why the peer of a connection would be refused today. Connections of one peer to one listener share one verdict.
    fn withdrawn(&self, live: &Live, now: SystemTime, verdicts: &mut Verdicts) -> Option<EndReason> {
        let peer = live.peer.as_ref()?;
        let trust = self.trust.load();
        if let (Some(path), Some((end_entity, presented))) = (&peer.path, peer.chain.split_first()) {
            let key = (path.end_entity.fingerprint, Arc::clone(&live.listener));
            let verdict = *verdicts.entry(key).or_insert_with(|| {
                let verdict = match live.direction {
                    Direction::Inbound => trust.verify(end_entity, presented, Usage::Client, now),
                    Direction::Outbound => trust
                        .verify(end_entity, presented, Usage::Server, now)
                        .and_then(|path| self.expected(live, path, end_entity)),
                };
                verdict.err().map(|refusal| match refusal.reason {
                    RefusalReason::Revoked { .. } => EndReason::CertificateRevoked,
                    RefusalReason::RevocationUnknown { .. } | RefusalReason::RevocationStale { .. } => {
                        EndReason::RevocationUnknown
                    }
                    RefusalReason::Expired { .. } => EndReason::CertificateExpired,
                    RefusalReason::NameMismatch { .. } => EndReason::NoLongerAllowed,
                    _ => EndReason::NoLongerTrusted,
                })
            });
            if verdict.is_some() {
                return verdict;
            }
        }
        let rules = self.listeners.rules(&live.listener).filter(|_| live.direction == Direction::Inbound)?;
        rules
            .policy
            .authorize(AccessRequest { peer: &peer.identity, is_withdrawn: false })
            .err()
            .map(|_| EndReason::NoLongerAllowed)
    }

    /// Whether a listener still expects the server that a connection goes to. One that is gone expects what it did.
    fn expected(
        &self,
        live: &Live,
        path: VerifiedPath,
        end_entity: &CertificateDer<'_>,
    ) -> Result<VerifiedPath, Box<Refusal>> {
        match self.config.outbound.iter().find(|outbound| outbound.name.value == *live.listener) {
            Some(outbound) => path.expect_one_of(end_entity, &outbound.expect),
            None => Ok(path),
        }
    }
}
