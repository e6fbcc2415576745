//! How often clients, users and routes may ask, and what they are told of it (the `RateLimit` header fields of the IETF's HTTPAPI
//! working group).

use std::fmt::Write as _;
use std::hash::Hash;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::buckets::{Buckets, Empty, Standing};
use crate::config::{self, Rate};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Clients or users with a bucket that is not full.
const PLACES: usize = 65_536;

/// The buckets of one edge listener.
#[derive(Debug)]
pub(in crate::proxy) struct Throttle {
    pub(super) per_address: Option<Limit>,
    pub(super) per_user: Option<Limit>,
    pub(super) bad_tokens: Option<Limit>,
}

/// The buckets of one kind.
#[derive(Debug)]
pub(super) struct Limit {
    by: Throttled,
    rate: Rate,
    buckets: Buckets,
    /// Its item of `RateLimit-Policy`.
    policy: String,
}

/// Whose bucket was empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttled {
    /// That of the client's address.
    Address,
    /// That of the user.
    User,
    /// That of the route.
    Route,
    /// That of the client's address for tokens that are not good.
    BadTokens,
}

/// How the buckets stand that a request took from.
#[derive(Debug, Default)]
pub(super) struct Standings {
    policies: String,
    standings: String,
}

impl Throttle {
    pub(super) fn new(edge: &config::Edge) -> Self {
        let limit = |by, rate: Option<Rate>| rate.map(|rate| Limit::new(by, rate, PLACES));
        Self {
            per_address: limit(Throttled::Address, edge.rate_per_address),
            per_user: limit(Throttled::User, edge.rate_per_user),
            bad_tokens: limit(Throttled::BadTokens, edge.rate_of_bad_tokens),
        }
    }

    /// True where the rates are those of this configuration.
    pub(super) fn is_of(&self, edge: &config::Edge) -> bool {
        let rates = [&self.per_address, &self.per_user, &self.bad_tokens].map(|limit| limit.as_ref().map(Limit::rate));
        rates == [edge.rate_per_address, edge.rate_per_user, edge.rate_of_bad_tokens]
    }
}

impl Limit {
    /// The rate of each bucket.
    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// One with a single bucket, which all share.
    pub(super) fn of_route(rate: Rate) -> Self {
        Self::new(Throttled::Route, rate, 1)
    }

    fn new(by: Throttled, rate: Rate, places: usize) -> Self {
        let seconds = (rate.per.as_secs() * u64::from(rate.burst.get())).div_ceil(u64::from(rate.count.get()));
        let policy = format!("\"{}\";q={};w={}", by.label(), rate.burst, seconds.max(1));
        Self { by, rate, buckets: Buckets::new(rate, places), policy }
    }

    /// Takes a token and notes how the bucket stands.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(super) fn take(&self, key: impl Hash, standings: &mut Standings) -> Result<(), (Throttled, Duration)> {
        let outcome = self.buckets.take(key, Instant::now());
        let (standing, outcome) = match outcome {
            Ok(standing) => (standing, Ok(())),
            Err(Empty(wait)) => (Standing { left: 0, full_in: wait }, Err((self.by, wait))),
        };
        standings.add(self, standing);
        outcome
    }

    /// Whether there is a token.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(super) fn look(&self, key: impl Hash) -> Result<(), (Throttled, Duration)> {
        self.buckets.look(key, Instant::now()).map_err(|Empty(wait)| (self.by, wait))
    }

    /// Takes a token where there is one.
    pub(super) fn charge(&self, key: impl Hash) {
        // An empty bucket is what the next one is refused for.
        let _ = self.buckets.take(key, Instant::now());
    }
}

impl Throttled {
    /// A short fixed name for metrics, logs and header fields.
    pub(in crate::proxy) fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::User => "user",
            Self::Route => "route",
            Self::BadTokens => "bad_tokens",
        }
    }
}

impl Standings {
    fn add(&mut self, limit: &Limit, standing: Standing) {
        let separator = if self.policies.is_empty() { "" } else { ", " };
        let seconds = standing.full_in.as_millis().div_ceil(1000);
        // Writing into a string never fails.
        let _ = write!(self.policies, "{separator}{}", limit.policy);
        let _ = write!(self.standings, "{separator}\"{}\";r={};t={seconds}", limit.by.label(), standing.left);
    }

    /// Tells the client, in place of what the service says of rates of its own.
    pub(super) fn set(self, headers: &mut HeaderMap) {
        if self.policies.is_empty() {
            return;
        }
        for (name, text) in [(RATELIMIT_POLICY, self.policies), (RATELIMIT, self.standings)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_structured_fields() {
        let rate = |text: &str| text.parse::<config::RateLimit>().expect("valid").0.expect("a rate");
        let mut standings = Standings::default();
        Limit::new(Throttled::Address, rate("20/s burst 50"), 1).take("a", &mut standings).expect("a token");
        Limit::of_route(rate("1/m")).take((), &mut standings).expect("a token");
        let mut headers = HeaderMap::new();
        standings.set(&mut headers);
        assert_eq!(headers[RATELIMIT_POLICY], "\"address\";q=50;w=3, \"route\";q=1;w=60");
        assert_eq!(headers[RATELIMIT], "\"address\";r=49;t=1, \"route\";r=0;t=60");
    }
}
