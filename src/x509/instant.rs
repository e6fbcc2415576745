//! Points in time as people and JSON read them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time that prints as RFC 3339 in UTC with whole seconds, such as `2026-01-02T03:04:05Z`.
///
/// Certificates of strangers hold any date, so this never panics: what RFC 3339 cannot express prints as the distance
/// from 1970 in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant(pub SystemTime);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = unix_seconds(self.0);
        let text = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|date| date.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{seconds} seconds from 1970-01-01T00:00:00Z"),
        }
    }
}

/// Whole seconds since 1970, rounded down.
pub(super) fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            -whole - i64::from(before.subsec_nanos() > 0)
        }
    }
}

/// The reverse of [`unix_seconds`]; a date beyond the system's clock becomes 1970, which no rule takes for valid.
pub(super) fn system_time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_date_prints_without_a_panic() {
        assert_eq!(Instant(system_time(1_767_322_845)).to_string(), "2026-01-02T03:00:45Z");
        assert_eq!(Instant(system_time(-1)).to_string(), "1969-12-31T23:59:59Z");
        assert_eq!(Instant(UNIX_EPOCH + Duration::from_millis(1500)).to_string(), "1970-01-01T00:00:01Z");
        assert!(Instant(system_time(400_000_000_000)).to_string().starts_with("400000000000 seconds"));
    }
}
