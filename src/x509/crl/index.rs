//! The CRLs in use, and the lookup of a certificate in them.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::x509::SerialNumber;
use crate::x509::facts::IssuerKey;

use super::CrlIssuers;
use super::distribution_point::{Reasons, Scope};
use super::list::{CrlInfo, VerifiedCrl};
use super::serials::{Entry, Reason};

/// Most complete CRLs in use, but for the first of each issuer, which always finds room. One issuer gets half of what
/// the others leave.
pub const MAX_CRLS: usize = 1024;
/// Most octets of memory that the entries of one issuer's CRLs take: about 12 million.
pub const MAX_ISSUER_BYTES: usize = 256 * 1024 * 1024;

/// The CRLs in use, by issuer *key* and scope, so that a CA of the same name cannot answer for another. Cloning it copies
/// references.
#[derive(Debug, Clone, Default)]
pub struct RevocationIndex {
    by_issuer: HashMap<IssuerKey, Vec<ScopedCrl>>,
}

/// The CRLs of one issuer key and scope.
#[derive(Debug, Clone)]
struct ScopedCrl {
    complete: Arc<VerifiedCrl>,
    /// What has changed since (RFC 5280 section 5.2.4).
    delta: Option<Arc<VerifiedCrl>>,
}

/// Why a verified CRL does not come into use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// It is in use already, or a delta CRL that was issued together with the complete one.
    Unchanged,
    /// One that is newer is in use.
    Older {
        /// The number of the one in use.
        held: SerialNumber,
        /// When that was issued.
        this_update: SystemTime,
    },
    /// A delta CRL without the complete CRL that it starts from.
    NoBase {
        /// The least number of a complete CRL that would do.
        expected: SerialNumber,
        /// The number of the one in use.
        held: Option<SerialNumber>,
    },
    /// Its issuer has its share of [`MAX_CRLS`].
    TooMany,
    /// The CRLs of its issuer would take more than [`MAX_ISSUER_BYTES`].
    TooLarge,
}

/// What is looked up.
#[derive(Debug, Clone, Copy)]
pub(in crate::x509) struct Subject<'a> {
    pub(in crate::x509) serial: &'a SerialNumber,
    pub(in crate::x509) is_ca: bool,
    /// The value of its CRL distribution points extension.
    pub(in crate::x509) points: Option<&'a [u8]>,
}

/// What the CRLs say of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::x509) enum Status {
    /// No CRL lists it, and those that do not are within their time.
    Good,
    Revoked {
        since: SystemTime,
        reason: Option<Reason>,
    },
    /// No CRL lists it, but one that should is past its next update and the grace.
    Expired {
        next_update: SystemTime,
    },
    /// CRLs that would have to list it are missing.
    Unknown,
}

impl RevocationIndex {
    /// The index with one more CRL.
    ///
    /// # Errors
    /// Why it stays as it is. A CRL with a lower number or an older date of issue than the one in use is never taken.
    pub fn with(&self, crl: &Arc<VerifiedCrl>) -> Result<Self, NotTaken> {
        let held = self.by_issuer.get(&crl.issuer_key).map_or(&[][..], Vec::as_slice);
        let position = held.iter().position(|held| held.scope() == &crl.scope);
        let taken = match position.map(|position| &held[position]) {
            Some(held) => held.with(crl)?,
            None if crl.info.base_number.is_some() => return Err(no_base(crl, None)),
            None if !held.is_empty() && held.len() >= self.share_of(held.len()) => return Err(NotTaken::TooMany),
            None => ScopedCrl { complete: Arc::clone(crl), delta: None },
        };
        let others =
            held.iter().enumerate().filter(|(other, _)| Some(*other) != position).map(|(_, held)| held.bytes());
        if others.sum::<usize>() + taken.bytes() > MAX_ISSUER_BYTES {
            return Err(NotTaken::TooLarge);
        }
        let mut next = self.clone();
        let scoped = next.by_issuer.entry(crl.issuer_key).or_default();
        match position {
            Some(position) => scoped[position] = taken,
            None => scoped.push(taken),
        }
        Ok(next)
    }

    /// How many scopes an issuer may have that has so many.
    fn share_of(&self, own: usize) -> usize {
        let all: usize = self.by_issuer.values().map(Vec::len).sum();
        MAX_CRLS.saturating_sub(all - own) / 2
    }

    /// The index without the CRLs of issuers that are not among these.
    #[must_use]
    pub fn of_issuers(&self, issuers: &CrlIssuers) -> Self {
        let mut next = self.clone();
        next.by_issuer.retain(|key, _| issuers.have(key));
        next
    }

    /// The CRLs, complete ones before their deltas.
    pub fn crls(&self) -> impl Iterator<Item = &Arc<VerifiedCrl>> {
        self.by_issuer.values().flatten().flat_map(|scoped| [&scoped.complete].into_iter().chain(&scoped.delta))
    }

    /// Until when a CRL serves: its own next update or, where that is later, that of the delta CRL applied to it.
    pub fn next_update(&self, crl: &VerifiedCrl) -> SystemTime {
        let held = self.by_issuer.get(&crl.issuer_key).into_iter().flatten();
        let own = held.filter(|scoped| scoped.scope() == &crl.scope).map(ScopedCrl::next_update);
        own.fold(crl.info.next_update, SystemTime::max)
    }

