//! What a CRL says, for people: read, and not verified.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::x509::SerialNumber;
use crate::x509::signature::Signed;

use super::error::CrlError;
use super::fields::{Entry, Fields};
use super::serials::{Reason, minimal};

/// Everything that a CRL says. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlDetails {
    /// The issuer as RFC 4514 text.
    pub issuer: String,
    /// The CRL number.
    pub number: SerialNumber,
    /// The number of the complete CRL that a delta CRL starts from; absent for a complete CRL.
    pub base_number: Option<SerialNumber>,
    /// Which of the issuer's certificates it covers, in words.
    pub scope: String,
    /// When it was issued.
    pub this_update: SystemTime,
    /// When its successor is due.
    pub next_update: SystemTime,
    /// Where it says that delta CRLs are to be had.
    pub freshest: Vec<String>,
    /// How many entries it has.
    pub entries_total: usize,
    /// The first of them, as many as were asked for.
    pub entries: Vec<CrlEntry>,
    /// SHA-256 of its DER.
    pub fingerprint: [u8; 32],
}

/// One entry of a CRL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlEntry {
    /// Which certificate.
    pub serial: SerialNumber,
    /// Since when.
    pub since: SystemTime,
    /// Why, by the names of RFC 5280 section 5.3.1.
    pub reason: Option<&'static str>,
    /// When its key is known or suspected to have become unsafe (section 5.3.2).
    pub invalid_since: Option<SystemTime>,
}

impl CrlDetails {
    /// Reads a CRL to its end, and keeps the first `limit` entries.
    ///
    /// # Errors
    /// Where it breaks a rule of the profile.
    pub fn read(der: &[u8], limit: usize) -> Result<Self, CrlError> {
        let fields = Fields::read(&Signed::split(der)?)?;
        let (mut entries, mut entries_total) = (Vec::new(), 0);
        for entry in fields.entries() {
            let entry = entry?;
            entries_total += 1;
            if entries.len() < limit {
                entries.push(CrlEntry::of(&entry));
            }
        }
        Ok(Self {
            issuer: fields.issuer_text(),
            number: fields.number,
            base_number: fields.base_number,
            scope: fields.scope.to_string(),
            this_update: fields.this_update,
            next_update: fields.next_update,
            freshest: fields.freshest,
            entries_total,
            entries,
            fingerprint: super::digest(der),
        })
    }

    /// The entries of one serial number, which should be one at most; the first `limit` of them.
    ///
    /// # Errors
    /// Where the CRL breaks a rule of the profile.
    pub fn entries_of(der: &[u8], serial: &SerialNumber, limit: usize) -> Result<Vec<CrlEntry>, CrlError> {
        let fields = Fields::read(&Signed::split(der)?)?;
        let mut found = Vec::new();
        for entry in fields.entries() {
            let entry = entry?;
            if found.len() < limit && minimal(entry.serial) == minimal(serial.as_der_content()) {
                found.push(CrlEntry::of(&entry));
            }
        }
        Ok(found)
    }
}

impl CrlEntry {
    fn of(entry: &Entry<'_>) -> Self {
        Self {
            serial: SerialNumber::from_der_content(entry.serial),
            since: UNIX_EPOCH + Duration::from_secs(entry.since),
            reason: entry.reason.map(|code| Reason::of_code(code).name()),
            invalid_since: entry.invalid_since.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds)),
        }
    }
}
