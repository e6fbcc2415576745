//! When a source is asked again.

use std::time::{Duration, SystemTime};

/// The least time between two fetches from an address that answers.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// The same for an address that a CA has named: each new CRL has every live connection judged again.
const MIN_LEARNT_INTERVAL: Duration = Duration::from_secs(60);
/// How long after the first failure it is tried again; twice as long after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// The longest that it is not tried again.
const MAX_RETRY: Duration = Duration::from_secs(300);

/// After a success: at the CRL's next update, after `max_age` or at the end of the answer's freshness (RFC 9111 section 4.2),
/// whichever is first, and up to a fifth earlier, so that many sidecars do not ask at once. `jitter` is from 0 to 1. An address
/// that was learnt is asked less often at the most.
pub(super) fn after_success(
    now: SystemTime,
    next_update: Option<SystemTime>,
    max_age: Duration,
    http_freshness: Option<Duration>,
    jitter: f64,
    is_learnt: bool,
) -> SystemTime {
    let shortest = if is_learnt { MIN_LEARNT_INTERVAL } else { MIN_INTERVAL };
    let until_next = next_update.map(|next| next.duration_since(now).unwrap_or_default());
    let longest = [until_next, http_freshness].into_iter().flatten().fold(max_age, Duration::min);
    now + earlier(longest, jitter).max(shortest.min(max_age))
}

/// After so many failures in a row.
pub(super) fn after_failure(now: SystemTime, failures: u32, max_age: Duration, jitter: f64) -> SystemTime {
    let doubled = FIRST_RETRY.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(16)));
    now + earlier(doubled.min(MAX_RETRY).min(max_age), jitter)
}

/// For a file, whose change is noticed by itself: when its successor should be there. Four fifths of its life are over then.
pub(super) fn of_file(this_update: SystemTime, next_update: SystemTime) -> SystemTime {
    this_update + next_update.duration_since(this_update).unwrap_or_default().mul_f64(0.8)
}

fn earlier(span: Duration, jitter: f64) -> Duration {
    span.mul_f64(1.0 - 0.2 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn seconds(from: SystemTime, to: SystemTime) -> u64 {
        to.duration_since(from).expect("later").as_secs()
    }

    #[test]
    fn the_first_of_next_update_max_age_and_http_freshness_counts() {
        let now = SystemTime::UNIX_EPOCH;
        let at = |next: u64, http: Option<u64>| {
            let next = Some(now + Duration::from_secs(next));
            seconds(now, after_success(now, next, HOUR, http.map(Duration::from_secs), 0.0, false))
        };
        assert_eq!(at(7200, None), 3600);
        assert_eq!(at(1800, None), 1800);
        assert_eq!(at(1800, Some(60)), 60);
        assert_eq!(at(1800, Some(0)), 5, "an answer that may not be kept is no reason to ask all the time");
        assert_eq!(at(0, None), 5);
        assert_eq!(seconds(now, after_success(now, None, HOUR, None, 1.0, false)), 2880, "up to a fifth earlier");
    }

    #[test]
    fn failures_are_tried_again_ever_more_slowly_and_at_least_every_five_minutes() {
        let now = SystemTime::UNIX_EPOCH;
        let at = |failures| seconds(now, after_failure(now, failures, HOUR, 0.0));
        assert_eq!([1, 2, 3, 4, 8, 9, 100].map(at), [2, 4, 8, 16, 256, 300, 300]);
        assert_eq!(seconds(now, after_failure(now, 9, Duration::from_secs(10), 0.0)), 10);
    }
}
