//! Judging revocation: the CRLs in use, which one task replaces, and what an unknown status means.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;

use crate::config::{OnUnknown, Revocation, RevocationDepth};

use super::crl::{DistributionPoint, Reason, Status, Subject};
use super::facts::{Facts, IssuerKey};
use super::{RefusalReason, RevocationIndex};

/// Most messages about missing CRLs that wait to be looked at. What finds no room is told again by the next handshake.
const MAX_WANTED: usize = 64;

/// How revocation is judged. See [`crate::config::Revocation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationPolicy {
    /// How long a CRL serves after its next update.
    pub grace: Duration,
    /// What an older CRL means.
    pub on_stale: OnUnknown,
    /// What an issuer without a CRL means.
    pub on_missing: OnUnknown,
    /// Which certificates of a path are looked up.
    pub depth: RevocationDepth,
}

/// The CRLs in use, shared by every listener, upstream and worker. A connection holds none of them.
#[derive(Debug)]
pub struct RevocationLists {
    current: ArcSwap<RevocationIndex>,
    /// Counts the changes.
    version: AtomicU64,
    wanted: mpsc::Sender<WantedCrl>,
}

/// A certificate of a verified path had no CRL to be looked up in.
#[derive(Debug, Clone)]
pub struct WantedCrl {
    /// The CA whose CRL is missing.
    pub issuer: CertificateDer<'static>,
    /// Until when its certificate is valid.
    pub not_after: SystemTime,
    /// Where the certificate says that it is, in its order.
    pub distribution_points: Vec<String>,
    /// Who may have written that: the key of the anchor, or of the CA right below it that leads to all the others.
    pub branch: [u8; 32],
}

impl RevocationLists {
    /// Without a CRL yet. The other end hears of CRLs that are missing.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<WantedCrl>) {
        let (wanted, hear) = mpsc::channel(MAX_WANTED);
        (Arc::new(Self { current: ArcSwap::default(), version: AtomicU64::new(0), wanted }), hear)
    }

    /// The CRLs as they are now.
    pub fn load(&self) -> arc_swap::Guard<Arc<RevocationIndex>> {
        self.current.load()
    }

    /// Replaces them.
    pub fn store(&self, index: RevocationIndex) {
        self.current.store(Arc::new(index));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// What they say is another now, as one has expired: a handshake under way is judged again.
    pub fn have_aged(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// A number that is another after each replacement, and after one has expired.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Looks a certificate of a verified path up under the key of the one above it, in this branch below the anchor. Allocates
    /// nothing where it is good.
    pub(super) fn check(
        &self,
        policy: &RevocationPolicy,
        subject: &Facts,
        issuer: &Facts,
        issuer_der: &CertificateDer<'_>,
        branch: &IssuerKey,
        now: SystemTime,
    ) -> Result<(), RefusalReason> {
        let looked_up = Subject {
            serial: &subject.info.serial,
            is_ca: subject.is_ca,
            points: subject.distribution_points.as_deref(),
        };
        let serial = || subject.info.serial.clone();
        match self.load().look_up(looked_up, &issuer.issuer_key, policy.grace, now) {
            Status::Good => Ok(()),
            Status::Revoked { since, reason } => {
                Err(RefusalReason::Revoked { serial: serial(), since, reason: reason.map(Reason::name) })
            }
            // The CA says that it publishes none (RFC 9608).
            _ if subject.has_no_revocation() => Ok(()),
            Status::Expired { next_update } => {
                self.want(subject, issuer, issuer_der, branch);
                unless_allowed(policy.on_stale, || RefusalReason::RevocationStale {
                    serial: serial(),
                    issuer: issuer.info.title(),
                    next_update,
                })
            }
            Status::Unknown => {
                self.want(subject, issuer, issuer_der, branch);
                unless_allowed(policy.on_missing, || RefusalReason::RevocationUnknown {
                    serial: serial(),
                    issuer: issuer.info.title(),
                })
            }
        }
    }

    /// Tells that a CRL is missing. The handshake does not wait for it.
    fn want(&self, subject: &Facts, issuer: &Facts, issuer_der: &CertificateDer<'_>, branch: &IssuerKey) {
        let points = subject.distribution_points.as_deref().and_then(|value| DistributionPoint::read_all(value).ok());
        let urls = points.iter().flatten().flat_map(DistributionPoint::urls).map(str::to_owned);
        let wanted = WantedCrl {
            issuer: issuer_der.clone().into_owned(),
            not_after: issuer.info.not_after,
            distribution_points: urls.collect(),
            branch: *branch,
        };
        // Without room it is told by the next handshake.
        let _ = self.wanted.try_send(wanted);
    }
}

impl From<&Revocation> for RevocationPolicy {
    fn from(settings: &Revocation) -> Self {
        let Revocation { grace, on_stale, on_missing, depth, .. } = *settings;
        Self { grace, on_stale, on_missing, depth }
    }
}

impl RevocationPolicy {
    /// How many certificates of a path are looked up, counted from the end entity.
    pub(super) fn looked_up(&self) -> usize {
        match self.depth {
            RevocationDepth::Chain => usize::MAX,
            RevocationDepth::EndEntity => 1,
        }
    }
}

fn unless_allowed(on_unknown: OnUnknown, reason: impl FnOnce() -> RefusalReason) -> Result<(), RefusalReason> {
    match on_unknown {
        OnUnknown::Allow => Ok(()),
        OnUnknown::Deny => Err(reason()),
    }
}
