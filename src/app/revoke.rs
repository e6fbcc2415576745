//! What follows when trust changes: every live connection is judged again, and what is said of our own certificate.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use tracing::{error, info, warn};

use crate::config::OnUnknown;
use crate::policy::AccessRequest;
use crate::proxy::Direction;
use crate::proxy::connections::{EndReason, Live, Phase};
use crate::revocation::{Event, OwnAlarm};
use crate::x509::{Refusal, RefusalReason, TrustMaterial, Usage, VerifiedPath};

use super::App;

/// The verdicts on presented chains, by keyed hash and listener.
type Verdicts = HashMap<(u64, Arc<str>), Option<EndReason>>;

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Anything: configuration, anchors, CRLs.
    Everything,
    /// The CRLs, or the time, alone. A connection whose path they still find good needs no further look.
    Crls,
}

impl App {
    /// Looks at what the sources of CRLs brought.
    pub(super) fn take_revocation_event(&mut self, event: Event) {
        let absorbed = self.revocation.absorb(event, SystemTime::now());
        if absorbed.changed {
            self.judge_live_connections(Change::Crls);
        }
        if absorbed.changed || absorbed.is_news {
            self.show();
        }
    }

    /// Lets the CRLs age.
    pub(super) fn tick_revocation(&mut self) {
        if self.revocation.tick(SystemTime::now()) {
            self.judge_live_connections(Change::Crls);
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
    pub(super) fn judge_live_connections(&self, change: Change) {
        let now = SystemTime::now();
        let (verdicts, ended) = (RefCell::new(Verdicts::new()), RefCell::new(Vec::new()));
        let hasher = RandomState::new();
        let revoked_grace = self.config.revocation.as_ref().map(|revocation| revocation.revoked_grace);
        let revoked_grace = revoked_grace.unwrap_or_default();
        let trust = self.trust.load();
        self.connections.end_where(|live| {
            if live.phase() == Phase::Cut || (change == Change::Crls && is_untouched(live, &trust, now)) {
                return false;
            }
            let verdicts = &mut verdicts.borrow_mut();
            let Some(reason) = self.withdrawn(live, &trust, now, verdicts, &hasher) else { return false };
            let ends = match reason {
                EndReason::CertificateRevoked => live.withdraw(Some(revoked_grace), reason),
                // It may well be good; it finishes what it has begun.
                EndReason::RevocationUnknown => live.withdraw(None, reason),
                _ => live.end(Phase::Cut, reason),
            };
            if ends {
                let peer = live.peer.as_ref().map(|peer| peer.identity.to_string());
                let (listener, address) = (Arc::clone(&live.listener), live.peer_address.to_string());
                let message = if live.phase() == Phase::Cut { "connection cut" } else { "connection told to go" };
                ended.borrow_mut().push((listener, live.direction, peer, address, reason, message));
            }
            ends
        });
        // The log may be slow; nobody stays for it.
        let ended = ended.into_inner();
        for (listener, direction, peer, address, reason, message) in &ended {
            let (listener, direction) = (&**listener, direction.label());
            warn!(listener, direction, peer, peer.address = address, reason = reason.label(), "{message}");
        }
        if !ended.is_empty() {
            info!(connections = ended.len(), "live connections were ended because trust or policy changed");
        }
    }

    /// Why the peer of a connection would be refused today. Connections that presented one chain to one listener share one
    /// verdict.
    fn withdrawn(
        &self,
        live: &Live,
        trust: &TrustMaterial,
        now: SystemTime,
        verdicts: &mut Verdicts,
        hasher: &RandomState,
    ) -> Option<EndReason> {
        let peer = live.peer.as_ref()?;
        if let Some((end_entity, presented)) = peer.chain.split_first() {
            let key = (hasher.hash_one(&peer.chain), Arc::clone(&live.listener));
            let verdict = *verdicts.entry(key).or_insert_with(|| {
                let verdict = match live.direction {
                    Direction::Inbound | Direction::Edge => trust.verify(end_entity, presented, Usage::Client, now),
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
        let request = AccessRequest { peer: &peer.identity, is_withdrawn: false, request: None, user: None };
        rules.policy.authorize(request).err().map(|_| EndReason::NoLongerAllowed)
    }

    /// Whether a listener still expects the server that a connection goes to. One that is gone expects what it did.
    fn expected(
        &self,
        live: &Live,
        path: VerifiedPath,
        end_entity: &CertificateDer<'_>,
    ) -> Result<VerifiedPath, Box<Refusal>> {
        let outbound = self.config.outbound.iter().map(|outbound| (&outbound.name, &outbound.expect));
        let mut peers = outbound.chain(self.config.upstream.iter().map(|upstream| (&upstream.name, &upstream.expect)));
        match peers.find(|(name, _)| name.value == *live.listener) {
            Some((_, expect)) => path.expect_one_of(end_entity, expect),
            None => Ok(path),
        }
    }
}

/// Whether the CRLs find the path of a connection good as it was verified, so that they change nothing for it.
fn is_untouched(live: &Live, trust: &TrustMaterial, now: SystemTime) -> bool {
    let path = live.peer.as_ref().and_then(|peer| peer.path.as_ref());
    path.is_none_or(|path| trust.is_unrevoked(path, now))
}
