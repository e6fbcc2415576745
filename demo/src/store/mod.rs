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

/// Opens the database at `url` and brings its tables up to date. One that is not up yet is tried again for `patience`.
async fn open(url: &str, patience: Duration, migrations: &Migrator) -> Result<AnyPool, OpenError> {
    install_default_drivers();
    let options = AnyPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE_DEADLINE)
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
mod tests {
    use sqlx::Row as _;

    use super::postgres::Postgres;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    static NOTHING: Migrator = Migrator::DEFAULT;

    #[tokio::test]
    async fn a_database_that_comes_up_late_is_waited_for() {
        let mut late = Postgres::prepare();
        let url = late.url();
        let opening = tokio::spawn(async move { open(&url, PATIENCE, &NOTHING).await });
        // The first attempt is made before the server is there, since nobody listens at its socket yet.
        tokio::task::yield_now().await;
        late.start();
        let pool = opening.await.unwrap().unwrap();
        ping(&pool).await.unwrap();
    }

    #[tokio::test]
    async fn a_database_that_never_comes_up_is_given_up_with_the_last_reason() {
        let never = Postgres::prepare();
        let error = open(&never.url(), Duration::from_millis(250), &NOTHING).await.unwrap_err();
        assert!(error.to_string().starts_with("the database is not reached after 2 attempts in 0 s"), "{error}");
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("No such file"), "{error:?}");
    }

    #[tokio::test]
    async fn a_database_that_will_never_be_usable_is_not_tried_again() {
        let server = Postgres::running();
        for url in [server.url().replace("/market", "/nowhere"), "mysql://localhost/market".to_owned()] {
            let error = open(&url, PATIENCE, &NOTHING).await.unwrap_err();
            assert_eq!(error.to_string(), "the database cannot be used; look at DATABASE_URL", "{url}");
        }
    }

    #[tokio::test]
    async fn every_connection_to_postgresql_gives_up_a_statement_that_takes_too_long() {
        let server = Postgres::running();
        let pool = open(&server.url(), PATIENCE, &NOTHING).await.unwrap();
        let row = sqlx::query("SELECT current_setting('statement_timeout')").fetch_one(&pool).await.unwrap();
        assert_eq!(row.get::<String, _>(0), "3s");
        let error = sqlx::query("SELECT pg_sleep(60)").execute(&pool).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("57014"), "{error}");
    }

    #[tokio::test]
    async fn the_database_is_found_again_after_its_restart() {
        let mut server = Postgres::running();
        let pool = open(&server.url(), PATIENCE, &NOTHING).await.unwrap();
        server.stop();
        assert!(ping(&pool).await.is_err());
        server.start();
        ping(&pool).await.unwrap();
    }
}
