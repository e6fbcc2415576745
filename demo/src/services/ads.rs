//! `AdService`: what is for sale near a place.
//!
//! The sellers belong to `UserService`, which it asks over plain HTTP at `USERS_URL`.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::users::{Previews, UserPreview};
use super::{Position, ServiceArgs, ServiceError, TRACE_HEADER, caller, serve};
use crate::store::{AdRow, AdStore, NewAd};

const USERS_DEADLINE: Duration = Duration::from_secs(5);
/// No page shows more; it is also less than `UserService` previews at once.
const MAX_ADS: usize = 100;
const MAX_RADIUS_KM: f64 = 500.0;
const MAX_TEXT_CHARACTERS: usize = 200;

/// What `AdService` takes from the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct AdServiceArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Where `UserService` is reached, which is the outbound side of the sidecar
    #[arg(long, env = "USERS_URL")]
    users_url: String,
}

/// An ad with what is known of its seller.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ad {
    pub(crate) id: i64,
    pub(crate) title: String,
    pub(crate) category: String,
    pub(crate) price_cents: i64,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) distance_km: Option<f64>,
    pub(crate) seller: Option<UserPreview>,
}

/// The answer of `GET /ads`.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of the JSON")]
pub(crate) struct Ads {
    /// Who asked, as the sidecar authenticated them.
    pub(crate) authenticated_caller: Option<String>,
    /// Whom `UserService` took this service for.
    pub(crate) known_to_users_as: Option<String>,
    /// Why the sellers are missing; the ads themselves are still good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sellers_unavailable: Option<String>,
    pub(crate) ads: Vec<Ad>,
}

/// Runs `AdService` until it is told to stop.
pub(crate) async fn run(args: AdServiceArgs) -> anyhow::Result<()> {
    let store = AdStore::open(&args.service.database).await?;
    // The sidecar is on loopback: a proxy named in the environment has no business between.
    let http = reqwest::Client::builder().no_proxy().timeout(USERS_DEADLINE).build()?;
    let users = Users { http, url: args.users_url.trim_end_matches('/').to_owned() };
    serve("adservice", args.service.listen, routes(Market { store, users })).await
}

#[derive(Clone)]
struct Market {
    store: AdStore,
    users: Users,
}

#[derive(Clone)]
struct Users {
    http: reqwest::Client,
    url: String,
}

#[derive(Deserialize)]
struct NearQuery {
    lat: f64,
    lon: f64,
    radius_km: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostedAd {
    seller_id: i64,
    title: String,
    category: String,
    price_cents: i64,
    latitude: f64,
    longitude: f64,
}

fn routes(market: Market) -> Router {
    Router::new()
        .route("/ads", get(near).post(post))
        .route("/ads/{id}", get(find))
        .route("/healthz", get(healthz))
        .with_state(market)
}

async fn near(
    State(market): State<Market>,
    headers: HeaderMap,
    Query(query): Query<NearQuery>,
) -> Result<Json<Ads>, ServiceError> {
    let centre = position(query.lat, query.lon)?;
    if !(0.0..=MAX_RADIUS_KM).contains(&query.radius_km) {
        return Err(ServiceError::BadRequest(format!("radius_km: {} is not 0 to {MAX_RADIUS_KM}", query.radius_km)));
    }
    let found = market.store.near(centre, query.radius_km).await?;
    let found = found.into_iter().take(MAX_ADS).map(|(row, distance)| (row, Some(distance))).collect();
    Ok(Json(market.with_sellers(found, &headers).await))
}

async fn find(
    State(market): State<Market>,
    headers: HeaderMap,
    Path(id): Path<i64>,
) -> Result<Json<Ads>, ServiceError> {
    let found = market.store.find(id).await?.ok_or_else(|| ServiceError::NotFound(format!("ad {id}")))?;
    Ok(Json(market.with_sellers(vec![(found, None)], &headers).await))
}

async fn post(
    State(market): State<Market>,
    Json(ad): Json<PostedAd>,
) -> Result<(StatusCode, Json<serde_json::Value>), ServiceError> {
    for (name, text) in [("title", &ad.title), ("category", &ad.category)] {
        if text.trim().is_empty() || text.chars().count() > MAX_TEXT_CHARACTERS {
            return Err(ServiceError::BadRequest(format!("{name}: 1 to {MAX_TEXT_CHARACTERS} characters are wanted")));
        }
    }
    if ad.price_cents < 0 {
        return Err(ServiceError::BadRequest(format!("price_cents: {} is below zero", ad.price_cents)));
    }
    let position = position(ad.latitude, ad.longitude)?;
    let PostedAd { seller_id, title, category, price_cents, .. } = ad;
    let id = market.store.insert(NewAd { seller_id, title, category, price_cents, position }).await?;
    Ok((StatusCode::CREATED, Json(serde_json::json!({ "id": id }))))
}

async fn healthz(State(market): State<Market>) -> Result<&'static str, ServiceError> {
    market.store.ping().await?;
    Ok("ok\n")
}

fn position(latitude: f64, longitude: f64) -> Result<Position, ServiceError> {
    Position::new(latitude, longitude)
        .ok_or_else(|| ServiceError::BadRequest(format!("{latitude}, {longitude} is not a position on the globe")))
}

impl Market {
    async fn with_sellers(&self, found: Vec<(AdRow, Option<f64>)>, headers: &HeaderMap) -> Ads {
        let ids: BTreeSet<i64> = found.iter().map(|(row, _)| row.seller_id).collect();
        let (previews, unavailable) = match self.users.previews(&ids, headers).await {
            Ok(previews) => (previews, None),
            Err(reason) => (Previews { authenticated_caller: None, users: Vec::new() }, Some(reason)),
        };
        let sellers: HashMap<i64, UserPreview> = previews.users.into_iter().map(|user| (user.id, user)).collect();
        Ads {
            authenticated_caller: caller(headers),
            known_to_users_as: previews.authenticated_caller,
            sellers_unavailable: unavailable,
            ads: found
                .into_iter()
                .map(|(row, distance_km)| Ad {
                    seller: sellers.get(&row.seller_id).cloned(),
                    id: row.id,
                    title: row.title,
                    category: row.category,
                    price_cents: row.price_cents,
                    latitude: row.latitude,
                    longitude: row.longitude,
                    distance_km,
                })
                .collect(),
        }
    }
}

impl Users {
    /// The previews of the sellers, or in one line why there are none.
    async fn previews(&self, ids: &BTreeSet<i64>, headers: &HeaderMap) -> Result<Previews, String> {
        if ids.is_empty() {
            return Ok(Previews { authenticated_caller: None, users: Vec::new() });
        }
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut request = self.http.get(format!("{}/users/preview?ids={}", self.url, ids.join(",")));
        if let Some(trace) = headers.get(TRACE_HEADER) {
            request = request.header(TRACE_HEADER, trace);
        }
        let response = request.send().await.map_err(|error| format!("UserService is not reached: {error}"))?;
        let status = response.status();
        if !status.is_success() {
            let body = response.text().await.unwrap_or_default();
            return Err(format!("UserService answered {status}: {}", body.trim()));
        }
        response.json().await.map_err(|error| format!("UserService answered something unreadable: {error}"))
    }
}
