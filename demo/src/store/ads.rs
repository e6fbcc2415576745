//! The database of `AdService`.

use sqlx::migrate::Migrator;
use sqlx::{AnyPool, FromRow};

use super::{DatabaseArgs, OpenError, StoreError, bounded, open, ping};
use crate::services::Position;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/ads");
/// The database hands out no more rows at once, however many ads there are near a place.
const MAX_ROWS: i64 = 500;

/// An ad as the database holds it.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub(crate) struct AdRow {
    pub(crate) id: i64,
    /// Who sells it: the subject of the seller's tokens.
    pub(crate) seller_id: String,
    pub(crate) title: String,
    pub(crate) category: String,
    pub(crate) price_cents: i64,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
}

/// An ad that has no number yet.
#[derive(Debug, Clone)]
pub(crate) struct NewAd {
    pub(crate) seller_id: String,
    pub(crate) title: String,
    pub(crate) category: String,
    pub(crate) price_cents: i64,
    pub(crate) position: Position,
}

/// The ads, in a pool of connections.
#[derive(Clone)]
pub(crate) struct AdStore {
    pool: AnyPool,
}

impl AdStore {
    /// Opens the database at `url`, for instance `sqlite:ads.db?mode=rwc`, and brings its tables up to date. One that is
    /// not up yet is tried again for `patience`.
    pub(crate) async fn open(database: &DatabaseArgs) -> Result<Self, OpenError> {
        Ok(Self { pool: open(database, &MIGRATIONS).await? })
    }

    /// The ads whose position is less than `radius_km` from `centre`, nearest first, each with its distance in kilometres.
    pub(crate) async fn near(&self, centre: Position, radius_km: f64) -> Result<Vec<(AdRow, f64)>, StoreError> {
        let (south_west, north_east) = centre.bounding_box(radius_km);
        // The database cuts by the distance on a flat map, which is near enough to tell what is far.
        let query = sqlx::query_as(
            "SELECT id, seller_id, title, category, price_cents, latitude, longitude FROM ads \
             WHERE latitude BETWEEN $1 AND $2 AND longitude BETWEEN $3 AND $4 \
             ORDER BY (latitude - $5) * (latitude - $5) + (longitude - $6) * (longitude - $6) * $7, id LIMIT $8",
        )
        .bind(south_west.latitude)
        .bind(north_east.latitude)
        .bind(south_west.longitude)
        .bind(north_east.longitude)
        .bind(centre.latitude)
        .bind(centre.longitude)
        .bind(centre.latitude.to_radians().cos().powi(2))
        .bind(MAX_ROWS);
        let rows: Vec<AdRow> = bounded(query.fetch_all(&self.pool)).await?;
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
    pub(crate) async fn find(&self, id: i64) -> Result<Option<AdRow>, StoreError> {
        let query = sqlx::query_as(
            "SELECT id, seller_id, title, category, price_cents, latitude, longitude FROM ads WHERE id = $1",
        );
        bounded(query.bind(id).fetch_optional(&self.pool)).await
    }

    /// Keeps a new ad and answers with its number.
    pub(crate) async fn insert(&self, ad: NewAd) -> Result<i64, StoreError> {
        bounded(async {
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
        })
        .await
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        ping(&self.pool).await
    }
}

impl AdRow {
    /// Where the thing is.
    pub(crate) fn position(&self) -> Position {
        Position { latitude: self.latitude, longitude: self.longitude }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::postgres::Databases;
    use super::*;

    const ALEXANDERPLATZ: Position = Position { latitude: 52.5219, longitude: 13.4132 };
    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn ads_come_nearest_first_and_none_beyond_the_radius() {
        let databases = Databases::both();
        for url in databases.urls() {
            let store = AdStore::open(&DatabaseArgs::at(&url, PATIENCE)).await.unwrap();

            let near = store.near(ALEXANDERPLATZ, 5.0).await.unwrap();

            assert_eq!(near[0].0.title, "Touring bicycle, 28 inch", "{url}");
            assert!(near.len() > 10, "{url}");
            assert!(near.is_sorted_by(|one, other| one.1 <= other.1), "{url}");
            assert!(near.iter().all(|(_, distance)| *distance <= 5.0), "{url}");
            assert!(near.iter().all(|(ad, _)| ad.title != "Rowing boat with oars"), "{url}");
        }
    }

    #[tokio::test]
    async fn a_new_ad_gets_a_number_of_its_own_and_is_found_after_reopening() {
        let databases = Databases::both();
        for url in databases.urls() {
            let store = AdStore::open(&DatabaseArgs::at(&url, PATIENCE)).await.unwrap();
            let lamp = || NewAd {
                seller_id: "birol".into(),
                title: "Lamp'); DROP TABLE ads; --".into(),
                category: "furniture".into(),
                price_cents: 700,
                position: ALEXANDERPLATZ,
            };
            let (one, other) = tokio::join!(store.insert(lamp()), store.insert(lamp()));
            let (one, other) = (one.unwrap(), other.unwrap());
            assert_ne!(one, other, "{url}");

            let reopened = AdStore::open(&DatabaseArgs::at(&url, PATIENCE)).await.unwrap();

            let found = reopened.find(one).await.unwrap().unwrap();
            assert_eq!(found.title, "Lamp'); DROP TABLE ads; --", "{url}");
            assert_eq!(found.seller_id, "birol", "{url}");
            assert_eq!(found.position(), ALEXANDERPLATZ, "{url}");
            assert_eq!(reopened.find(4711).await.unwrap(), None, "{url}");
        }
    }

    #[tokio::test]
    async fn an_ad_that_breaks_a_rule_of_the_tables_is_refused_and_leaves_nothing_behind() {
        let databases = Databases::both();
        for url in databases.urls() {
            let store = AdStore::open(&DatabaseArgs::at(&url, PATIENCE)).await.unwrap();
            let free = NewAd {
                seller_id: "birol".into(),
                title: "Nothing".into(),
                category: "other".into(),
                price_cents: 0,
                position: Position { latitude: 10.0, longitude: 10.0 },
            };
            let id = store.insert(free.clone()).await.unwrap();
            assert!(store.insert(NewAd { price_cents: -1, ..free.clone() }).await.is_err(), "{url}");
            assert_eq!(store.insert(free).await.unwrap(), id + 1, "{url}");
            assert_eq!(store.near(Position { latitude: 10.0, longitude: 10.0 }, 1.0).await.unwrap().len(), 2, "{url}");
        }
    }
}
