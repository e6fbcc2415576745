//! The store: the one writer of what was issued, revoked and registered.
//!
//! It is a database: `SQLite` in a file of the authority's folder, or `PostgreSQL`, which several replicas share. Every writer, of
//! whatever process, begins with the one row of `state` and so waits for those before it; what [`Change::commit`] has returned
//! from is on the disk. Deciding what is recorded is left to the rest of `ca`.

mod change;
mod fault;
mod import;
mod query;
mod schema;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::{Mutex, watch};
use url::Url;

use crate::config::PostgresUrl;
use crate::identity::TrustDomain;
use crate::x509::SerialNumber;

use super::{CaError, Timestamp};

pub(super) use change::{Change, Entry, digest_of_entry};
pub use query::{CertificateFilter, LogEntry, SecretRecord, StoreFigures, StoreState};
pub(super) use query::{
    DeltaBase, certificate, certificate_by_digest, certificates, complete_record, crl, crls, delta_record, entities,
    entity, figures, issuers, latest_valid, log_entries, revoked_by, revoked_since, secrets_of, setting,
    valid_of_generation,
};

/// How long a connection, or another writer, is waited for before the store counts as away.
const PATIENCE: Duration = Duration::from_secs(10);
const SQLITE_CONNECTIONS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 8;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// A `SQLite` database in this file.
    Sqlite(PathBuf),
    /// A `PostgreSQL` database.
    Postgres(PostgresUrl),
}

/// What was issued, revoked and registered, on the disk.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    place: StorePlace,
    trust_domain: TrustDomain,
    /// Held by the writer of this process, so that others wait in line and not by looking again and again.
    writers: Arc<Mutex<()>>,
    /// The version of the last change that this process made.
    changed: Arc<watch::Sender<i64>>,
}

impl Store {
    /// Makes the store of a new authority. A file must not exist.
    pub async fn create(place: StorePlace, trust_domain: &TrustDomain, now: Timestamp) -> Result<Self, CaError> {
        if let StorePlace::Sqlite(path) = &place {
            create_private(path)?;
        }
        let pool = connect(&place).await?;
        let store = Self::over(pool, place, trust_domain.clone());
        store.migrate().await?;
        store.record_created(trust_domain, now).await?;
        Ok(store)
    }

    /// Opens a store that was made, and brings its tables up to date.
    ///
    /// # Errors
    /// A missing file, a corrupt one, or a database of a newer mantlet.
    pub async fn open(place: StorePlace) -> Result<Self, CaError> {
        if let Some(path) = place.file().filter(|path| !path.exists()) {
            return Err(CaError::StoreMissing { path: path.to_owned() });
        }
        let mut store = Self::without_state(place).await?;
        let state = store.state().await?;
        store.trust_domain = state.trust_domain;
        Ok(store)
    }

    /// The trust domain that the authority issues for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Where it is.
    pub fn place(&self) -> &StorePlace {
        &self.place
    }

