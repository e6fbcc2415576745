//! Bringing what is on record over from where it was kept before: the ledger of an earlier mantlet, or another database.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use sqlx::{AnyConnection, Row as _};

use crate::ca::error::io_error;
use crate::ca::ledger::{self, Event};
use crate::ca::{CaError, CertificateRecord, CrlRecord, IssuerId, Revocation, StoredCrl, Timestamp};
use crate::durable::sync_folder;
use crate::x509::SerialNumber;

use super::change::{insert_record, upsert_crl};
use super::{Store, StorePlace};

const LEDGER_VERSION: u32 = 1;
/// Every table but the schema's version, and the order in which they are copied.
const TABLES: [(&str, &[&str]); 9] = [
    ("settings", &["name", "value"]),
    ("issuers", &["issuer", "der"]),
    (
        "certificates",
        &[
            "serial",
            "position",
            "kind",
            "issuer",
            "name",
            "spiffe",
            "dns",
            "ip",
            "not_before",
            "not_after",
            "sha256",
            "revoked_at",
            "revoked_reason",
            "revoked_version",
        ],
    ),
    ("crls", &["issuer", "number", "this_update", "next_update", "entries", "version", "der"]),
    (
        "delta_crls",
        &["issuer", "number", "base_number", "base_version", "this_update", "next_update", "entries", "version", "der"],
    ),
    ("entities", &["name", "spiffe", "dns", "ip", "purpose", "max_ttl", "expires", "state", "created", "version"]),
    ("secrets", &["sha256", "name", "created", "expires", "used_at"]),
    ("log", &["entry", "at", "actor", "action", "subject", "detail", "sha256"]),
    (
        "state",
        &[
            "id",
            "trust_domain",
            "created",
            "version",
            "revoked_version",
            "crls_version",
            "anchors_version",
            "entities_version",
            "oldest_generation",
            "issuing_generation",
            "newest_generation",
            "log_entries",
            "log_head",
        ],
    ),
];

/// What a ledger says, without contradiction.
struct Ledger {
    trust_domain: crate::identity::TrustDomain,
    created: Timestamp,
    records: Vec<CertificateRecord>,
    crls: HashMap<IssuerId, CrlRecord>,
    torn: bool,
}

