//! SPIFFE IDs: parsed once, valid ever after (SPIFFE-ID specification sections 2.1 to 2.4).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const SCHEME: &str = "spiffe://";
const MAX_ID_BYTES: usize = 2048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// A SPIFFE ID such as `spiffe://fleamarket.internal/adservice`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Box<str>,
    trust_domain_end: usize,
}

/// The trust domain of a SPIFFE ID such as `fleamarket.internal`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TrustDomain(Box<str>);

/// Why a text is not a SPIFFE ID or a trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpiffeIdError {
    /// Another scheme, or none.
    #[error("{text:?} does not begin with \"spiffe://\"")]
    Scheme {
        /// The text as it was given.
        text: String,
    },
    /// The trust domain is empty, too long, or has a character outside `a-z 0-9 . - _`.
    #[error("the trust domain {trust_domain:?} is not 1 to 255 of the characters a-z, 0-9, \".\", \"-\" and \"_\"")]
    TrustDomain {
        /// The trust domain as it was given.
        trust_domain: String,
    },
    /// The path has an empty, relative or ill-formed segment.
    #[error(
        "the path {path:?} is not of segments of a-z, A-Z, 0-9, \".\", \"-\" and \"_\", without \"//\", \"/.\", \"/..\" or a \"/\" at its end"
    )]
    Path {
        /// The path as it was given.
        path: String,
    },
    /// More than 2048 bytes.
    #[error("a SPIFFE ID of {length} bytes is longer than 2048")]
    TooLong {
        /// The length in bytes.
        length: usize,
    },
}

impl SpiffeId {
    /// The whole ID, scheme included.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part between `spiffe://` and the path.
    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.trust_domain_end]
    }

    /// The path with its leading `/`, or nothing.
    pub fn path(&self) -> &str {
        &self.text[self.trust_domain_end..]
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_ID_BYTES {
            return Err(SpiffeIdError::TooLong { length: text.len() });
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| SpiffeIdError::Scheme { text: text.to_owned() })?;
        let (trust_domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        TrustDomain::from_str(trust_domain)?;
        if !path.is_empty() && !path[1..].split('/').all(is_path_segment) {
            return Err(SpiffeIdError::Path { path: path.to_owned() });
        }
        Ok(Self { text: text.into(), trust_domain_end: SCHEME.len() + trust_domain.len() })
    }
}

fn is_path_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

impl TrustDomain {
    /// The trust domain's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID of the member of this trust domain with the given path, which has no leading `/`.
    pub fn member(&self, path: &str) -> Result<SpiffeId, SpiffeIdError> {
        format!("{SCHEME}{}/{path}", self.0).parse()
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = !text.is_empty()
            && text.len() <= MAX_TRUST_DOMAIN_BYTES
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'));
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err(SpiffeIdError::TrustDomain { trust_domain: text.to_owned() })
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_gives_its_trust_domain_and_path() {
        let id: SpiffeId = "spiffe://fleamarket.internal/ns/ads".parse().expect("valid");
        assert_eq!((id.trust_domain(), id.path()), ("fleamarket.internal", "/ns/ads"));
        let bare: SpiffeId = "spiffe://fleamarket.internal".parse().expect("valid");
        assert_eq!((bare.trust_domain(), bare.path()), ("fleamarket.internal", ""));
    }

    #[test]
    fn ill_formed_spiffe_ids_are_refused() {
        for text in [
            "",
            "fleamarket.internal/ads",
            "SPIFFE://fleamarket.internal/ads",
            "https://fleamarket.internal/ads",
            "spiffe://",
            "spiffe:///ads",
            "spiffe://Fleamarket.internal/ads",
            "spiffe://user@fleamarket.internal/ads",
            "spiffe://fleamarket.internal:443/ads",
            "spiffe://fleamarket.internal/",
            "spiffe://fleamarket.internal/ads/",
            "spiffe://fleamarket.internal//ads",
            "spiffe://fleamarket.internal/./ads",
            "spiffe://fleamarket.internal/../ads",
            "spiffe://fleamarket.internal/a%64s",
            "spiffe://fleamarket.internal/ads?x",
            "spiffe://fleamarket.internal/ads#x",
            "spiffe://fleamarket.internal/ads\0",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?}");
        }
        assert!(format!("spiffe://td/{}", "a".repeat(2048)).parse::<SpiffeId>().is_err());
    }
}
