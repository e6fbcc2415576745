//! The names that are put on certificates and their files.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// X.520's bound of a common name.
const MAX_SERVICE_NAME_BYTES: usize = 64;
/// RFC 1035 section 2.3.4.
const MAX_DNS_NAME_BYTES: usize = 253;

/// What a certificate's files are called, and the path of its SPIFFE ID unless another is given. Safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName(Box<str>);

/// A DNS name in lower case, its first label possibly `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName(Box<str>);

/// Why a text is not such a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Not safe as a file name.
    #[error(
        "the name {text:?} is not 1 to 64 of a-z, A-Z, 0-9, \".\", \"_\" and \"-\" that begin with a letter, a digit or \"_\""
    )]
    Service {
        /// The text as it was given.
        text: String,
    },
    /// Its files would replace those of the authority.
    #[error("the name {text:?} is the authority's own: its files are called so; choose another")]
    Reserved {
        /// The text as it was given.
        text: String,
    },
    /// Not a DNS name.
    #[error(
        "{text:?} is not a DNS name: labels of a-z, 0-9, \"-\" and \"_\", 63 at most each, 253 in all; \"*\" only as the whole first label"
    )]
    Dns {
        /// The text as it was given.
        text: String,
    },
    /// An address where a DNS name belongs.
    #[error("{text:?} is an IP address, which --dns cannot carry; use --ip {text}")]
    Address {
        /// The text as it was given.
        text: String,
    },
}

impl ServiceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() <= MAX_SERVICE_NAME_BYTES
            && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !well_formed {
            return Err(NameError::Service { text: text.to_owned() });
        }
        if text.eq_ignore_ascii_case("ca") {
            return Err(NameError::Reserved { text: text.to_owned() });
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl DnsName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numeric_end = text.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
        if text.parse::<IpAddr>().is_ok() {
            return Err(NameError::Address { text: text.to_owned() });
        }
        let labels = text.strip_prefix("*.").unwrap_or(text);
        if text.len() > MAX_DNS_NAME_BYTES || numeric_end || !labels.split('.').all(is_label) {
            return Err(NameError::Dns { text: text.to_owned() });
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_folder_or_replace_the_authority_are_refused() {
        for text in
            ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "-rf", "a b", "ä", "a\0", "ca", "CA", &"a".repeat(65)]
        {
            assert!(text.parse::<ServiceName>().is_err(), "{text:?}");
        }
        for text in ["adservice", "Ad_Service-2.eu", "a", "_x", "ca2", &"a".repeat(64)] {
            assert!(text.parse::<ServiceName>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn dns_names_are_told_from_addresses_and_lowered() {
        assert_eq!("Ads.Internal".parse::<DnsName>().expect("valid").as_str(), "ads.internal");
        assert!("*.internal".parse::<DnsName>().is_ok());
        for text in ["10.0.0.7", "::1"] {
            assert!(matches!(text.parse::<DnsName>(), Err(NameError::Address { .. })), "{text:?}");
        }
        for text in ["", ".", "a.", "a..b", "*", "a.*", "*a.b", "-a.b", "a-.b", "a_b/c", "10.1", "ä.b", &"a".repeat(64)]
        {
            assert!(matches!(text.parse::<DnsName>(), Err(NameError::Dns { .. })), "{text:?}");
        }
    }
}
