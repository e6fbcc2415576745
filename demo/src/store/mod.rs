//! What the services keep in their databases: the ads, and the users who sell them.
//!
//! Each service owns one database, named by a URL: `postgres://...` or `sqlite:...`. The pool is sqlx's `Any`, and the
//! SQL is what both have in common, so that nothing but the URL decides.

mod ads;
#[cfg(test)]
mod postgres;
mod users;

use std::time::Duration;

use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AnyConnection, AnyPool, Connection as _, Executor as _};
use tokio::time::{Instant, sleep, timeout};

pub(crate) use self::ads::{AdRow, AdStore, NewAd};
pub(crate) use self::users::{UserPreviewRow, UserStore};

const CONNECTIONS: u32 = 8;
/// How long a request waits for a connection of the pool.
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(3);
/// How long the database works on one statement, or waits for the lock of another writer, before it gives up by itself.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(3);
/// How long a request waits for the database as a whole, also for one that has gone silent.
const DEADLINE: Duration = Duration::from_secs(8);
/// The pauses between the attempts to reach a database at the start: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Why the database has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database said why.
    #[error("the database refuses")]
    Database(#[from] sqlx::Error),
    /// It said nothing in time.
    #[error("the database does not answer within {} s", DEADLINE.as_secs())]
    Silent,
}

/// Why a service cannot work with its database at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// No attempt succeeded.
    #[error("the database is not reached after {attempts} attempts in {} s", waited.as_secs())]
    Unreachable {
        /// How often it was tried.
        attempts: u32,
        /// For how long.
        waited: Duration,
        /// Why the last attempt failed.
        #[source]
        cause: sqlx::Error,
    },
    /// To try again would not help.
    #[error("the database cannot be used; look at DATABASE_URL")]
    Unusable(#[source] sqlx::Error),
    /// Its tables are not those of this version.
    #[error("the tables of the database cannot be brought up to date")]
    Migration(#[from] MigrateError),
}

/// Where a database is, and how it is dealt with.
#[derive(Debug, clap::Args)]
pub(crate) struct DatabaseArgs {
    /// The database, such as <postgres://user:password@host/name> or <sqlite:market.db?mode=rwc>
    #[arg(long = "database", env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    url: String,
    /// For how long a database that is not up yet is waited for at the start
    #[arg(long = "database-patience", env = "DATABASE_PATIENCE", default_value = "60s", value_name = "TIME")]
    patience: humantime::Duration,
    /// For how long a connection is used before another takes its place, between two requests
    #[arg(long = "database-max-lifetime", env = "DATABASE_MAX_LIFETIME", default_value = "30m", value_name = "TIME")]
    max_lifetime: humantime::Duration,
}

/// Opens a database and brings its tables up to date. One that is not up yet is tried again for its `patience`.
async fn open(database: &DatabaseArgs, migrations: &Migrator) -> Result<AnyPool, OpenError> {
    install_default_drivers();
    let (url, patience) = (&*database.url, *database.patience);
    let options = AnyPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE_DEADLINE)
        .max_lifetime(*database.max_lifetime)
        .after_connect(|connection, _| Box::pin(bound_statements(connection)));
    let begun = Instant::now();
    let (mut pause, longest) = BACKOFF;
    let mut attempts = 1;
    let pool = loop {
        let cause = match options.clone().connect(url).await {
            Ok(pool) => break pool,
            Err(cause) if is_lasting(&cause) => return Err(OpenError::Unusable(cause)),
            Err(cause) => cause,
        };
        let waited = begun.elapsed();
        if waited + pause > patience {
            return Err(OpenError::Unreachable { attempts, waited, cause });
        }
        eprintln!("the database is not reached, next attempt in {pause:?}: {cause}");
        sleep(pause).await;
        pause = (pause * 2).min(longest);
        attempts += 1;
    };
    migrations.run(&pool).await?;
    Ok(pool)
}

/// Makes a new connection give up by itself what takes too long.
async fn bound_statements(connection: &mut AnyConnection) -> sqlx::Result<()> {
    let milliseconds = STATEMENT_DEADLINE.as_millis();
    let setting = match connection.backend_name() {
        "PostgreSQL" => format!("SET statement_timeout = {milliseconds}"),
        _ => format!("PRAGMA busy_timeout = {milliseconds}"),
    };
    connection.execute(sqlx::AssertSqlSafe(setting)).await.map(drop)
}

