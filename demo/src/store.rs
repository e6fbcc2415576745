//! What the services keep in their databases: the ads, and the users who sell them.
//!
//! Each service owns one database, named by a URL. The pool is sqlx's `Any`, and the SQL is what SQLite and PostgreSQL
//! have in common, so that another database is a feature of sqlx and another URL.

use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::migrate::Migrator;
use sqlx::{AnyPool, AssertSqlSafe, FromRow};

use crate::services::Position;

static ADS_MIGRATIONS: Migrator = sqlx::migrate!("migrations/ads");
static USERS_MIGRATIONS: Migrator = sqlx::migrate!("migrations/users");
const CONNECTIONS: u32 = 4;

/// An ad as the database holds it.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub(crate) struct AdRow {
    pub(crate) id: i64,
    pub(crate) seller_id: i64,
    pub(crate) title: String,
    pub(crate) category: String,
    pub(crate) price_cents: i64,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
}

/// An ad that has no number yet.
#[derive(Debug)]
pub(crate) struct NewAd {
    pub(crate) seller_id: i64,
    pub(crate) title: String,
    pub(crate) category: String,
    pub(crate) price_cents: i64,
    pub(crate) position: Position,
}

/// What a stranger may see of a user; the address for mail stays in the database.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub(crate) struct UserPreviewRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) member_since: i64,
    pub(crate) rating: f64,
}

/// The database of `AdService`.
#[derive(Clone)]
pub(crate) struct AdStore {
    pool: AnyPool,
}

/// The database of `UserService`.
#[derive(Clone)]
pub(crate) struct UserStore {
    pool: AnyPool,
}

impl AdStore {
    /// Opens the database at `url`, for instance `sqlite:ads.db?mode=rwc`, and brings its tables up to date.
    pub(crate) async fn open(url: &str) -> sqlx::Result<Self> {
        Ok(Self { pool: open(url, &ADS_MIGRATIONS).await? })
    }

    /// The ads whose position is less than `radius_km` from `centre`, nearest first, each with its distance in kilometres.
    pub(crate) async fn near(&self, centre: Position, radius_km: f64) -> sqlx::Result<Vec<(AdRow, f64)>> {
        let (south_west, north_east) = centre.bounding_box(radius_km);
        let rows: Vec<AdRow> = sqlx::query_as(
            "SELECT id, seller_id, title, category, price_cents, latitude, longitude FROM ads \
             WHERE latitude BETWEEN $1 AND $2 AND longitude BETWEEN $3 AND $4",
        )
        .bind(south_west.latitude)
        .bind(north_east.latitude)
        .bind(south_west.longitude)
        .bind(north_east.longitude)
        .fetch_all(&self.pool)
        .await?;
        let mut near: Vec<_> = rows
            .into_iter()
            .map(|ad| {
                let distance = centre.distance_km(ad.position());
                (ad, distance)
            })
            .filter(|(_, distance)| *distance <= radius_km)
            .collect();
        near.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        Ok(near)
    }

    /// The ad of that number.
    pub(crate) async fn find(&self, id: i64) -> sqlx::Result<Option<AdRow>> {
        sqlx::query_as("SELECT id, seller_id, title, category, price_cents, latitude, longitude FROM ads WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
    }

    /// Keeps a new ad and answers with its number.
    pub(crate) async fn insert(&self, ad: NewAd) -> sqlx::Result<i64> {
        let mut transaction = self.pool.begin().await?;
        let (id,): (i64,) = sqlx::query_as("UPDATE ad_numbers SET next_id = next_id + 1 RETURNING next_id - 1")
            .fetch_one(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO ads (id, seller_id, title, category, price_cents, latitude, longitude) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id)
        .bind(ad.seller_id)
        .bind(ad.title)
        .bind(ad.category)
        .bind(ad.price_cents)
        .bind(ad.position.latitude)
        .bind(ad.position.longitude)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> sqlx::Result<()> {
        ping(&self.pool).await
    }
}

impl AdRow {
    /// Where the thing is.
    pub(crate) fn position(&self) -> Position {
        Position { latitude: self.latitude, longitude: self.longitude }
    }
}

impl UserStore {
    /// Opens the database at `url`, for instance `sqlite:users.db?mode=rwc`, and brings its tables up to date.
    pub(crate) async fn open(url: &str) -> sqlx::Result<Self> {
        Ok(Self { pool: open(url, &USERS_MIGRATIONS).await? })
    }

    /// The previews of those of `ids` that exist, in the order of their numbers.
    pub(crate) async fn previews(&self, ids: &[i64]) -> sqlx::Result<Vec<UserPreviewRow>> {
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
            query = query.bind(*id);
        }
        query.fetch_all(&self.pool).await
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> sqlx::Result<()> {
        ping(&self.pool).await
    }
}

async fn open(url: &str, migrations: &Migrator) -> sqlx::Result<AnyPool> {
    install_default_drivers();
    let pool = AnyPoolOptions::new().max_connections(CONNECTIONS).connect(url).await?;
    migrations.run(&pool).await?;
    Ok(pool)
}

async fn ping(pool: &AnyPool) -> sqlx::Result<()> {
    sqlx::query("SELECT 1").execute(pool).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALEXANDERPLATZ: Position = Position { latitude: 52.5219, longitude: 13.4132 };

    fn url(folder: &tempfile::TempDir) -> String {
        format!("sqlite:{}?mode=rwc", folder.path().join("test.db").display())
    }

    #[tokio::test]
    async fn ads_come_nearest_first_and_none_beyond_the_radius() {
        let folder = tempfile::tempdir().unwrap();
        let store = AdStore::open(&url(&folder)).await.unwrap();

        let near = store.near(ALEXANDERPLATZ, 5.0).await.unwrap();

        assert_eq!(near[0].0.title, "Touring bicycle, 28 inch");
        assert!(near.is_sorted_by(|one, other| one.1 <= other.1));
        assert!(near.iter().all(|(_, distance)| *distance <= 5.0));
        assert!(near.iter().all(|(ad, _)| ad.title != "Rowing boat with oars"));
    }

    #[tokio::test]
    async fn a_new_ad_gets_a_number_of_its_own_and_is_found_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let store = AdStore::open(&url(&folder)).await.unwrap();
        let lamp = || NewAd {
            seller_id: 2,
            title: "Lamp'); DROP TABLE ads; --".into(),
            category: "furniture".into(),
            price_cents: 700,
            position: ALEXANDERPLATZ,
        };
        let (one, other) = tokio::join!(store.insert(lamp()), store.insert(lamp()));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_ne!(one, other);

        let reopened = AdStore::open(&url(&folder)).await.unwrap();

        let found = reopened.find(one).await.unwrap().unwrap();
        assert_eq!(found.title, "Lamp'); DROP TABLE ads; --");
        assert_eq!(found.position(), ALEXANDERPLATZ);
    }

    #[tokio::test]
    async fn previews_are_those_asked_for_and_leave_out_the_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let store = UserStore::open(&url(&folder)).await.unwrap();

        let previews = store.previews(&[3, 1, 999]).await.unwrap();

        let names: Vec<_> = previews.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["Anneke Brandt", "Clara Nowak"]);
        assert!(store.previews(&[]).await.unwrap().is_empty());
    }
}
