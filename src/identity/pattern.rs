//! The names on an `allow` or `expect` list, and whether a peer matches one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use super::{PeerIdentity, ProvenNames, SpiffeId, SpiffeIdError};

/// One entry of an `allow` or `expect` list.
///
/// - `spiffe://domain/path`: exactly this SPIFFE ID
/// - `spiffe://domain/path/*`: every SPIFFE ID of that domain below that path, one segment or more
/// - `ads.internal`: exactly this DNS name, in any case
/// - `*.internal`: every DNS name with one label more than `internal`
/// - `10.0.0.7`: exactly this IP address
/// - `anonymous`: a caller without a certificate, and no other
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerPattern {
    /// Exactly this SPIFFE ID.
    Spiffe(SpiffeId),
    /// Every SPIFFE ID below this prefix, which ends in `/`.
    SpiffeBelow(Box<str>),
    /// Exactly this DNS name, in lower case.
    Dns(Box<str>),
    /// Every DNS name of one label before this suffix, which begins with `.`.
    DnsBelow(Box<str>),
    /// Exactly this IP address.
    Ip(IpAddr),
    /// A caller without a certificate.
    Anonymous,
}

/// Why a text is not a [`PeerPattern`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It begins like a SPIFFE ID and is none.
    #[error("not a SPIFFE ID: {0}")]
    Spiffe(#[from] SpiffeIdError),
    /// It is not a DNS name, an IP address or `anonymous` either.
    #[error("{text:?} is neither a SPIFFE ID (\"spiffe://domain/path\"), a DNS name, an IP address nor \"anonymous\"")]
    Name {
        /// The text as it was given.
        text: String,
    },
}

impl PeerPattern {
    /// True where the peer is meant by this pattern. A name that only resembles the pattern does not match.
    pub fn matches(&self, peer: &PeerIdentity) -> bool {
        match peer {
            PeerIdentity::Anonymous => *self == Self::Anonymous,
            PeerIdentity::Authenticated(names) => self.matches_names(names),
        }
    }

    /// True where one of the proven names is meant by this pattern.
    pub fn matches_names(&self, names: &ProvenNames) -> bool {
        let spiffe_id = names.spiffe_id.as_ref();
        match self {
            Self::Spiffe(id) => spiffe_id == Some(id),
            Self::SpiffeBelow(prefix) => spiffe_id.is_some_and(|id| id.as_str().starts_with(&**prefix)),
            Self::Dns(name) => names.dns_names.iter().any(|proven| proven.eq_ignore_ascii_case(name)),
            Self::DnsBelow(suffix) => names.dns_names.iter().any(|proven| is_one_label_before(proven, suffix)),
            Self::Ip(address) => names.ip_addresses.contains(address),
            Self::Anonymous => false,
        }
    }
}

fn is_one_label_before(name: &str, suffix: &str) -> bool {
    name.split_once('.').is_some_and(|(label, _)| {
        !label.is_empty() && name.len() > label.len() && name[label.len()..].eq_ignore_ascii_case(suffix)
    })
}

impl FromStr for PeerPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "anonymous" {
            return Ok(Self::Anonymous);
        }
        if text.contains("://") {
            return match text.strip_suffix("/*") {
                Some(parent) => Ok(Self::SpiffeBelow(format!("{}/", parent.parse::<SpiffeId>()?).into())),
                None => Ok(Self::Spiffe(text.parse()?)),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        // One bare label is a legitimate host name in a closed network, but `*.label` would span a whole top-level domain
        // of names only if such names were issued, which the operator's own authority decides.
        if !is_dns_name(name) {
            return Err(PatternError::Name { text: text.to_owned() });
        }
        let name = name.to_ascii_lowercase();
        Ok(if wildcard { Self::DnsBelow(format!(".{name}").into()) } else { Self::Dns(name.into()) })
    }
}

fn is_dns_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

impl fmt::Display for PeerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => id.fmt(f),
            Self::SpiffeBelow(prefix) => write!(f, "{prefix}*"),
            Self::Dns(name) => f.write_str(name),
            Self::DnsBelow(suffix) => write!(f, "*{suffix}"),
            Self::Ip(address) => address.fmt(f),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spiffe(id: &str) -> PeerIdentity {
        PeerIdentity::Authenticated(ProvenNames { spiffe_id: Some(id.parse().expect("valid")), ..Default::default() })
    }

    fn dns(name: &str) -> PeerIdentity {
        PeerIdentity::Authenticated(ProvenNames { dns_names: vec![name.into()], ..Default::default() })
    }

    fn pattern(text: &str) -> PeerPattern {
        text.parse().expect("valid")
    }

    #[test]
    fn a_spiffe_pattern_matches_itself_alone() {
        let ads = pattern("spiffe://fm/ads");
        assert!(ads.matches(&spiffe("spiffe://fm/ads")));
        for other in ["spiffe://fm/ads2", "spiffe://fm/ads/x", "spiffe://fm/Ads", "spiffe://fm2/ads", "spiffe://fm"] {
            assert!(!ads.matches(&spiffe(other)), "{other}");
        }
        assert!(!ads.matches(&dns("ads")));
        assert!(!ads.matches(&PeerIdentity::Anonymous));
    }

    #[test]
    fn a_spiffe_wildcard_matches_below_and_not_beside() {
        let below = pattern("spiffe://fm/ns/*");
        assert!(below.matches(&spiffe("spiffe://fm/ns/ads")));
        assert!(below.matches(&spiffe("spiffe://fm/ns/a/b")));
        for other in ["spiffe://fm/ns", "spiffe://fm/ns2/ads", "spiffe://fm.evil/ns/ads"] {
            assert!(!below.matches(&spiffe(other)), "{other}");
        }
        assert!(!pattern("spiffe://fm/*").matches(&spiffe("spiffe://fm.evil/ads")));
    }

    #[test]
    fn a_dns_wildcard_stands_for_one_label() {
        let wildcard = pattern("*.mesh.local");
        assert!(wildcard.matches(&dns("ads.mesh.local")));
        assert!(wildcard.matches(&dns("ADS.Mesh.local")));
        for other in ["mesh.local", "a.ads.mesh.local", "adsmesh.local", ".mesh.local", "ads.mesh.local.evil"] {
            assert!(!wildcard.matches(&dns(other)), "{other}");
        }
    }

    #[test]
    fn anonymous_matches_nobody_with_a_certificate() {
        assert!(pattern("anonymous").matches(&PeerIdentity::Anonymous));
        assert!(!pattern("anonymous").matches(&dns("anonymous")));
        assert!(!pattern("anonymous").matches(&PeerIdentity::Authenticated(ProvenNames::default())));
    }

    #[test]
    fn ill_formed_patterns_are_refused() {
        for text in
            ["", "*", "**", "*.", "spiffe://fm/*/ads", "spiffe://fm/a*", "https://fm/ads", "a b", "ads.*.local", "-a"]
        {
            assert!(text.parse::<PeerPattern>().is_err(), "{text:?}");
        }
    }
}
