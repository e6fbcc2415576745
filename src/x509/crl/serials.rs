//! Revoked serial numbers, packed: about 21 bytes each for serial numbers of 16 octets.

use std::time::SystemTime;

use crate::x509::instant::system_time;

/// Octets behind each serial number: four of the time, one of the reason.
const TAIL: usize = 5;
const NO_REASON: u8 = u8::MAX;

/// The serial numbers of one CRL, grouped by length, each group one sorted run of records of equal size.
#[derive(Debug, Default)]
pub(in crate::x509) struct Serials {
    groups: Vec<Group>,
}

/// The records of one length: serial number, seconds since 1970 in big endian, reason code.
#[derive(Debug)]
struct Group {
    serial_len: usize,
    records: Vec<u8>,
}

/// What a CRL says of a serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::x509) struct Entry {
    pub(in crate::x509) since: SystemTime,
    pub(in crate::x509) reason: Option<&'static str>,
}

impl Serials {
    /// Takes an entry; [`Serials::seal`] must follow the last one. Dates after 2106 are cut to it: they only inform.
    pub(super) fn push(&mut self, serial: &[u8], since_seconds: u64, reason: Option<u8>) {
        let serial = minimal(serial);
        let position = self.groups.iter().position(|group| group.serial_len == serial.len());
        let position = position.unwrap_or_else(|| {
            self.groups.push(Group { serial_len: serial.len(), records: Vec::new() });
            self.groups.len() - 1
        });
        let records = &mut self.groups[position].records;
        records.extend_from_slice(serial);
        records.extend_from_slice(&u32::try_from(since_seconds).unwrap_or(u32::MAX).to_be_bytes());
        records.push(reason.unwrap_or(NO_REASON));
    }

    /// Sorts the entries; of several with one serial number the earliest stays.
    pub(super) fn seal(&mut self) {
        self.groups.iter_mut().for_each(Group::seal);
        self.groups.shrink_to_fit();
    }

    pub(super) fn len(&self) -> usize {
        self.groups.iter().map(|group| group.records.len() / group.stride()).sum()
    }

    /// Looks up the content octets of a serial number. Allocates nothing.
    pub(in crate::x509) fn find(&self, serial: &[u8]) -> Option<Entry> {
        let serial = minimal(serial);
        self.groups.iter().find(|group| group.serial_len == serial.len())?.find(serial)
    }
}

impl Group {
    fn stride(&self) -> usize {
        self.serial_len + TAIL
    }

    fn record(&self, index: usize) -> &[u8] {
        &self.records[index * self.stride()..(index + 1) * self.stride()]
    }

    fn seal(&mut self) {
        let (stride, serial_len) = (self.stride(), self.serial_len);
        let serials = self.records.chunks_exact(stride).map(|record| &record[..serial_len]);
        if serials.is_sorted_by(|left, right| left < right) {
            self.records.shrink_to_fit();
            return;
        }
        let mut records: Vec<&[u8]> = self.records.chunks_exact(stride).collect();
        // The time follows the serial number in big endian, so that the earliest of equal ones comes first.
        records.sort_unstable();
        records.dedup_by_key(|record| &record[..serial_len]);
        self.records = records.concat();
    }

    fn find(&self, serial: &[u8]) -> Option<Entry> {
        let (mut low, mut high) = (0, self.records.len() / self.stride());
        while low < high {
            let middle = low + (high - low) / 2;
            let record = self.record(middle);
            let (found, tail) = record.split_at(self.serial_len);
            match found.cmp(serial) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(entry(tail)),
            }
        }
        None
    }
}

fn entry(tail: &[u8]) -> Entry {
    let seconds = tail[..4].iter().fold(0, |seconds, octet| seconds << 8 | i64::from(*octet));
    Entry { since: system_time(seconds), reason: reason_name(tail[4]) }
}

/// The reason codes of RFC 5280 section 5.3.1.
fn reason_name(code: u8) -> Option<&'static str> {
    Some(match code {
        0 => "unspecified",
        1 => "keyCompromise",
        2 => "cACompromise",
        3 => "affiliationChanged",
        4 => "superseded",
        5 => "cessationOfOperation",
        6 => "certificateHold",
        8 => "removeFromCRL",
        9 => "privilegeWithdrawn",
        10 => "aACompromise",
        _ => return None,
    })
}

/// The content octets without those that DER forbids at the front, so that a long form of a serial number hides nothing.
fn minimal(mut serial: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = serial {
        let is_redundant = match rest.first() {
            Some(next) => (*first == 0 && *next < 0x80) || (*first == 0xff && *next >= 0x80),
            None => false,
        };
        if !is_redundant {
            break;
        }
        serial = rest;
    }
    serial
}
