//! The ledger's lines: what each says, and how a file of them is read back.
//!
//! A line is one JSON object and a line feed. A record counts from the moment its line is on the disk; a last line that a
//! crash tore was never acknowledged to anyone and is dropped. Any other unreadable line stops everything.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::{SpiffeId, TrustDomain};
use crate::x509::SerialNumber;

use super::{CaError, RevocationReason, Timestamp};

/// Which of the authority's keys signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The trust anchor's.
    Root,
    /// That of the intermediate below it.
    Intermediate,
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
}

/// One certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedCertificate {
    /// Its serial number, which no other certificate of this authority has.
    #[serde(with = "as_text")]
    pub serial: SerialNumber,
    /// What it is.
    pub kind: CertificateKind,
    /// Whose key signed it.
    pub issuer: Tier,
    /// What its files are called.
    pub name: String,
    /// Its SPIFFE ID.
    #[serde(with = "as_text")]
    pub spiffe: SpiffeId,
    /// Its DNS names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Its IP addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip: Vec<IpAddr>,
    /// Start of validity.
    #[serde(with = "as_text")]
    pub not_before: Timestamp,
    /// End of validity.
    #[serde(with = "as_text")]
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

/// One CRL that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrlRecord {
    /// Whose key signed it.
    pub issuer: Tier,
    /// Its CRL number (RFC 5280 section 5.2.3), greater than every earlier one of the same issuer.
    pub number: u64,
    /// When it was signed.
    #[serde(with = "as_text")]
    pub this_update: Timestamp,
    /// When the next should be there.
    #[serde(with = "as_text")]
    pub next_update: Timestamp,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    Created(Created),
    Issued(IssuedCertificate),
    Revoked(Revoked),
    Crl(CrlRecord),
}

/// The first line, and no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Created {
    pub(super) version: u32,
    #[serde(with = "as_text")]
    pub(super) trust_domain: TrustDomain,
    #[serde(with = "as_text")]
    pub(super) at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoked {
    #[serde(with = "as_text")]
    pub(super) serial: SerialNumber,
    #[serde(with = "as_text")]
    pub(super) at: Timestamp,
    #[serde(with = "as_text")]
    pub(super) reason: RevocationReason,
}

/// A ledger as it was read.
pub(super) struct Lines {
    pub(super) events: Vec<Event>,
    /// How many of the file's bytes the events take: what follows is a torn line.
    pub(super) whole_bytes: usize,
    /// The last event is complete but for its line feed.
    pub(super) lacks_line_feed: bool,
}

impl Event {
    /// The line, line feed included.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("an event is made of texts and numbers");
        line.push(b'\n');
        line
    }
}

/// Reads a whole ledger.
///
/// # Errors
/// An unreadable line, unless it is the last and lacks its line feed.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Lines, CaError> {
    let mut lines = Lines { events: Vec::new(), whole_bytes: 0, lacks_line_feed: false };
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let whole = line.ends_with(b"\n");
        match serde_json::from_slice(line) {
            Ok(event) => lines.events.push(event),
            // An append that did not finish. What it would have recorded was not handed out.
            Err(_) if !whole => return Ok(lines),
            Err(error) => {
                return Err(CaError::LedgerCorrupt {
                    path: path.to_owned(),
                    line: index + 1,
                    reason: error.to_string(),
                });
            }
        }
        lines.whole_bytes += line.len();
        lines.lacks_line_feed = !whole;
    }
    Ok(lines)
}

/// Values that are written as they are shown and read as they are typed.
mod as_text {
    use super::{Deserialize, Deserializer, Display, FromStr, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
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

impl fmt::Display for CertificateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Intermediate => "intermediate",
            Self::EndEntity => "end-entity",
        })
    }
}
