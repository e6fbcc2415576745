//! The ledger: the file of lines that was the store before there was a database, as far as it takes to read one.
//!
//! A line is one JSON object and a line feed. A last line that a crash tore was never acknowledged to anyone and is dropped.
//! Any other unreadable line stops everything.

use std::path::Path;

use serde::Deserialize;

use crate::identity::TrustDomain;
use crate::x509::SerialNumber;

use super::{CaError, IssuedCertificate, IssuerId, RevocationReason, Timestamp, as_text};

/// A CRL, as a line has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Crl {
    #[serde(with = "as_text")]
    pub(super) issuer: IssuerId,
    pub(super) number: u64,
    #[serde(with = "as_text")]
    pub(super) this_update: Timestamp,
    #[serde(with = "as_text")]
    pub(super) next_update: Timestamp,
}

/// One line.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    Created(Created),
    Issued(IssuedCertificate),
    Revoked(Revoked),
    Crl(Crl),
}

/// The first line, and no other.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Created {
    pub(super) version: u32,
    #[serde(with = "as_text")]
    pub(super) trust_domain: TrustDomain,
    #[serde(with = "as_text")]
    pub(super) at: Timestamp,
}

#[derive(Debug, Clone, Deserialize)]
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
}

/// Reads a whole ledger.
///
/// # Errors
/// An unreadable line, unless it is the last and lacks its line feed.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Lines, CaError> {
    let mut lines = Lines { events: Vec::new(), whole_bytes: 0 };
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
    }
    Ok(lines)
}
