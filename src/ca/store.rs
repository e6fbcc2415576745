//! The store of serial numbers: the one writer of what was issued and revoked.
//!
//! It is a file that is only appended to, each record synced before the method that writes it returns. An exclusive lock on
//! the file, which ends with the process however that ends, keeps concurrent commands apart. How the lines look is left to
//! `ledger`; everything else of the authority sees plain methods.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::identity::TrustDomain;
use crate::x509::SerialNumber;

use super::error::io_error;
use super::ledger::{self, Created, Event, Revoked};
use super::{CaError, CrlRecord, IssuedCertificate, Revocation, Tier, Timestamp};

const VERSION: u32 = 1;

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Recording: one process at a time, others wait.
    Exclusive,
    /// Reading: many at a time, while nobody records. The file may be read-only.
    Shared,
}

/// What was issued and revoked, on the disk. The lock is held until it is dropped.
#[derive(Debug)]
pub struct Store {
    file: File,
    path: PathBuf,
    /// Where the next line goes: the end of the last whole one.
    end: u64,
    torn: bool,
    trust_domain: TrustDomain,
    issued: Vec<IssuedCertificate>,
    by_serial: HashMap<SerialNumber, usize>,
    revocations: HashMap<SerialNumber, Revocation>,
    crls: BTreeMap<Tier, CrlRecord>,
}

