//! For how long keys are fresh, and when an issuer is asked again.

use std::time::{Duration, SystemTime};

/// The shortest that keys are fresh, whatever the answer says.
const MIN_FRESH: Duration = Duration::from_secs(30);
/// How long after the first failure it is tried again; twice as long after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest that it is not tried again, so that an issuer that is back is noticed soon.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// For how long keys are fresh: as the answer says (RFC 9111 section 4.2), or else for `max_age`, and never for longer.
pub(super) fn lifetime(http_freshness: Option<Duration>, max_age: Duration) -> Duration {
    http_freshness.unwrap_or(max_age).max(MIN_FRESH).min(max_age)
}

/// After a success: before the keys are stale, up to a fifth earlier, so that many sidecars do not ask at once. `jitter` is from 0 to 1.
pub(super) fn after_success(now: SystemTime, lifetime: Duration, jitter: f64) -> SystemTime {
    now + lifetime.mul_f64(0.95 - 0.15 * jitter.clamp(0.0, 1.0))
}

/// After so many failures in a row.
pub(super) fn after_failure(now: SystemTime, failures: u32, jitter: f64) -> SystemTime {
    let doubled = FIRST_RETRY.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(16)));
    now + doubled.min(MAX_RETRY).mul_f64(1.0 - 0.2 * jitter.clamp(0.0, 1.0))
}

/// Whether a time has come that was never further away than `longest`: one that is was set by a clock that has been put back since.
pub(super) fn has_come(at: SystemTime, longest: Duration, now: SystemTime) -> bool {
    at.duration_since(now).map_or(true, |left| left.is_zero() || left > longest.max(MAX_RETRY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_answer_says_how_long_keys_are_fresh_within_bounds() {
        let of = |http: Option<u64>| lifetime(http.map(Duration::from_secs), HOUR).as_secs();
        assert_eq!([None, Some(600), Some(86_400), Some(0)].map(of), [3600, 600, 3600, 30]);
        assert_eq!(lifetime(None, Duration::from_secs(5)).as_secs(), 5, "a short max_age holds");
    }

    #[test]
    fn keys_are_fetched_again_before_they_are_stale() {
        let now = SystemTime::UNIX_EPOCH;
        let at = |jitter| after_success(now, HOUR, jitter).duration_since(now).expect("later").as_secs();
        assert_eq!([0.0, 1.0].map(at), [3420, 2880]);
    }

    #[test]
    fn failures_are_tried_again_ever_more_slowly_and_at_least_twice_a_minute() {
        let now = SystemTime::UNIX_EPOCH;
        let at = |failures| after_failure(now, failures, 0.0).duration_since(now).expect("later").as_secs();
        assert_eq!([1, 2, 3, 5, 6, 100].map(at), [1, 2, 4, 16, 30, 30]);
    }

    #[test]
    fn a_time_that_a_clock_set_before_it_was_put_back_has_come() {
        let now = SystemTime::UNIX_EPOCH + HOUR;
        assert!(!has_come(now + HOUR, HOUR, now));
        assert!(has_come(now + 2 * HOUR, HOUR, now));
        assert!(has_come(now, HOUR, now) && has_come(now - HOUR, HOUR, now));
    }
}
