//! When the authority is asked, and how loud it is told that it gives nothing.

use std::time::{Duration, SystemTime};

use super::failure::{Failure, FailureKind};

/// How long after the first failure it is tried again; twice as long after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest that an authority that is away is not tried again.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// The longest that what an operator has to mend is not tried again.
const MAX_RETRY_REFUSED: Duration = Duration::from_secs(300);
/// The least time between two attempts.
const MIN_RETRY: Duration = Duration::from_millis(250);
/// How soon what an operator has to mend is tried again at first.
const FIRST_RETRY_REFUSED: Duration = Duration::from_secs(5);

/// How much of a certificate's lifetime is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// More than a quarter.
    Ample,
    /// A quarter or less.
    Quarter,
    /// An eighth or less.
    Eighth,
    /// A sixteenth or less.
    Sixteenth,
    /// Nothing.
    Over,
}

impl Stage {
    pub(super) fn of(from: SystemTime, to: SystemTime, now: SystemTime) -> Self {
        let Ok(left) = to.duration_since(now) else { return Self::Over };
        let whole = to.duration_since(from).unwrap_or_default();
        match left {
            left if left > whole / 4 => Self::Ample,
            left if left > whole / 8 => Self::Quarter,
            left if left > whole / 16 => Self::Eighth,
            left if !left.is_zero() => Self::Sixteenth,
            _ => Self::Over,
        }
    }
}

/// When a certificate that was got `from` then is renewed: at two thirds of its lifetime, and up to a tenth of it earlier, so
/// that many sidecars do not ask at once. `jitter` is from 0 to 1.
pub(super) fn renewal(from: SystemTime, to: SystemTime, jitter: f64) -> SystemTime {
    let whole = to.duration_since(from).unwrap_or_default();
    from + whole.mul_f64(2.0 / 3.0 - 0.1 * jitter.clamp(0.0, 1.0))
}

/// After so many failures in a row. What is still good is renewed with several attempts before its end, which `left` is away.
pub(super) fn retry(
    now: SystemTime,
    failures: u32,
    failure: &Failure,
    left: Option<Duration>,
    jitter: f64,
) -> SystemTime {
    let (first, longest) = match failure.kind {
        FailureKind::Away => (FIRST_RETRY, MAX_RETRY),
        FailureKind::Refused | FailureKind::Distrusted | FailureKind::Unusable => {
            (FIRST_RETRY_REFUSED, MAX_RETRY_REFUSED)
        }
    };
    let doubled = first.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(16)));
    // Nobody keeps us waiting for ever.
    let longest = failure.retry_after.map_or(longest, |wanted| wanted.clamp(longest, MAX_RETRY_REFUSED));
    let wanted = failure.retry_after.map_or(doubled, |wanted| wanted.max(doubled));
    let most = left.map_or(longest, |left| (left / 4).min(longest));
    let span = wanted.min(most).max(MIN_RETRY);
    now + span.mul_f64(1.0 - 0.3 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        START + Duration::from_secs(seconds)
    }

    fn millis(time: SystemTime) -> u128 {
        time.duration_since(START).expect("later").as_millis()
    }

    #[test]
    fn a_renewal_comes_at_two_thirds_of_the_lifetime_or_a_little_earlier() {
        assert_eq!(millis(renewal(START, at(3000), 0.0)), 2_000_000);
        assert_eq!(millis(renewal(START, at(3000), 1.0)), 1_700_000);
        assert_eq!(renewal(at(10), at(10), 0.0), at(10));
    }

    #[test]
    fn attempts_grow_rarer_and_come_several_times_before_the_end() {
        let away = Failure::away(String::new());
        let after = |failures, left| millis(retry(START, failures, &away, left, 0.0));
        assert_eq!([1, 2, 3, 9, 100].map(|failures| after(failures, None)), [1000, 2000, 4000, 60_000, 60_000]);
        assert_eq!(after(9, Some(Duration::from_secs(40))), 10_000);
        assert_eq!(after(9, Some(Duration::ZERO)), 250);
        let asked = Failure { retry_after: Some(Duration::from_secs(100_000)), ..away };
        assert_eq!(millis(retry(START, 1, &asked, None, 0.0)), 300_000);
        let refused = Failure { kind: FailureKind::Refused, ..Failure::away(String::new()) };
        assert_eq!(millis(retry(START, 1, &refused, None, 0.0)), 5000);
        assert_eq!(millis(retry(START, 9, &refused, None, 0.0)), 300_000);
    }

    #[test]
    fn the_stages_of_a_lifetime_grow_louder_towards_its_end() {
        let stage = |now| Stage::of(START, at(1600), at(now));
        assert_eq!(
            [0, 1199, 1200, 1400, 1500, 1600, 1601].map(stage),
            [Stage::Ample, Stage::Ample, Stage::Quarter, Stage::Eighth, Stage::Sixteenth, Stage::Over, Stage::Over]
        );
    }
}