    /// Tells of each change that this process makes, by the version of the state.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.changed.subscribe()
    }

    /// The counters of the store.
    pub async fn state(&self) -> Result<StoreState, CaError> {
        query::state(&mut *self.connection().await?).await.map_err(self.fault("read"))
    }

    /// Looks through the whole database for damage.
    ///
    /// # Errors
    /// [`CaError::StoreCorrupt`] with what was found first.
    pub async fn examine(&self) -> Result<(), CaError> {
        if matches!(self.place, StorePlace::Postgres(_)) {
            return Ok(());
        }
        let rows = sqlx::query("PRAGMA quick_check(1)")
            .fetch_all(&mut *self.connection().await?)
            .await
            .map_err(self.fault("examine"))?;
        let found: Vec<String> = rows.iter().filter_map(|row| sqlx::Row::try_get(row, 0).ok()).collect();
        if found == ["ok"] {
            return Ok(());
        }
        Err(CaError::StoreCorrupt { place: self.place.to_string(), reason: found.join("; ") })
    }

    /// Begins a change, once the writers before are done.
    pub(super) async fn begin(&self) -> Result<Change, CaError> {
        Change::begin(self).await
    }

    /// Closes every connection. A `SQLite` database is then one file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A serial number: 17 octets, of which 128 bits and more are from the system's random source. That no certificate has it
    /// already is left to the database, which refuses the record of a second one.
    pub fn random_serial() -> Result<SerialNumber, CaError> {
        let mut octets = [0; 17];
        getrandom::fill(&mut octets).map_err(|reason| CaError::Random { reason })?;
        // Positive (RFC 5280 section 4.1.2.2), and of one length for all.
        octets[0] = octets[0] & 0x3f | 0x40;
        Ok(SerialNumber::from_der_content(&octets))
    }

    pub(super) async fn connection(&self) -> Result<PoolConnection<Any>, CaError> {
        self.pool.acquire().await.map_err(self.fault("reach"))
    }

    /// For `map_err`: what was tried.
    pub(super) fn fault(&self, action: &'static str) -> impl FnOnce(sqlx::Error) -> CaError + use<> {
        let place = self.place.to_string();
        move |error| fault::of(action, place, error)
    }

    /// Names the file anew after its folder was renamed.
    pub(super) async fn moved_to(&mut self, path: PathBuf) -> Result<(), CaError> {
        self.pool.close().await;
        self.place = StorePlace::Sqlite(path);
        self.pool = connect(&self.place).await?;
        Ok(())
    }

    /// A store whose tables are there and of which nothing was read yet.
    async fn without_state(place: StorePlace) -> Result<Self, CaError> {
        let pool = connect(&place).await?;
        // Replaced by what the database says before anyone sees it.
        let store = Self::over(pool, place, "unknown".parse().expect("a trust domain"));
        store.migrate().await?;
        Ok(store)
    }

    fn over(pool: AnyPool, place: StorePlace, trust_domain: TrustDomain) -> Self {
        Self { pool, place, trust_domain, writers: Arc::default(), changed: Arc::new(watch::Sender::new(0)) }
    }

    async fn migrate(&self) -> Result<(), CaError> {
        let mut connection = self.connection().await?;
        let found = query::schema_version(&mut connection).await;
        if matches!(found, Ok(version) if version == schema::MIGRATIONS.len()) {
            return Ok(());
        }
        drop(connection);
        let mut transaction = self.begin_transaction().await?;
        let outcome = migrate(&mut transaction, matches!(self.place, StorePlace::Postgres(_))).await;
        let version = outcome.map_err(self.fault("set up"))?;
        if version > schema::MIGRATIONS.len() {
            let (place, known) = (self.place.to_string(), schema::MIGRATIONS.len());
            return Err(CaError::StoreNewer { place, version, known });
        }
        transaction.commit().await.map_err(self.fault("set up"))
    }

    async fn begin_transaction(&self) -> Result<sqlx::Transaction<'static, Any>, CaError> {
        let begun = match &self.place {
            StorePlace::Sqlite(_) => self.pool.begin_with("BEGIN IMMEDIATE").await,
            StorePlace::Postgres(_) => self.pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await,
        };
        begun.map_err(self.fault("write to"))
    }

    async fn record_created(&self, trust_domain: &TrustDomain, now: Timestamp) -> Result<(), CaError> {
        let inserted = sqlx::query(
            "INSERT INTO state (id, trust_domain, created, version, revoked_version, crls_version, anchors_version, \
             entities_version, oldest_generation, issuing_generation, newest_generation, log_entries, log_head) \
             VALUES (1, $1, $2, 0, 0, 0, 0, 0, 1, 1, 1, 0, '')",
        )
        .bind(trust_domain.as_str())
        .bind(now.to_unix())
        .execute(&mut *self.connection().await?)
        .await;
        inserted.map(drop).map_err(self.fault("set up"))
    }
}

/// Carries out the migrations that are missing, and gives the version that the schema had or has now.
async fn migrate(connection: &mut AnyConnection, is_postgres: bool) -> sqlx::Result<usize> {
    if is_postgres {
        // Two replicas that start at once: the second waits for the tables of the first.
        connection.execute("SELECT pg_advisory_xact_lock(7021796631)").await?;
    }
    connection.execute(schema::VERSION_TABLE).await?;
    let found = query::schema_version(connection).await?;
    for statement in schema::MIGRATIONS.iter().skip(found).copied().flatten() {
        connection.execute(*statement).await?;
    }
    if found < schema::MIGRATIONS.len() {
        let version = i64::try_from(schema::MIGRATIONS.len()).expect("few migrations");
        sqlx::query("DELETE FROM schema_version").execute(&mut *connection).await?;
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)").bind(version).execute(connection).await?;
    }
    Ok(found.max(schema::MIGRATIONS.len()))
}

async fn connect(place: &StorePlace) -> Result<AnyPool, CaError> {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(sqlx::any::install_default_drivers);
    let (url, connections, settings) = match place {
        StorePlace::Sqlite(path) => {
            let absolute = std::path::absolute(path).map_err(super::error::io_error("find", path))?;
            let mut url = Url::from_file_path(&absolute)
                .map_err(|()| CaError::unusable(path, "no path that a database can have"))?;
            url.set_query(Some("mode=rw"));
            // The driver knows its addresses by this scheme.
            let url = url.as_str().replacen("file:", "sqlite:", 1);
            // WAL lets readers go on beside a writer; FULL has each commit on the disk before it returns.
            let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000";
            (url, SQLITE_CONNECTIONS, settings)
        }
        // A replica that hangs must not keep the others waiting for ever.
        StorePlace::Postgres(url) => (
            url.reveal().to_owned(),
            POSTGRES_CONNECTIONS,
            "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '10s'; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        ),
    };
    let failed = |error| fault::of("open", place.to_string(), error);
    let options: AnyConnectOptions = url.parse().map_err(failed)?;
    // The pool would try again and again and then say that it took too long; what is wrong is said at once.
    let mut first = options.connect().await.map_err(failed)?;
    first.execute(settings).await.map_err(failed)?;
    first.close().await.map_err(failed)?;
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .after_connect(move |connection, _| Box::pin(async move { connection.execute(settings).await.map(drop) }))
        .connect_with(options)
        .await
        .map_err(failed)
}

/// The file, empty and its owner's alone; the database's other files take its mode.
fn create_private(path: &Path) -> Result<(), CaError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop).map_err(super::error::io_error("create", path))
}

impl StorePlace {
    fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}