impl Store {
    /// Makes the database of an authority whose store is still a ledger, and puts the ledger aside. Does nothing where there is
    /// a database, or no ledger. True where the ledger's last line was torn by a crash and dropped.
    ///
    /// The database appears under its name once it is whole, so that a crash loses nothing: the next call begins again.
    pub(in crate::ca) async fn take_over_ledger(
        ledger: &Path,
        database: &Path,
        issuers: &[(IssuerId, Vec<u8>)],
        root_crl: Option<(IssuerId, Vec<u8>)>,
    ) -> Result<bool, CaError> {
        let Ok(file) = File::options().read(true).write(true).open(ledger) else { return Ok(false) };
        file.lock().map_err(io_error("lock", ledger))?;
        let aside = ledger.with_extension("jsonl.imported");
        if database.exists() {
            // Another process has done it, or a crash came between the two names.
            return match fs::rename(ledger, &aside) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("rename", ledger)(error)),
                _ => Ok(false),
            };
        }
        let read = read_ledger(&file, ledger)?;
        let building = database.with_extension("db.new");
        for leftover in ["", "-wal", "-shm"] {
            let mut name = building.clone().into_os_string();
            name.push(leftover);
            match fs::remove_file(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io_error("replace", &building)(error));
                }
                _ => {}
            }
        }
        let place = StorePlace::Sqlite(building.clone());
        let store = Self::create(place, &read.trust_domain, read.created).await?;
        let filled = store.fill(&read, issuers, root_crl).await;
        store.close().await;
        filled?;
        File::open(&building).and_then(|file| file.sync_all()).map_err(io_error("sync", &building))?;
        fs::rename(&building, database).map_err(io_error("make", database))?;
        fs::rename(ledger, &aside).map_err(io_error("rename", ledger))?;
        sync_folder(ledger.parent().unwrap_or(Path::new(".")))?;
        Ok(read.torn)
    }

    async fn fill(
        &self,
        ledger: &Ledger,
        issuers: &[(IssuerId, Vec<u8>)],
        root_crl: Option<(IssuerId, Vec<u8>)>,
    ) -> Result<(), CaError> {
        let mut change = self.begin().await?;
        for (issuer, der) in issuers {
            change.record_issuer(*issuer, der).await?;
        }
        let failed = change.read_fault();
        let connection = change.connection();
        let written = async {
            for (record, position) in ledger.records.iter().zip(1..) {
                insert_record(connection, record, position).await?;
            }
            for record in ledger.crls.values() {
                let kept = root_crl.as_ref().filter(|(issuer, _)| *issuer == record.issuer);
                let der = kept.map(|(_, der)| der.clone()).unwrap_or_default();
                // Version 0: signed before the store could say what it lacks, so that the next one is due.
                upsert_crl(connection, &StoredCrl { record: *record, entries: 0, der }, 0).await?;
            }
            let position = i64::try_from(ledger.records.len()).unwrap_or(i64::MAX);
            sqlx::query("UPDATE state SET version = $1 WHERE id = 1").bind(position).execute(connection).await
        };
        written.await.map_err(failed)?;
        change.commit().await.map(drop)
    }

    /// Copies everything into a database that is empty, in one transaction.
    ///
    /// # Errors
    /// [`CaError::StoreTaken`] where it holds something already.
    pub(in crate::ca) async fn copy_to(&self, place: StorePlace) -> Result<(), CaError> {
        let target = Self::without_state(place).await?;
        // A writer here waits until the copy is whole and then finds the note that the store has moved.
        let mut from = self.begin().await?;
        let mut transaction = target.begin_transaction().await?;
        let taken = sqlx::query("SELECT COUNT(*) AS taken FROM state").fetch_one(&mut *transaction).await;
        let taken: i64 = taken.and_then(|row| row.try_get("taken")).map_err(target.fault("read"))?;
        if taken > 0 {
            return Err(CaError::StoreTaken { place: target.place.to_string() });
        }
        for (table, columns) in TABLES {
            copy(from.connection(), &mut transaction, table, columns).await.map_err(target.fault("copy to"))?;
        }
        transaction.commit().await.map_err(target.fault("commit to"))?;
        target.close().await;
        // Whoever still writes here from now on finds no state and is told.
        let emptied = sqlx::query("DELETE FROM state").execute(from.connection()).await.map(drop);
        emptied.map_err(self.fault("write to"))?;
        from.commit().await.map(drop)
    }

    /// Whether a database that can be reached is in use.
    pub(in crate::ca) async fn is_in_use(place: StorePlace) -> Result<bool, CaError> {
        let store = Self::without_state(place).await?;
        let row = sqlx::query("SELECT COUNT(*) AS taken FROM state").fetch_one(&mut *store.connection().await?).await;
        let taken: i64 = row.and_then(|row| row.try_get("taken")).map_err(store.fault("read"))?;
        store.close().await;
        Ok(taken > 0)
    }
}

