//! Points in time as certificates have them: whole seconds, UTC.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use time::OffsetDateTime;

/// 9999-12-31T23:59:59Z, which RFC 5280 section 4.1.2.5 reserves for "no end" and no certificate here goes beyond.
const LAST_SECOND: u64 = 253_402_300_799;

/// How long before it is signed a certificate or a CRL becomes valid, for readers whose clocks are behind.
const BACKDATED_BY: Duration = Duration::from_secs(300);

/// A point in time between 1970 and 9999, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

/// A text or a sum that is no [`Timestamp`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a time such as 2026-01-31T12:00:00Z between the years 1970 and 9999")]
pub struct TimestampError {
    text: String,
}

impl Timestamp {
    /// The system clock, cut to the second.
    pub fn now() -> Self {
        Self::from_system(SystemTime::now())
    }

    /// The second before or at the given time; times outside the range become its nearest end.
    pub fn from_system(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(LAST_SECOND))
    }

    /// The second of the given count since 1970; values outside the range become its nearest end.
    pub(super) fn from_unix(seconds: i64) -> Self {
        Self(u64::try_from(seconds).unwrap_or(0).min(LAST_SECOND))
    }

    /// The count of seconds since 1970.
    pub(super) fn to_unix(self) -> i64 {
        i64::try_from(self.0).expect("below the year 10000")
    }

    /// Where the validity of something signed at this time begins.
    pub(super) fn backdated(self) -> Self {
        self.saturating_sub(BACKDATED_BY)
    }

    /// The time later by whole seconds, or the end of the year 9999.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()).min(LAST_SECOND))
    }

    /// The time earlier by whole seconds, or the beginning of 1970.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }

    /// As the certificate libraries have it.
    pub(super) fn to_date_time(self) -> OffsetDateTime {
        OffsetDateTime::from(self.to_system())
    }

    /// As the standard library has it.
    pub fn to_system(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0)
    }
}

/// RFC 3339, such as `2026-01-31T12:00:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.to_system()).fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = humantime::parse_rfc3339(text).map_err(|_| TimestampError { text: text.to_owned() })?;
        Ok(Self::from_system(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_what_it_prints_and_never_leaves_its_range() {
        for seconds in [0, 1, 1_767_225_600, LAST_SECOND] {
            let time = Timestamp(seconds);
            assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time));
        }
        assert_eq!(Timestamp::now().saturating_add(Duration::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert!("tomorrow".parse::<Timestamp>().is_err());
    }
}
