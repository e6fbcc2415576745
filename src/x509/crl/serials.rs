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
    /// Room that the first group is given.
    room: usize,
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
    pub(in crate::x509) reason: Option<Reason>,
}

/// A reason code (RFC 5280 section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::x509) struct Reason(u8);

impl Reason {
    const CERTIFICATE_HOLD: Self = Self(6);
    const REMOVE_FROM_CRL: Self = Self(8);

    /// Withdrawn for the time being.
    pub(in crate::x509) fn is_hold(self) -> bool {
        self == Self::CERTIFICATE_HOLD
    }

    /// Taken back by a delta CRL.
    pub(in crate::x509) fn is_removal(self) -> bool {
        self == Self::REMOVE_FROM_CRL
    }

    /// How final it is.
    fn weight(self) -> u8 {
        if self.is_removal() { 0 } else { 1 + u8::from(!self.is_hold()) }
    }

    /// Its name; a number that has none is unknown.
    pub(in crate::x509) fn name(self) -> &'static str {
        match self.0 {
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
            _ => "an unknown reason",
        }
    }

    pub(in crate::x509) fn of_code(code: u8) -> Self {
        Self(code)
    }
}

impl Serials {
    /// Empty, with room for the entries of so many octets of DER. Most serial numbers of a CRL have one length.
    pub(super) fn with_room_for(der_len: usize) -> Self {
        // An entry of 16 octets takes 35 in DER, and 21 here.
        Self { groups: Vec::new(), room: der_len / 5 * 3 }
    }

    /// Takes an entry; [`Serials::seal`] must follow the last one. Dates after 2106 are cut to it: they only inform.
    pub(super) fn push(&mut self, serial: &[u8], since_seconds: u64, reason: Option<u8>) {
        let serial = minimal(serial);
        let position = self.groups.iter().position(|group| group.serial_len == serial.len());
        let position = position.unwrap_or_else(|| {
            let room = std::mem::take(&mut self.room);
            self.groups.push(Group { serial_len: serial.len(), records: Vec::with_capacity(room) });
            self.groups.len() - 1
        });
        let records = &mut self.groups[position].records;
        records.extend_from_slice(serial);
        records.extend_from_slice(&u32::try_from(since_seconds).unwrap_or(u32::MAX).to_be_bytes());
        records.push(reason.unwrap_or(NO_REASON));
    }

    /// Sorts the entries; of several with one serial number the earliest stays of those that weigh most.
    pub(super) fn seal(&mut self) {
        self.groups.iter_mut().for_each(Group::seal);
        self.groups.shrink_to_fit();
    }

    /// Octets of memory.
    pub(super) fn bytes(&self) -> usize {
        self.groups.iter().map(|group| group.records.capacity() + size_of::<Group>()).sum()
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
        records.dedup_by(|later, first| {
            let is_same = later[..serial_len] == first[..serial_len];
            // What is both withdrawn and taken back is withdrawn; what is revoked and on hold as well is revoked.
            if is_same && Reason(later[stride - 1]).weight() > Reason(first[stride - 1]).weight() {
                *first = *later;
            }
            is_same
        });
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
    Entry { since: system_time(seconds), reason: (tail[4] != NO_REASON).then(|| Reason(tail[4])) }
}

/// The content octets without those that DER forbids at the front, so that a long form of a serial number hides nothing.
pub(super) fn minimal(mut serial: &[u8]) -> &[u8] {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(entries: &[(&[u8], u64, Option<u8>)]) -> Serials {
        let mut serials = Serials::default();
        for (serial, since, reason) in entries {
            serials.push(serial, *since, *reason);
        }
        serials.seal();
        serials
    }

    #[test]
    fn serial_numbers_are_found_whatever_their_length_and_order() {
        let serials =
            sealed(&[(&[9, 9], 5, Some(1)), (&[1], 6, None), (&[1, 2], 7, Some(4)), (&[0, 0x80], 8, Some(9))]);
        let found = |serial: &[u8]| serials.find(serial).map(|entry| entry.reason.map(Reason::name));
        assert_eq!(found(&[9, 9]), Some(Some("keyCompromise")));
        assert_eq!(found(&[1, 2]), Some(Some("superseded")));
        assert_eq!(found(&[1]), Some(None));
        assert_eq!(found(&[0, 0x80]), Some(Some("privilegeWithdrawn")));
        for absent in [&[][..], &[0x80], &[2], &[1, 3], &[0, 1, 2, 3], &[9, 9, 9]] {
            assert_eq!(found(absent), None, "{absent:?}");
        }
    }

    #[test]
    fn a_longer_writing_of_a_serial_number_hides_nothing() {
        let serials = sealed(&[(&[0, 0, 5], 1, None)]);
        assert!(serials.find(&[5]).is_some());
        assert!(serials.find(&[0, 5]).is_some());
        assert!(serials.find(&[0, 0x85]).is_none());
    }

    #[test]
    fn the_earliest_of_several_entries_stays() {
        let serials = sealed(&[(&[5], 300, Some(4)), (&[4], 1, None), (&[5], 200, Some(1))]);
        assert_eq!(serials.len(), 2);
        assert_eq!(serials.find(&[5]), Some(Entry { since: system_time(200), reason: Some(Reason(1)) }));
    }

    #[test]
    fn what_is_both_withdrawn_and_taken_back_is_withdrawn() {
        let serials = sealed(&[(&[5], 300, Some(8)), (&[5], 400, Some(1)), (&[6], 1, Some(8))]);
        assert_eq!(serials.find(&[5]), Some(Entry { since: system_time(400), reason: Some(Reason(1)) }));
        assert!(serials.find(&[6]).and_then(|entry| entry.reason).is_some_and(Reason::is_removal));
    }

    #[test]
    fn what_is_both_revoked_and_on_hold_is_revoked() {
        let serials = sealed(&[(&[5], 100, Some(6)), (&[5], 300, Some(1)), (&[5], 200, Some(4))]);
        assert_eq!(serials.find(&[5]), Some(Entry { since: system_time(200), reason: Some(Reason(4)) }));
    }

    #[test]
    fn an_entry_costs_its_serial_number_and_five_octets() {
        let mut serials = Serials::default();
        for number in (0..10_000u128).rev() {
            serials.push(&(number | 1 << 120).to_be_bytes(), 0, None);
        }
        serials.seal();
        assert_eq!((serials.len(), serials.groups.len()), (10_000, 1));
        assert!(serials.groups[0].records.capacity() <= 10_000 * 21 + 64);
    }
}
