//! The database of `UserService`.

use sqlx::migrate::Migrator;
use sqlx::{AnyPool, AssertSqlSafe, FromRow};

use super::{DatabaseArgs, OpenError, StoreError, bounded, open, ping};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/users");

/// What a stranger may see of a user; the address for mail stays in the database.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub(crate) struct UserPreviewRow {
    /// The subject of the user's tokens.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) member_since: i64,
    pub(crate) rating: f64,
}

/// The users, in a pool of connections.
#[derive(Clone)]
pub(crate) struct UserStore {
    pool: AnyPool,
}

impl UserStore {
    /// Opens the database at `url`, for instance `sqlite:users.db?mode=rwc`, and brings its tables up to date. One that is
    /// not up yet is tried again for `patience`.
    pub(crate) async fn open(database: &DatabaseArgs) -> Result<Self, OpenError> {
        Ok(Self { pool: open(database, &MIGRATIONS).await? })
    }

    /// The previews of those of `ids` that exist, in the order of their ids.
    pub(crate) async fn previews(&self, ids: &[String]) -> Result<Vec<UserPreviewRow>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // Only placeholders are put together here, never a value.
        let placeholders: Vec<String> = (1..=ids.len()).map(|number| format!("${number}")).collect();
        let sql = format!(
            "SELECT id, name, member_since, rating FROM users WHERE id IN ({}) ORDER BY id",
            placeholders.join(", ")
        );
        let mut query = sqlx::query_as(AssertSqlSafe(sql));
        for id in ids {
            query = query.bind(id);
        }
        bounded(query.fetch_all(&self.pool)).await
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        ping(&self.pool).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::postgres::Databases;
    use super::*;

    #[tokio::test]
    async fn previews_are_those_asked_for_and_leave_out_the_unknown() {
        let databases = Databases::both();
        for url in databases.urls() {
            let database = DatabaseArgs::at(&url, Duration::from_secs(10));
            let store = UserStore::open(&database).await.unwrap();

            let previews = store.previews(&["clara".into(), "anneke".into(), "' OR 1=1".into()]).await.unwrap();

            let names: Vec<_> = previews.iter().map(|user| user.name.as_str()).collect();
            assert_eq!(names, ["Anneke Brandt", "Clara Nowak"], "{url}");
            assert!(store.previews(&[]).await.unwrap().is_empty(), "{url}");
        }
    }
}
