//! How often a name, an address and refusals may cost something.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::AuthorityLimits;

/// Names and addresses that are remembered; beyond, the fullest buckets are forgotten, which are those of whoever did little.
const MAX_REMEMBERED: usize = 100_000;
const MINUTE: Duration = Duration::from_secs(60);
/// Refusals that are written to the store in a minute; the log of the process and the metrics have all of them.
const RECORDED_REFUSALS_PER_MINUTE: u32 = 60;

/// All rates of a server.
pub(super) struct Rates {
    pub(super) names: Buckets<String>,
    pub(super) addresses: Buckets<IpAddr>,
    pub(super) refusals: Buckets<()>,
}

/// A bucket for each key: it holds as much as a minute gives, and refills evenly.
pub(super) struct Buckets<K> {
    per_minute: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Rates {
    pub(super) fn new(limits: &AuthorityLimits) -> Self {
        Self {
            names: Buckets::new(limits.name_per_minute),
            addresses: Buckets::new(limits.address_per_minute),
            refusals: Buckets::new(RECORDED_REFUSALS_PER_MINUTE),
        }
    }
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    fn new(per_minute: u32) -> Self {
        Self { per_minute: f64::from(per_minute), buckets: Mutex::default() }
    }

    /// Takes one of a key, or says how long until there is one.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn take(&self, key: &K) -> Result<(), Duration> {
        self.take_at(key, Instant::now())
    }

    fn take_at(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_REMEMBERED && !buckets.contains_key(key) {
            // Whoever did nothing for a minute has a full bucket again, and a new one is full as well.
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < MINUTE);
            if buckets.len() >= MAX_REMEMBERED {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets.entry(key.clone()).or_insert(Bucket { left: self.per_minute, at: now });
        let refilled = now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_minute / MINUTE.as_secs_f64();
        bucket.left = (bucket.left + refilled).min(self.per_minute);
        bucket.at = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.left) * MINUTE.as_secs_f64() / self.per_minute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_a_minutes_worth_at_once_and_then_one_after_the_other() {
        let (buckets, start) = (Buckets::new(6), Instant::now());
        for _ in 0..6 {
            assert!(buckets.take_at(&"ads", start).is_ok());
        }
        let wait = buckets.take_at(&"ads", start).expect_err("empty");
        assert!(wait > Duration::from_secs(9) && wait <= Duration::from_secs(10), "{wait:?}");
        assert!(buckets.take_at(&"users", start).is_ok(), "another name has its own");
        assert!(buckets.take_at(&"ads", start + wait + Duration::from_millis(1)).is_ok());
        assert!(buckets.take_at(&"ads", start + wait + Duration::from_millis(1)).is_err());
    }
}