    /// Looks a certificate up under the key of its issuer.
    ///
    /// An entry counts however old its CRL is, whatever that covers and whatever its reason: `certificateHold` withdraws for
    /// the time being.
    pub(in crate::x509) fn look_up(
        &self,
        subject: Subject<'_>,
        issuer_key: &IssuerKey,
        grace: Duration,
        now: SystemTime,
    ) -> Status {
        let (mut known, mut fresh, mut overdue) = (Reasons::NONE, Reasons::NONE, None);
        for scoped in self.by_issuer.get(issuer_key).into_iter().flatten() {
            if let Some(Entry { since, reason }) = scoped.find(subject.serial) {
                return Status::Revoked { since, reason };
            }
            let answered = scoped.scope().answers_for(subject.is_ca, subject.points);
            if answered == Reasons::NONE {
                continue;
            }
            known = known.or(answered);
            let next_update = scoped.next_update();
            // A grace that reaches beyond the clock's range never ends.
            if next_update.checked_add(grace).is_some_and(|end| now > end) {
                overdue = overdue.max(Some(next_update));
            } else {
                fresh = fresh.or(answered);
            }
        }
        match overdue {
            _ if fresh == Reasons::ALL => Status::Good,
            Some(next_update) if known == Reasons::ALL => Status::Expired { next_update },
            _ => Status::Unknown,
        }
    }
}

impl ScopedCrl {
    fn scope(&self) -> &Scope {
        &self.complete.scope
    }

    fn bytes(&self) -> usize {
        self.complete.entries_bytes() + self.delta.iter().map(|delta| delta.entries_bytes()).sum::<usize>()
    }

    fn next_update(&self) -> SystemTime {
        let delta = self.delta.iter().map(|delta| delta.info.next_update);
        delta.fold(self.complete.info.next_update, SystemTime::max)
    }

    fn with(&self, crl: &Arc<VerifiedCrl>) -> Result<Self, NotTaken> {
        if crl.info.base_number.is_some() {
            return self.with_delta(crl);
        }
        newer(crl, &self.complete)?;
        let delta =
            self.delta.clone().filter(|delta| applies(&delta.info, &crl.info) && is_above(&delta.info, &crl.info));
        Ok(Self { complete: Arc::clone(crl), delta })
    }

    fn with_delta(&self, delta: &Arc<VerifiedCrl>) -> Result<Self, NotTaken> {
        if let Some(held) = &self.delta {
            newer(delta, held)?;
        }
        if !applies(&delta.info, &self.complete.info) {
            return Err(no_base(delta, Some(self.complete.info.number.clone())));
        }
        if !is_above(&delta.info, &self.complete.info) {
            let CrlInfo { number, this_update, .. } = &self.complete.info;
            // One number for both, where they are issued at once (RFC 5280 section 5.2.3).
            if delta.info.number == *number {
                return Err(NotTaken::Unchanged);
            }
            return Err(NotTaken::Older { held: number.clone(), this_update: *this_update });
        }
        Ok(Self { complete: Arc::clone(&self.complete), delta: Some(Arc::clone(delta)) })
    }

    /// The entry of a certificate that is withdrawn. A delta CRL takes back what was on hold, and nothing else: whatever is
    /// revoked for another reason stays so (RFC 5280 section 5.3.1), and what has expired is refused for that.
    fn find(&self, serial: &SerialNumber) -> Option<Entry> {
        let serial = serial.as_der_content();
        let listed = self.complete.serials.find(serial);
        match self.delta.as_ref().and_then(|delta| delta.serials.find(serial)) {
            Some(entry) if entry.reason.is_some_and(Reason::is_removal) => {
                listed.filter(|listed| !listed.reason.is_some_and(Reason::is_hold))
            }
            Some(entry) => Some(listed.unwrap_or(entry)),
            None => listed,
        }
    }
}

/// Whether a delta CRL may be applied to a complete one (RFC 5280 section 5.2.4): that is not older than its base.
fn applies(delta: &CrlInfo, complete: &CrlInfo) -> bool {
    delta.base_number.as_ref().is_some_and(|base| compare(base, &complete.number).is_le())
}

/// Whether a delta CRL tells of a later time than a complete one.
fn is_above(delta: &CrlInfo, complete: &CrlInfo) -> bool {
    compare(&delta.number, &complete.number).is_gt()
}

fn no_base(delta: &VerifiedCrl, held: Option<SerialNumber>) -> NotTaken {
    let expected = delta.info.base_number.clone().unwrap_or_else(|| delta.info.number.clone());
    NotTaken::NoBase { expected, held }
}

/// By number and by date of issue: neither may go back, and one has to go on.
fn newer(offered: &VerifiedCrl, held: &VerifiedCrl) -> Result<(), NotTaken> {
    if offered.digest == held.digest {
        return Err(NotTaken::Unchanged);
    }
    let by_number = compare(&offered.info.number, &held.info.number);
    let by_date = offered.info.this_update.cmp(&held.info.this_update);
    match (by_number, by_date) {
        (Ordering::Less, _) | (_, Ordering::Less) | (Ordering::Equal, Ordering::Equal) => {
            Err(NotTaken::Older { held: held.info.number.clone(), this_update: held.info.this_update })
        }
        _ => Ok(()),
    }
}

/// Numbers that are not negative, in DER without needless octets.
fn compare(one: &SerialNumber, other: &SerialNumber) -> Ordering {
    fn significant(number: &SerialNumber) -> &[u8] {
        let octets = number.as_der_content();
        &octets[octets.iter().take_while(|octet| **octet == 0).count()..]
    }
    let (one, other) = (significant(one), significant(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}