impl Store {
    /// Makes an empty store in a file that must not exist.
    pub fn create(path: &Path, trust_domain: &TrustDomain, at: Timestamp) -> Result<Self, CaError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(io_error("create", path))?;
        file.lock().map_err(io_error("lock", path))?;
        let mut store = Self::empty(file, path, trust_domain.clone());
        store.append(&Event::Created(Created { version: VERSION, trust_domain: trust_domain.clone(), at }))?;
        Ok(store)
    }

    /// Opens a store, waiting for its lock.
    ///
    /// # Errors
    /// A missing file, or a line that is unreadable or contradicts an earlier one. A torn last line is dropped instead, see
    /// [`Store::was_torn`].
    pub fn open(path: &Path, access: Access) -> Result<Self, CaError> {
        let exclusive = access == Access::Exclusive;
        let mut file = match OpenOptions::new().read(true).write(exclusive).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(CaError::LedgerMissing { path: path.to_owned() });
            }
            opened => opened.map_err(io_error("open", path))?,
        };
        if exclusive { file.lock() } else { file.lock_shared() }.map_err(io_error("lock", path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io_error("read", path))?;
        let lines = ledger::parse(path, &bytes)?;

        let mut events = lines.events.into_iter();
        let corrupt = |line, reason| CaError::LedgerCorrupt { path: path.to_owned(), line, reason };
        let created = match events.next() {
            Some(Event::Created(created)) if created.version == VERSION => created,
            Some(Event::Created(created)) => {
                return Err(corrupt(1, format!("version {} of the ledger, expected {VERSION}", created.version)));
            }
            _ => return Err(corrupt(1, "expected the event \"created\"".to_owned())),
        };
        let mut store = Self::empty(file, path, created.trust_domain);
        for (index, event) in events.enumerate() {
            if let Some(reason) = store.contradiction(&event) {
                return Err(corrupt(index + 2, reason));
            }
            store.remember(event);
        }
        store.end = lines.whole_bytes as u64;
        store.torn = lines.whole_bytes < bytes.len();
        if exclusive {
            store.mend(lines.lacks_line_feed)?;
        }
        Ok(store)
    }

    /// True where the last line was found torn by a crash and dropped. It was never acknowledged.
    pub fn was_torn(&self) -> bool {
        self.torn
    }

    /// The trust domain that the authority issues for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Every certificate, in the order of issuance.
    pub fn issued(&self) -> &[IssuedCertificate] {
        &self.issued
    }

    /// The certificate with the given serial number.
    pub fn find(&self, serial: &SerialNumber) -> Option<&IssuedCertificate> {
        self.by_serial.get(serial).map(|index| &self.issued[*index])
    }

    /// Since when and why a certificate is revoked, where it is.
    pub fn revocation(&self, serial: &SerialNumber) -> Option<Revocation> {
        self.revocations.get(serial).copied()
    }

    /// The last CRL of an issuer.
    pub fn last_crl(&self, issuer: Tier) -> Option<CrlRecord> {
        self.crls.get(&issuer).copied()
    }

    /// A serial number that is not in use: 17 octets, of which 128 bits and more are from the system's random source.
    pub fn unused_serial(&self) -> Result<SerialNumber, CaError> {
        loop {
            let mut octets = [0; 17];
            getrandom::fill(&mut octets).map_err(|reason| CaError::Random { reason })?;
            // Positive (RFC 5280 section 4.1.2.2), and of one length for all.
            octets[0] = octets[0] & 0x3f | 0x40;
            let serial = SerialNumber::from_der_content(&octets);
            if self.find(&serial).is_none() {
                return Ok(serial);
            }
        }
    }

    /// Records a certificate. Once this returns, its serial number is used up for good.
    pub fn record_issued(&mut self, certificate: IssuedCertificate) -> Result<(), CaError> {
        self.record(Event::Issued(certificate))
    }

    /// Records a revocation of a certificate that is known and not revoked.
    pub fn record_revoked(&mut self, serial: &SerialNumber, revocation: Revocation) -> Result<(), CaError> {
        let Revocation { at, reason } = revocation;
        self.record(Event::Revoked(Revoked { serial: serial.clone(), at, reason }))
    }

    /// Records a CRL, which thereby has the issuer's highest number.
    pub fn record_crl(&mut self, crl: CrlRecord) -> Result<(), CaError> {
        self.record(Event::Crl(crl))
    }

    /// Names the file anew after its folder was renamed.
    pub(super) fn moved_to(&mut self, path: PathBuf) {
        self.path = path;
    }

    fn empty(file: File, path: &Path, trust_domain: TrustDomain) -> Self {
        Self {
            file,
            path: path.to_owned(),
            end: 0,
            torn: false,
            trust_domain,
            issued: Vec::new(),
            by_serial: HashMap::new(),
            revocations: HashMap::new(),
            crls: BTreeMap::new(),
        }
    }

    /// Writes an event that contradicts nothing known to the disk, and only then into the memory.
    fn record(&mut self, event: Event) -> Result<(), CaError> {
        if let Some(reason) = self.contradiction(&event) {
            return Err(CaError::unusable(&self.path, format!("not recorded: {reason}")));
        }
        self.append(&event)?;
        self.remember(event);
        Ok(())
    }

    /// What in an event cannot be true after those before it.
    fn contradiction(&self, event: &Event) -> Option<String> {
        match event {
            Event::Created(_) => Some("a second event \"created\"".to_owned()),
            Event::Issued(IssuedCertificate { serial, .. }) => {
                self.find(serial).map(|_| format!("serial {serial} was issued before"))
            }
            Event::Revoked(Revoked { serial, .. }) => match (self.find(serial), self.revocation(serial)) {
                (None, _) => Some(format!("serial {serial} is revoked but was not issued")),
                (Some(_), Some(_)) => Some(format!("serial {serial} was revoked before")),
                (Some(_), None) => None,
            },
            Event::Crl(crl) => self
                .last_crl(crl.issuer)
                .filter(|earlier| earlier.number >= crl.number)
                .map(|earlier| format!("CRL number {} follows {}", crl.number, earlier.number)),
        }
    }

    fn remember(&mut self, event: Event) {
        match event {
            Event::Created(_) => {}
            Event::Issued(certificate) => {
                self.by_serial.insert(certificate.serial.clone(), self.issued.len());
                self.issued.push(certificate);
            }
            Event::Revoked(Revoked { serial, at, reason }) => {
                self.revocations.insert(serial, Revocation { at, reason });
            }
            Event::Crl(crl) => {
                self.crls.insert(crl.issuer, crl);
            }
        }
    }

    fn append(&mut self, event: &Event) -> Result<(), CaError> {
        self.append_line(&event.to_line())
    }

    fn append_line(&mut self, line: &[u8]) -> Result<(), CaError> {
        let appended = self
            .file
            .seek(SeekFrom::Start(self.end))
            .and_then(|_| self.file.write_all(line))
            .and_then(|()| self.file.sync_data());
        if let Err(error) = appended {
            // Half a line in the middle would spoil the ledger. If this fails too, the next to open finds it torn.
            let _ = self.file.set_len(self.end);
            return Err(io_error("write", &self.path)(error));
        }
        self.end += line.len() as u64;
        Ok(())
    }

    /// Brings the file to the end of its last whole line.
    fn mend(&mut self, lacks_line_feed: bool) -> Result<(), CaError> {
        if self.torn {
            self.file.set_len(self.end).and_then(|()| self.file.sync_all()).map_err(io_error("mend", &self.path))?;
        }
        if lacks_line_feed { self.append_line(b"\n") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{CertificateKind, RevocationReason};

    fn certificate(serial: &SerialNumber) -> IssuedCertificate {
        IssuedCertificate {
            serial: serial.clone(),
            kind: CertificateKind::EndEntity,
            issuer: Tier::Root,
            name: "ads".to_owned(),
            spiffe: "spiffe://test.internal/ads".parse().expect("valid"),
            dns: vec!["ads.internal".to_owned()],
            ip: vec!["::1".parse().expect("valid")],
            not_before: Timestamp::now(),
            not_after: Timestamp::now(),
            sha256: "00".to_owned(),
        }
    }

    fn store_with_one() -> (tempfile::TempDir, PathBuf, SerialNumber) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.jsonl");
        let domain = "test.internal".parse().expect("valid");
        let mut store = Store::create(&path, &domain, Timestamp::now()).expect("created");
        let serial = store.unused_serial().expect("random");
        store.record_issued(certificate(&serial)).expect("recorded");
        (folder, path, serial)
    }

    fn append(path: &Path, text: &str) {
        OpenOptions::new()
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("appended");
    }

    #[test]
    fn what_was_recorded_is_there_after_reopening() {
        let (_folder, path, serial) = store_with_one();
        let revocation = Revocation { at: Timestamp::now(), reason: RevocationReason::KeyCompromise };
        let crl =
            CrlRecord { issuer: Tier::Root, number: 7, this_update: Timestamp::now(), next_update: Timestamp::now() };
        {
            let mut store = Store::open(&path, Access::Exclusive).expect("open");
            store.record_revoked(&serial, revocation).expect("recorded");
            store.record_crl(crl).expect("recorded");
        }
        let store = Store::open(&path, Access::Shared).expect("open");
        assert_eq!(store.find(&serial).map(|found| &*found.name), Some("ads"));
        assert_eq!(store.revocation(&serial), Some(revocation));
        assert_eq!((store.last_crl(Tier::Root), store.last_crl(Tier::Intermediate)), (Some(crl), None));
    }

    #[test]
    fn contradictions_are_not_recorded_and_not_read() {
        let (_folder, path, serial) = store_with_one();
        let mut store = Store::open(&path, Access::Exclusive).expect("open");
        let before = std::fs::read(&path).expect("readable");
        assert!(store.record_issued(certificate(&serial)).is_err(), "a serial number twice");
        assert_eq!(std::fs::read(&path).expect("readable"), before);
        drop(store);

        let line = String::from_utf8(Event::Issued(certificate(&serial)).to_line()).expect("JSON");
        append(&path, &line);
        let refusal = Store::open(&path, Access::Exclusive).expect_err("a serial number twice").to_string();
        assert!(refusal.contains("line 3 is corrupt") && refusal.contains("was issued before"), "{refusal}");
    }

    #[test]
    fn a_last_line_torn_at_any_byte_is_dropped_and_all_before_it_kept() {
        let (_folder, path, serial) = store_with_one();
        let whole = std::fs::read(&path).expect("readable");
        let next = SerialNumber::from_der_content(&[1]);
        let line = Event::Issued(certificate(&next)).to_line();
        for kept in 1..line.len() - 1 {
            std::fs::write(&path, [&whole, &line[..kept]].concat()).expect("written");
            let store = Store::open(&path, Access::Exclusive).expect("a torn line is no error");
            assert!(store.was_torn());
            assert!(store.find(&serial).is_some() && store.find(&next).is_none());
            drop(store);
            assert_eq!(std::fs::read(&path).expect("readable"), whole, "cut after {kept} bytes");
        }
        // Complete but for the line feed: kept, since a number too many used up harms nobody.
        std::fs::write(&path, [&whole, &line[..line.len() - 1]].concat()).expect("written");
        assert!(Store::open(&path, Access::Exclusive).expect("open").find(&next).is_some());
        assert_eq!(std::fs::read(&path).expect("readable"), [whole, line].concat());
    }

    #[test]
    fn an_unreadable_line_before_the_last_stops_everything() {
        let (_folder, path, _serial) = store_with_one();
        append(&path, "{\"event\":\"iss\n{\"event\":\"x\"}\n");
        for access in [Access::Exclusive, Access::Shared] {
            let refusal = Store::open(&path, access).expect_err("corrupt").to_string();
            assert!(refusal.contains("ledger.jsonl: line 3 is corrupt"), "{refusal}");
        }
    }
}
