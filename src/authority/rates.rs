//! How often a name, an address and refusals may cost something.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::buckets::{AddressKey, Buckets, Empty};
use crate::config::{AuthorityLimits, Rate};

/// Names and addresses with a bucket that is not full. Beyond, newcomers share: with the default rates it takes two million requests a
/// minute from thousands of addresses until one of them finds an empty bucket.
const PLACES: usize = 65_536;
const MINUTE: Duration = Duration::from_secs(60);
/// Refusals that are written to the store in a minute; the log of the process and the metrics have all of them.
const RECORDED_REFUSALS_PER_MINUTE: u32 = 60;

/// All rates of a server.
pub(super) struct Rates {
    /// Requests to enrol or renew.
    enrolments: Limits,
    /// Requests for word of changes.
    events: Limits,
    /// What is written to the store.
    refusals: Buckets,
}

/// What an address may do, and what a name or a certificate may from one address.
struct Limits {
    by_address: Buckets,
    by_caller: Buckets,
}

/// Whose word a name is: whoever only says it takes nothing from whoever proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Proof {
    Secret,
    Certificate,
}

impl Rates {
    pub(super) fn new(limits: &AuthorityLimits) -> Self {
        Self {
            enrolments: Limits::new(limits.address_per_minute, limits.name_per_minute),
            events: Limits::new(limits.address_events_per_minute, limits.certificate_events_per_minute),
            refusals: buckets(RECORDED_REFUSALS_PER_MINUTE, 1),
        }
    }

    /// Takes one request to enrol or renew of an address.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn enrolment_of_address(&self, address: AddressKey) -> Result<(), Duration> {
        take(&self.enrolments.by_address, address)
    }

    /// Takes one of a name at an address.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn enrolment_of_name(&self, name: &str, proof: Proof, address: AddressKey) -> Result<(), Duration> {
        take(&self.enrolments.by_caller, (name, proof, address))
    }

    /// Takes one request for word of changes of an address.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn events_of_address(&self, address: AddressKey) -> Result<(), Duration> {
        take(&self.events.by_address, address)
    }

    /// Takes one of a certificate at an address, whoever issued it.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn events_of_certificate(&self, der: &[u8], address: AddressKey) -> Result<(), Duration> {
        take(&self.events.by_caller, (der, address))
    }

    /// Whether one more refusal is to be recorded.
    pub(super) fn records_refusal(&self) -> bool {
        take(&self.refusals, ()).is_ok()
    }
}

impl Limits {
    fn new(address_per_minute: u32, caller_per_minute: u32) -> Self {
        Self { by_address: buckets(address_per_minute, PLACES), by_caller: buckets(caller_per_minute, PLACES) }
    }
}

/// Each holds as much as a minute gives, and refills evenly.
fn buckets(per_minute: u32, places: usize) -> Buckets {
    let count = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
    Buckets::new(Rate { count, per: MINUTE, burst: count }, places)
}

fn take(buckets: &Buckets, key: impl Hash) -> Result<(), Duration> {
    buckets.take(key, Instant::now()).map(drop).map_err(|Empty(wait)| wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> Rates {
        Rates::new(&AuthorityLimits { name_per_minute: 3, address_per_minute: 10, ..AuthorityLimits::default() })
    }

    fn address(text: &str) -> AddressKey {
        AddressKey::of(Some(text.parse().expect("an address")))
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_share_what_one_may_take() {
        let rates = rates();
        let granted = (0..100).filter(|n| rates.enrolment_of_address(address(&format!("2001:db8::{n:x}"))).is_ok());
        assert_eq!(granted.count(), 10);
        assert!(rates.enrolment_of_address(address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn more_strangers_and_names_than_are_remembered_keep_nobody_else_out() {
        let rates = Rates::new(&AuthorityLimits::default());
        for n in 0..200_000_u32 {
            let stranger = address(&std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string());
            assert!(rates.enrolment_of_address(stranger).is_ok(), "stranger {n}");
            assert!(rates.enrolment_of_name(&format!("name-{n}"), Proof::Secret, stranger).is_ok(), "name {n}");
        }
        let ours = address("192.0.2.1");
        assert!(rates.enrolment_of_address(ours).is_ok());
        assert!(rates.enrolment_of_name("ads", Proof::Certificate, ours).is_ok());
    }

    #[test]
    fn a_name_that_is_only_said_takes_nothing_from_whoever_proves_it() {
        let (rates, ours) = (rates(), address("192.0.2.1"));
        let said = (0..10).filter(|_| rates.enrolment_of_name("ads", Proof::Secret, ours).is_ok()).count();
        assert_eq!(said, 3);
        assert!(rates.enrolment_of_name("ads", Proof::Certificate, ours).is_ok());
        assert!(rates.enrolment_of_name("ads", Proof::Secret, address("192.0.2.2")).is_ok());
    }
}
