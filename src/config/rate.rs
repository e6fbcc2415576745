//! How often something may happen: `"20/s"`, `"100/m burst 300"`, `"off"`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// A rate with a burst: a bucket of `burst` tokens into which `count` flow in each `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many in each `per`.
    pub count: NonZeroU32,
    /// A second, a minute or an hour.
    pub per: Duration,
    /// How many at once after a rest; default `count`.
    pub burst: NonZeroU32,
}

/// A rate, or none: `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimit(pub Option<Rate>);

/// Why a text is no [`RateLimit`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no rate: expected a number from 1 to 1000000 for each s, m or h, or \"off\"")]
pub struct RateError {
    /// The text as it was given.
    pub text: String,
}

/// The most of either number. One token flows in every microsecond then, well above what a worker serves.
const MOST: u32 = 1_000_000;
const UNITS: [(&str, Duration); 3] =
    [("s", Duration::from_secs(1)), ("m", Duration::from_secs(60)), ("h", Duration::from_secs(3600))];

impl FromStr for RateLimit {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        if text == "off" {
            return Ok(Self(None));
        }
        parse(text).map(|rate| Self(Some(rate))).ok_or_else(|| RateError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Rate> {
    let mut words = text.split_ascii_whitespace();
    let (count, unit) = words.next()?.split_once('/')?;
    let (count, per) = (number(count)?, UNITS.iter().find(|(name, _)| *name == unit)?.1);
    let burst = match (words.next(), words.next()) {
        (None, _) => count,
        (Some("burst"), Some(burst)) => number(burst)?,
        _ => return None,
    };
    words.next().is_none().then_some(Rate { count, per, burst })
}

fn number(text: &str) -> Option<NonZeroU32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number: &NonZeroU32| is_plain && number.get() <= MOST)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, per)| *per == self.per).map_or("s", |(name, _)| name);
        write!(f, "{}/{unit}", self.count)?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_shown() {
        for text in ["20/s", "100/m burst 300", "1/h burst 1000000"] {
            let rate = text.parse::<RateLimit>().expect("valid").0.expect("a rate");
            assert_eq!(rate.to_string(), text);
        }
        assert_eq!("off".parse(), Ok(RateLimit(None)));
    }

    #[test]
    fn ill_formed_rates_are_refused() {
        for text in [
            "",
            "20",
            "20/",
            "/s",
            "0/s",
            "20/d",
            "+2/s",
            "2/s burst",
            "2/s burst 0",
            "2/s 3",
            "1000001/s",
            "1/s burst 2 3",
        ] {
            assert!(text.parse::<RateLimit>().is_err(), "{text:?}");
        }
    }
}