/// Rows of one table, a page at a time by their order, so that a million of them take no memory.
async fn copy(
    from: &mut AnyConnection,
    to: &mut AnyConnection,
    table: &'static str,
    columns: &[&'static str],
) -> sqlx::Result<()> {
    const PAGE: i64 = 1000;
    let list = columns.join(", ");
    let places: Vec<String> = (1..=columns.len()).map(|place| format!("${place}")).collect();
    // Every table's first column is its primary key.
    let select = format!("SELECT {list} FROM {table} ORDER BY {} LIMIT $1 OFFSET $2", columns[0]);
    let insert = format!("INSERT INTO {table} ({list}) VALUES ({})", places.join(", "));
    for page in 0.. {
        let query = sqlx::query(sqlx::AssertSqlSafe(select.clone())).bind(PAGE).bind(page * PAGE);
        let rows = query.fetch_all(&mut *from).await?;
        for row in &rows {
            let mut query = sqlx::query(sqlx::AssertSqlSafe(insert.clone()));
            for column in columns {
                query = match row.try_get::<Option<i64>, _>(*column) {
                    Ok(number) if is_number(column) => query.bind(number),
                    _ => query.bind(row.try_get::<Option<String>, _>(*column)?),
                };
            }
            query.execute(&mut *to).await?;
        }
        if rows.len() < usize::try_from(PAGE).unwrap_or(0) {
            break;
        }
    }
    Ok(())
}

fn is_number(column: &str) -> bool {
    const NUMBERS: [&str; 26] = [
        "id",
        "position",
        "not_before",
        "not_after",
        "revoked_at",
        "number",
        "base_number",
        "base_version",
        "this_update",
        "next_update",
        "entries",
        "version",
        "max_ttl",
        "expires",
        "created",
        "used_at",
        "entry",
        "at",
        "revoked_version",
        "crls_version",
        "anchors_version",
        "entities_version",
        "oldest_generation",
        "issuing_generation",
        "newest_generation",
        "log_entries",
    ];
    NUMBERS.contains(&column)
}

fn read_ledger(mut file: &File, path: &Path) -> Result<Ledger, CaError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io_error("read", path))?;
    let lines = ledger::parse(path, &bytes)?;
    let corrupt = |line, reason| CaError::LedgerCorrupt { path: path.to_owned(), line, reason };
    let mut events = lines.events.into_iter();
    let created = match events.next() {
        Some(Event::Created(created)) if created.version == LEDGER_VERSION => created,
        Some(Event::Created(created)) => {
            return Err(corrupt(1, format!("version {} of the ledger, expected {LEDGER_VERSION}", created.version)));
        }
        _ => return Err(corrupt(1, "expected the event \"created\"".to_owned())),
    };
    let mut read = Ledger {
        trust_domain: created.trust_domain,
        created: created.at,
        records: Vec::new(),
        crls: HashMap::new(),
        torn: lines.whole_bytes < bytes.len(),
    };
    let (mut by_serial, mut digests) = (HashMap::<SerialNumber, usize>::new(), HashSet::new());
    for (event, line) in events.zip(2..) {
        match event {
            Event::Created(_) => return Err(corrupt(line, "a second event \"created\"".to_owned())),
            Event::Issued(certificate) => {
                let serial = certificate.serial.clone();
                if by_serial.insert(serial.clone(), read.records.len()).is_some() {
                    return Err(corrupt(line, format!("serial {serial} was issued before")));
                }
                if !digests.insert(certificate.sha256.clone()) {
                    return Err(corrupt(line, format!("the certificate of serial {serial} was issued before")));
                }
                read.records.push(CertificateRecord { certificate, revocation: None });
            }
            Event::Revoked(revoked) => {
                let serial = &revoked.serial;
                let Some(index) = by_serial.get(serial) else {
                    return Err(corrupt(line, format!("serial {serial} is revoked but was not issued")));
                };
                let revocation = Revocation { at: revoked.at, reason: revoked.reason };
                if read.records[*index].revocation.replace(revocation).is_some() {
                    return Err(corrupt(line, format!("serial {serial} was revoked before")));
                }
            }
            Event::Crl(crl) => {
                let ledger::Crl { issuer, number, this_update, next_update } = crl;
                let record = CrlRecord { issuer, number, base_number: None, this_update, next_update };
                if let Some(earlier) = read.crls.insert(issuer, record).filter(|earlier| earlier.number >= number) {
                    return Err(corrupt(line, format!("CRL number {number} follows {}", earlier.number)));
                }
            }
        }
    }
    Ok(read)
}
