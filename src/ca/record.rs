//! What the store remembers: certificates, revocations and CRLs.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::SpiffeId;
use crate::x509::SerialNumber;

use super::{RevocationReason, Timestamp};

/// Which key of a generation signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The trust anchor's.
    Root,
    /// That of the intermediate below it.
    Intermediate,
}

/// One key of the authority: its tier, and its generation, which a rotation of the authority makes one more.
///
/// As a text it is `root` or `intermediate` in the first generation, `root-2` and so on in later ones. Its files are called so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerId {
    /// Counted from 1.
    pub generation: u32,
    /// Which key of that generation.
    pub tier: Tier,
}

/// A text that names no key of an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no key of an authority such as \"root\" or \"intermediate-2\"")]
pub struct IssuerIdError {
    text: String,
}

/// What a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateKind {
    /// The trust anchor.
    Root,
    /// The certificate of the key that issues, where that is not the root's.
    Intermediate,
    /// A service's.
    EndEntity,
    /// What a service enrols with, and nothing else.
    Bootstrap,
    /// That of the authority's own server.
    Server,
}

/// One certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedCertificate {
    /// Its serial number, which no other certificate of this authority has.
    #[serde(with = "super::as_text")]
    pub serial: SerialNumber,
    /// What it is.
    pub kind: CertificateKind,
    /// Whose key signed it.
    #[serde(with = "super::as_text")]
    pub issuer: IssuerId,
    /// What its files are called, and who is registered by that name.
    pub name: String,
    /// Its SPIFFE ID; of a bootstrap certificate, which bears none, that of the service.
    #[serde(with = "super::as_text")]
    pub spiffe: SpiffeId,
    /// Its DNS names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Its IP addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip: Vec<IpAddr>,
    /// Start of validity.
    #[serde(with = "super::as_text")]
    pub not_before: Timestamp,
    /// End of validity.
    #[serde(with = "super::as_text")]
    pub not_after: Timestamp,
    /// SHA-256 of its DER in lower-case hexadecimal.
    pub sha256: String,
}

/// That a certificate is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// A certificate, and whether it is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// What was issued.
    pub certificate: IssuedCertificate,
    /// Since when and why it is revoked, where it is.
    pub revocation: Option<Revocation>,
}

/// One CRL that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlRecord {
    /// Whose key signed it.
    pub issuer: IssuerId,
    /// Its CRL number (RFC 5280 section 5.2.3), greater than every earlier one of the same issuer, delta CRLs
    /// included; a delta CRL that was signed with a complete one has the same.
    pub number: u64,
    /// Of a delta CRL (section 5.2.4) the number of the complete one that it starts from.
    pub base_number: Option<u64>,
    /// When it was signed.
    pub this_update: Timestamp,
    /// When the next should be there.
    pub next_update: Timestamp,
}

/// The last CRL of an issuer, or its last delta CRL, as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCrl {
    /// Its number and dates.
    pub record: CrlRecord,
    /// How many certificates it revokes.
    pub entries: usize,
    /// In DER; empty where it was signed before the store kept CRLs.
    pub der: Vec<u8>,
}

impl IssuerId {
    /// That of the first root.
    pub const ROOT: Self = Self { generation: 1, tier: Tier::Root };

    /// The key of the same generation that has this tier.
    #[must_use]
    pub fn with_tier(self, tier: Tier) -> Self {
        Self { tier, ..self }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Intermediate => "intermediate",
        })
    }
}

impl fmt::Display for IssuerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            1 => self.tier.fmt(f),
            generation => write!(f, "{}-{generation}", self.tier),
        }
    }
}

impl FromStr for IssuerId {
    type Err = IssuerIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unusable = || IssuerIdError { text: text.to_owned() };
        let (tier, generation) = text.split_once('-').unwrap_or((text, "1"));
        let tier = match tier {
            "root" => Tier::Root,
            "intermediate" => Tier::Intermediate,
            _ => return Err(unusable()),
        };
        let generation = generation.parse().ok().filter(|generation| *generation > 0).ok_or_else(unusable)?;
        Ok(Self { generation, tier })
    }
}

impl CertificateKind {
    const ALL: [Self; 5] = [Self::Root, Self::Intermediate, Self::EndEntity, Self::Bootstrap, Self::Server];

    /// As the store and JSON have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Intermediate => "intermediate",
            Self::EndEntity => "end_entity",
            Self::Bootstrap => "bootstrap",
            Self::Server => "server",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for CertificateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().replace('_', "-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_reads_what_it_prints() {
        for text in ["root", "intermediate", "root-2", "intermediate-17"] {
            assert_eq!(text.parse::<IssuerId>().expect("valid").to_string(), text);
        }
        for text in ["", "leaf", "root-", "root-0", "root-x", "root-2-3"] {
            assert!(text.parse::<IssuerId>().is_err(), "{text:?}");
        }
    }
}
