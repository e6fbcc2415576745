//! The hosts of requests, and the patterns that match them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// Which hosts are meant.
///
/// - `market.example`: exactly this name, in any case, with or without the dot of the root
/// - `*.market.example`: every name with one label before it
/// - `192.0.2.7`, `[2001:db8::7]`: exactly this address
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// Exactly this host, in lower case, without the dot of the root.
    Exactly(Box<str>),
    /// Every name of one label before this suffix, which begins with `.`.
    Below(Box<str>),
}

/// Why a text is no [`HostPattern`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no host: expected a DNS name, \"*.domain\" or an IP address, without a port")]
pub struct HostPatternError {
    /// The text as it was given.
    pub text: String,
}

impl HostPattern {
    /// True where the host is meant. It has to be as [`host_of`] gives it.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exactly(name) => **name == *host,
            Self::Below(suffix) => {
                let is_of_label = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
                host.strip_suffix(&**suffix).is_some_and(|label| !label.is_empty() && label.bytes().all(is_of_label))
            }
        }
    }

    /// True where every host that the other means is meant by this one too.
    pub fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exactly(name) => self.matches(name),
            Self::Below(_) => self == other,
        }
    }
}

/// The host of an authority (`host:port`): in lower case, without the port and the dot of the root. Two authorities that lead to one
/// host give one text.
pub fn host_of(authority: &str) -> String {
    let host = match authority.rfind(':') {
        // A colon within brackets is one of an IPv6 address. What is no number is no port, and the whole then no host of ours.
        Some(colon) if authority[colon + 1..].bytes().all(|octet| octet.is_ascii_digit()) => &authority[..colon],
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let error = || HostPatternError { text: text.to_owned() };
        if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().map(|_| Self::Exactly(host_of(text).into())).map_err(|_| error());
        }
        if text.parse::<Ipv4Addr>().is_ok() {
            return Ok(Self::Exactly(text.into()));
        }
        let (is_below, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        if !is_name(name) || name.parse::<IpAddr>().is_ok() {
            return Err(error());
        }
        let name = host_of(name);
        Ok(if is_below { Self::Below(format!(".{name}").into()) } else { Self::Exactly(name.into()) })
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 253
        && name.strip_suffix('.').unwrap_or(name).split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, authority: &str) -> bool {
        pattern.parse::<HostPattern>().expect("valid").matches(&host_of(authority))
    }

    #[test]
    fn one_host_is_known_in_every_spelling() {
        for authority in
            ["market.example", "MARKET.example", "market.example.", "market.example:443", "Market.Example.:8443"]
        {
            assert!(matches("market.example", authority), "{authority}");
            assert!(matches("Market.example.", authority), "{authority}");
        }
        assert!(matches("[2001:DB8::7]", "[2001:db8::7]:443"));
        assert!(matches("192.0.2.7", "192.0.2.7:443"));
    }

    #[test]
    fn a_host_that_only_resembles_the_pattern_is_another() {
        for authority in
            ["xmarket.example", "market.example.evil", "a.market.example", "market.exampl", "", "market.example.."]
        {
            assert!(!matches("market.example", authority), "{authority}");
        }
        for authority in ["market.example", ".market.example", "a.b.market.example", "a.market.example.evil"] {
            assert!(!matches("*.market.example", authority), "{authority}");
        }
        assert!(matches("*.market.example", "A.market.example:1"));
    }

    #[test]
    fn ill_formed_hosts_are_refused() {
        for text in
            ["", "*", "*.", "a b", "market.example:443", "https://market.example", "a.*.example", "[::1", "::1", "-a"]
        {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
        }
    }
}
