//! CRLs made octet by octet, so that anything can be wrong with them.

use rcgen::SigningKey as _;
use time::OffsetDateTime;

use crate::cert::{Ca, now};

pub(super) const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
pub(super) const REASON_CODE: &[u8] = &[0x55, 0x1d, 0x15];
pub(super) const DELTA_CRL_INDICATOR: &[u8] = &[0x55, 0x1d, 0x1b];
pub(super) const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 0x1c];
pub(super) const FRESHEST_CRL: &[u8] = &[0x55, 0x1d, 0x2e];

/// A CRL in the making.
#[derive(Clone)]
pub(super) struct Made {
    number: Option<Vec<u8>>,
    /// From the present of the tests, in seconds.
    this_update: i64,
    next_update: i64,
    entries: Vec<u8>,
    extensions: Vec<u8>,
}

impl Made {
    /// Issued an hour ago, for a day, with this number and no entry.
    pub(super) fn numbered(number: u8) -> Self {
        Self {
            number: Some(vec![number]),
            this_update: -3600,
            next_update: 86_400 - 3600,
            entries: Vec::new(),
            extensions: Vec::new(),
        }
    }

    pub(super) fn without_number(mut self) -> Self {
        self.number = None;
        self
    }

    pub(super) fn with_number(mut self, number: &[u8]) -> Self {
        self.number = Some(number.to_vec());
        self
    }

    /// Seconds from the present of the tests.
    pub(super) fn times(mut self, this_update: i64, next_update: i64) -> Self {
        (self.this_update, self.next_update) = (this_update, next_update);
        self
    }

    /// One more entry, with a reason code where one is given.
    pub(super) fn revoking(mut self, serial: &[u8], reason: Option<u8>) -> Self {
        let extensions = reason.map(|code| sequence(&extension(REASON_CODE, false, &tlv(0x0a, &[code]))));
        self.entries.extend(entry(serial, &extensions.unwrap_or_default()));
        self
    }

    /// Octets in the place of entries.
    pub(super) fn with_entries(mut self, entries: &[u8]) -> Self {
        self.entries.extend_from_slice(entries);
        self
    }

    pub(super) fn with_extension(mut self, oid: &[u8], is_critical: bool, value: &[u8]) -> Self {
        self.extensions.extend(extension(oid, is_critical, value));
        self
    }

    /// A delta of the CRL with this number.
    pub(super) fn since(self, base: u8) -> Self {
        self.with_extension(DELTA_CRL_INDICATOR, true, &tlv(0x02, &[base]))
    }

    /// Confined by these fields of an issuing distribution point.
    pub(super) fn confined(self, fields: &[u8]) -> Self {
        self.with_extension(ISSUING_DISTRIBUTION_POINT, true, &sequence(fields))
    }

    pub(super) fn signed_by(&self, ca: &Ca) -> Vec<u8> {
        let algorithm = sequence(&tlv(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
        let entries = if self.entries.is_empty() { Vec::new() } else { sequence(&self.entries) };
        let number = self.number.as_ref().map(|number| extension(CRL_NUMBER, false, &tlv(0x02, number)));
        let extensions = sequence(&[number.unwrap_or_default(), self.extensions.clone()].concat());
        let tbs = sequence(
            &[
                tlv(0x02, &[1]),
                algorithm.clone(),
                name_of(ca),
                time_at(self.this_update),
                time_at(self.next_update),
                entries,
                tlv(0xa0, &extensions),
            ]
            .concat(),
        );
        let signature = ca.key.sign(&tbs).expect("signed");
        sequence(&[tbs, algorithm, tlv(0x03, &[&[0], &signature[..]].concat())].concat())
    }
}

pub(super) fn entry(serial: &[u8], rest: &[u8]) -> Vec<u8> {
    sequence(&[tlv(0x02, serial), tlv(0x17, b"290601000000Z"), rest.to_vec()].concat())
}

pub(super) fn extension(oid: &[u8], is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if is_critical { tlv(0x01, &[0xff]) } else { Vec::new() };
    sequence(&[tlv(0x06, oid), critical, tlv(0x04, value)].concat())
}

/// A distribution point name of one URI.
pub(super) fn point(uri: &str) -> Vec<u8> {
    tlv(0xa0, &tlv(0xa0, &tlv(0x86, uri.as_bytes())))
}

pub(super) fn sequence(content: &[u8]) -> Vec<u8> {
    tlv(0x30, content)
}

pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let octets = content.len().to_be_bytes();
    let significant = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
    let length = match content.len() {
        short @ 0..0x80 => vec![u8::try_from(short).expect("short")],
        _ => [&[0x80 | u8::try_from(significant.len()).expect("few")], significant].concat(),
    };
    [&[tag], &length[..], content].concat()
}

fn time_at(seconds: i64) -> Vec<u8> {
    let at = OffsetDateTime::from(now()) + time::Duration::seconds(seconds);
    let format = time::macros::format_description!("[year repr:last_two][month][day][hour][minute][second]Z");
    tlv(0x17, at.format(&format).expect("a date").as_bytes())
}

/// The subject of a CA, as its certificate has it.
fn name_of(ca: &Ca) -> Vec<u8> {
    use x509_parser::prelude::FromDer as _;
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(ca.cert.der()).expect("a certificate");
    certificate.subject().as_raw().to_vec()
}
