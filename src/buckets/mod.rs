//! Token buckets by key, in a table of a fixed size.
//!
//! A bucket is one number: when it will be full again (the generic cell rate algorithm). One that is full needs no place. Where a
//! table has no place left, the fullest bucket of a set is given to the newcomer as it is: whoever lost it finds none that is
//! fuller, so that nobody gains by crowding the table.
//!
//! What is rated, and what whoever comes too often is told, is left to the callers.

mod address_key;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Rate;

pub(crate) use address_key::AddressKey;

/// Buckets that compete for one place.
const SET: usize = 8;
/// Sets that share a lock.
const SETS_PER_LOCK: usize = 128;

/// Token buckets of one rate.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// Nanoseconds in which one token flows in.
    interval: u64,
    /// Nanoseconds in which an empty bucket fills.
    capacity: u64,
    began: Instant,
    /// Keyed at random, so that nobody can choose keys that share a set.
    hasher: RandomState,
    shards: Vec<Mutex<Vec<Bucket>>>,
}

/// The hash of a key, and when its bucket will be full again, in nanoseconds since the table began.
type Bucket = (u64, u64);

/// How a bucket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whole tokens left.
    pub(crate) left: u32,
    /// When it will be full again.
    pub(crate) full_in: Duration,
}

/// There is no token, and how long it takes until there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Empty(pub(crate) Duration);

impl Buckets {
    /// A table of full buckets with places for `places` at least that are not full.
    pub(crate) fn new(rate: Rate, places: usize) -> Self {
        let interval = nanoseconds(rate.per) / u64::from(rate.count.get());
        let locks = places.div_ceil(SET * SETS_PER_LOCK).max(1);
        let shard = || Mutex::new(vec![(0, 0); SET * SETS_PER_LOCK]);
        Self {
            interval,
            capacity: interval * u64::from(rate.burst.get()),
            began: Instant::now(),
            hasher: RandomState::new(),
            shards: (0..locks).map(|_| shard()).collect(),
        }
    }

    /// Takes a token.
    pub(crate) fn take(&self, key: impl Hash, now: Instant) -> Result<Standing, Empty> {
        self.with_bucket(key, now, |full_at, now| {
            let (full_at, standing) = self.after_taking(full_at, now)?;
            Ok((full_at, standing))
        })
    }

    /// Whether there is a token.
    pub(crate) fn look(&self, key: impl Hash, now: Instant) -> Result<(), Empty> {
        self.with_bucket(key, now, |full_at, now| self.after_taking(full_at, now).map(|_| (full_at, ())))
    }

    fn after_taking(&self, full_at: u64, now: u64) -> Result<(u64, Standing), Empty> {
        let after = full_at.max(now) + self.interval;
        let missing = after - now;
        if missing > self.capacity {
            return Err(Empty(Duration::from_nanos(missing - self.capacity)));
        }
        let left = u32::try_from((self.capacity - missing) / self.interval).unwrap_or(u32::MAX);
        Ok((after, Standing { left, full_in: Duration::from_nanos(missing) }))
    }

    fn with_bucket<T>(
        &self,
        key: impl Hash,
        now: Instant,
        use_it: impl FnOnce(u64, u64) -> Result<(u64, T), Empty>,
    ) -> Result<T, Empty> {
        let now = nanoseconds(now.saturating_duration_since(self.began));
        // 0 stands for a place that was never taken.
        let hash = self.hasher.hash_one(key).max(1);
        let (shard, set) = self.place(hash);
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        let set = &mut shard[set..set + SET];
        let index = set.iter().position(|bucket| bucket.0 == hash).unwrap_or_else(|| fullest(set));
        let (full_at, outcome) = use_it(set[index].1, now)?;
        if full_at > now && full_at != set[index].1 {
            set[index] = (hash, full_at);
        }
        Ok(outcome)
    }

    /// The lock, and where the set begins behind it.
    fn place(&self, hash: u64) -> (usize, usize) {
        let number = usize::try_from(hash >> 16).unwrap_or(usize::MAX);
        (number % self.shards.len(), number / self.shards.len() % SETS_PER_LOCK * SET)
    }

    /// How many buckets have places.
    #[cfg(test)]
    fn places(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().expect("whole").capacity()).sum()
    }
}

fn fullest(set: &[Bucket]) -> usize {
    set.iter().enumerate().min_by_key(|(_, bucket)| bucket.1).map_or(0, |(index, _)| index)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::config::RateLimit;

    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse::<RateLimit>().expect("valid").0.expect("a rate")
    }

    fn takes(buckets: &Buckets, key: impl Hash + Copy, now: Instant, tries: usize) -> usize {
        (0..tries).filter(|_| buckets.take(key, now).is_ok()).count()
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let buckets = Buckets::new(rate("10/s burst 30"), 1);
        let start = buckets.began;
        assert_eq!(takes(&buckets, "ana", start, 100), 30);
        assert_eq!(takes(&buckets, "bob", start, 100), 30);
        assert_eq!(buckets.take("ana", start), Err(Empty(Duration::from_millis(100))));
        assert_eq!(takes(&buckets, "ana", start + Duration::from_millis(99), 100), 0);
        assert_eq!(takes(&buckets, "ana", start + Duration::from_secs(1), 100), 10);
        assert_eq!(takes(&buckets, "ana", start + Duration::from_secs(3600), 100), 30);
    }

    #[test]
    fn what_is_left_is_told() {
        let buckets = Buckets::new(rate("10/s"), 1);
        let start = buckets.began;
        let standing = buckets.take("ana", start).expect("a token");
        assert_eq!(standing, Standing { left: 9, full_in: Duration::from_millis(100) });
        assert_eq!(buckets.look("ana", start), Ok(()));
        assert_eq!(takes(&buckets, "ana", start, 100), 9, "looking takes nothing");
        assert!(buckets.look("ana", start).is_err());
    }

    #[test]
    fn a_million_keys_take_no_more_room_than_a_few() {
        let buckets = Buckets::new(rate("1/s burst 5"), 65_536);
        let (start, places) = (buckets.began, buckets.places());
        for key in 0..1_000_000_u32 {
            let _ = buckets.take(key, start);
        }
        assert_eq!((buckets.places(), places), (65_536, 65_536));
    }

    #[test]
    fn an_empty_bucket_stays_empty_however_many_keys_crowd_it_out() {
        let buckets = Buckets::new(rate("1/s burst 5"), 1);
        let start = buckets.began;
        assert_eq!(takes(&buckets, "attacker", start, 100), 5);
        for key in 0..1_000_000_u32 {
            let _ = buckets.take(key, start);
        }
        assert_eq!(takes(&buckets, "attacker", start, 100), 0);
        let crowd = (1_000_000..1_100_000_u32).filter(|key| buckets.take(key, start).is_ok()).count();
        assert_eq!(crowd, 0, "a table that is full of empty buckets has none that is full");
        assert_eq!(takes(&buckets, "attacker", start + Duration::from_secs(5), 100), 5);
    }

    #[test]
    fn a_crowded_table_hands_nobody_a_fuller_bucket_than_the_one_lost() {
        let buckets = Buckets::new(rate("1/s burst 4"), 1);
        let start = buckets.began;
        assert_eq!(takes(&buckets, "attacker", start, 2), 2);
        // Everybody takes what is there to take but for the last token, so that the attacker's bucket is the fullest at times.
        for key in 0..20_000_u32 {
            takes(&buckets, key, start, 2);
        }
        assert!(takes(&buckets, "attacker", start, 100) <= 2);
    }
}
