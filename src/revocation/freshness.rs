//! How old a CRL is: `fresh`, `due`, `stale`, `expired`.

use std::fmt;
use std::time::{Duration, SystemTime};

/// The states that a CRL goes through unless its successor comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Its successor is not looked for yet.
    Fresh,
    /// Its successor is looked for.
    Due,
    /// Past its next update, and still serving.
    Stale,
    /// Past its next update and the grace: what it does not list is unknown, and `on_stale` decides.
    Expired,
}

impl Freshness {
    /// `next_update` is the CRL's, `refresh_at` when its successor is to be looked for.
    pub fn judge(next_update: SystemTime, refresh_at: Option<SystemTime>, grace: Duration, now: SystemTime) -> Self {
        // Dates have whole seconds, and a certificate is judged by them: both agree at every moment.
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(now, |since| SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()));
        // A grace that reaches beyond the clock's range never ends.
        if next_update.checked_add(grace).is_some_and(|end| now > end) {
            Self::Expired
        } else if now > next_update {
            Self::Stale
        } else if refresh_at.is_some_and(|refresh_at| now >= refresh_at) {
            Self::Due
        } else {
            Self::Fresh
        }
    }

    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Due, Self::Stale, Self::Expired];

    /// Its name in metrics, status and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Due => "due",
            Self::Stale => "stale",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crl_ages_through_four_states() {
        let start = SystemTime::UNIX_EPOCH;
        let at = |seconds: u64| {
            let next_update = start + Duration::from_secs(100);
            let refresh_at = Some(start + Duration::from_secs(80));
            Freshness::judge(next_update, refresh_at, Duration::from_secs(10), start + Duration::from_secs(seconds))
        };
        let expected =
            [(0, "fresh"), (79, "fresh"), (80, "due"), (100, "due"), (101, "stale"), (110, "stale"), (111, "expired")];
        for (seconds, label) in expected {
            assert_eq!(at(seconds).label(), label, "after {seconds} s");
        }
    }
}