/// Whether the next attempt would fail for the same reason: a URL that is none, a wrong password, no such database.
fn is_lasting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Configuration(_) => true,
        // PostgreSQL: class 28 is a refused login, 3D000 a database that is not there.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("28") || code == "3D000"),
        _ => false,
    }
}

/// What `work` brings, unless the database is silent for too long.
async fn bounded<T>(work: impl Future<Output = sqlx::Result<T>>) -> Result<T, StoreError> {
    Ok(timeout(DEADLINE, work).await.map_err(|_| StoreError::Silent)??)
}

/// Whether the database answers.
async fn ping(pool: &AnyPool) -> Result<(), StoreError> {
    bounded(async { pool.acquire().await?.ping().await }).await
}

#[cfg(test)]
impl DatabaseArgs {
    pub(super) fn at(url: &str, patience: Duration) -> Self {
        let max_lifetime = Duration::from_secs(1800).into();
        Self { url: url.to_owned(), patience: patience.into(), max_lifetime }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::postgres::Postgres;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    static NOTHING: Migrator = Migrator::DEFAULT;

    fn at(url: &str) -> DatabaseArgs {
        DatabaseArgs::at(url, PATIENCE)
    }

    #[tokio::test]
    async fn a_database_that_comes_up_late_is_waited_for() {
        let mut late = Postgres::prepare();
        let url = late.url();
        let opening = tokio::spawn(async move { open(&at(&url), &NOTHING).await });
        // The first attempt is made before the server is there, since nobody listens at its socket yet.
        tokio::task::yield_now().await;
        late.start();
        let pool = opening.await.unwrap().unwrap();
        ping(&pool).await.unwrap();
    }

    #[tokio::test]
    async fn a_database_that_never_comes_up_is_given_up_with_the_last_reason() {
        let never = Postgres::prepare();
        let error = open(&DatabaseArgs::at(&never.url(), Duration::from_millis(250)), &NOTHING).await.unwrap_err();
        assert!(error.to_string().starts_with("the database is not reached after 2 attempts in 0 s"), "{error}");
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("No such file"), "{error:?}");
    }

    #[tokio::test]
    async fn a_database_that_will_never_be_usable_is_not_tried_again() {
        let server = Postgres::running();
        for url in [server.url().replace("/market", "/nowhere"), "mysql://localhost/market".to_owned()] {
            let error = open(&at(&url), &NOTHING).await.unwrap_err();
            assert_eq!(error.to_string(), "the database cannot be used; look at DATABASE_URL", "{url}");
        }
    }

    #[tokio::test]
    async fn every_connection_to_postgresql_gives_up_a_statement_that_takes_too_long() {
        let server = Postgres::running();
        let pool = open(&at(&server.url()), &NOTHING).await.unwrap();
        let row = sqlx::query("SELECT current_setting('statement_timeout')").fetch_one(&pool).await.unwrap();
        assert_eq!(row.get::<String, _>(0), "3s");
        let error = sqlx::query("SELECT pg_sleep(60)").execute(&pool).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("57014"), "{error}");
    }

    #[tokio::test]
    async fn a_connection_that_is_old_enough_gives_its_place_to_another() {
        let server = Postgres::running();
        let database = DatabaseArgs { max_lifetime: Duration::ZERO.into(), ..at(&server.url()) };
        let pool = open(&database, &NOTHING).await.unwrap();
        let mut backends = Vec::new();
        for _ in 0..2 {
            let row = sqlx::query("SELECT pg_backend_pid()").fetch_one(&pool).await.unwrap();
            backends.push(row.get::<i32, _>(0));
        }
        assert_ne!(backends[0], backends[1]);
    }

    #[tokio::test]
    async fn the_database_is_found_again_after_its_restart() {
        let mut server = Postgres::running();
        let pool = open(&at(&server.url()), &NOTHING).await.unwrap();
        server.stop();
        assert!(ping(&pool).await.is_err());
        server.start();
        ping(&pool).await.unwrap();
    }
}
