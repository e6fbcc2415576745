//! `AdService`: what is for sale near a place, and the page on which people see it.
//!
//! The sellers belong to `UserService`, which it asks over plain HTTP at `USERS_URL`.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::page::Page;
use super::user::SignedIn;
use super::users::{Previews, UserPreview};
use super::{Position, ServiceArgs, ServiceError, TRACE_HEADER, caller, health, serve};
use crate::store::{AdRow, AdStore, NewAd};

const USERS_DEADLINE: Duration = Duration::from_secs(5);
/// No page shows more; it is also less than `UserService` previews at once.
const MAX_ADS: usize = 100;
const MAX_RADIUS_KM: f64 = 500.0;
const MAX_TITLE_CHARACTERS: usize = 100;
/// The categories that an ad can be in.
const CATEGORIES: [&str; 13] = [
    "bicycles",
    "boats",
    "books",
    "cameras",
    "clothes",
    "furniture",
    "garden",
    "kitchen",
    "music",
    "office",
    "sports",
    "tools",
    "toys",
];
/// Nothing on a flea market costs more.
const MAX_PRICE_CENTS: i64 = 10_000_000;

/// What `AdService` takes from the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct AdServiceArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Where `UserService` is reached, which is the outbound side of the sidecar
    #[arg(long, env = "USERS_URL", value_name = "URL")]
    users_url: String,
    /// Where people's browsers get their tokens, for the page; without it there is none
    #[arg(long, env = "TOKEN_URL", value_name = "URL")]
    token_url: Option<url::Url>,
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

/// The answer of `GET /ads` and of `GET /ads/{id}`.
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
    if args.service.health {
        return health::ask(args.service.listen).await;
    }
    let store = AdStore::open(&args.service.database).await?;
    // The sidecar is on loopback: a proxy named in the environment has no business between.
    let http = reqwest::Client::builder().no_proxy().timeout(USERS_DEADLINE).build()?;
    let users = Users { http, url: args.users_url.trim_end_matches('/').to_owned() };
    let page = args.token_url.as_ref().map(Page::new);
    let routes = page.map_or_else(Router::new, Page::routes).merge(routes(Market { store, users }));
    serve("adservice", args.service.listen, routes).await
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

/// A new ad as the body says it. There is no seller in it: that is who is signed in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostedAd {
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
    SignedIn(seller_id): SignedIn,
    ad: Result<Json<PostedAd>, JsonRejection>,
) -> Result<(StatusCode, Json<serde_json::Value>), ServiceError> {
    let Json(ad) = ad.map_err(|rejection| ServiceError::BadRequest(rejection.body_text()))?;
    let ad = ad.sold_by(seller_id)?;
    let seller = ad.seller_id.clone();
    let id = market.store.insert(ad).await?;
    Ok((StatusCode::CREATED, Json(serde_json::json!({ "id": id, "seller": seller }))))
}

async fn healthz(State(market): State<Market>) -> Result<&'static str, ServiceError> {
    market.store.ping().await?;
    Ok("ok\n")
}

fn position(latitude: f64, longitude: f64) -> Result<Position, ServiceError> {
    Position::new(latitude, longitude)
        .ok_or_else(|| ServiceError::BadRequest(format!("{latitude}, {longitude} is not a position on the globe")))
}

impl PostedAd {
    /// The ad to keep, if it makes sense.
    fn sold_by(self, seller_id: String) -> Result<NewAd, ServiceError> {
        let title = self.title.trim().to_owned();
        if title.is_empty() || title.chars().count() > MAX_TITLE_CHARACTERS {
            let told = format!("title: 1 to {MAX_TITLE_CHARACTERS} characters are wanted");
            return Err(ServiceError::BadRequest(told));
        }
        if !CATEGORIES.contains(&self.category.as_str()) {
            let told = format!("category: \"{}\" is none of {}", self.category, CATEGORIES.join(", "));
            return Err(ServiceError::BadRequest(told));
        }
        if !(0..=MAX_PRICE_CENTS).contains(&self.price_cents) {
            let told = format!("price_cents: {} is not 0 to {MAX_PRICE_CENTS}", self.price_cents);
            return Err(ServiceError::BadRequest(told));
        }
        let position = position(self.latitude, self.longitude)?;
        Ok(NewAd { seller_id, title, category: self.category, price_cents: self.price_cents, position })
    }
}

impl Market {
    async fn with_sellers(&self, found: Vec<(AdRow, Option<f64>)>, headers: &HeaderMap) -> Ads {
        let ids: BTreeSet<String> = found.iter().map(|(row, _)| row.seller_id.clone()).collect();
        let (previews, unavailable) = match self.users.previews(&ids, headers).await {
            Ok(previews) => (previews, None),
            Err(reason) => (Previews { authenticated_caller: None, users: Vec::new() }, Some(reason)),
        };
        let sellers: HashMap<String, UserPreview> =
            previews.users.into_iter().map(|user| (user.id.clone(), user)).collect();
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
    async fn previews(&self, ids: &BTreeSet<String>, headers: &HeaderMap) -> Result<Previews, String> {
        if ids.is_empty() {
            return Ok(Previews { authenticated_caller: None, users: Vec::new() });
        }
        // A subject is whatever an issuer wrote, and may hold the characters that a query is made of.
        let ids: Vec<(&str, &String)> = ids.iter().map(|id| ("id", id)).collect();
        let mut request = self.http.get(format!("{}/users/preview", self.url)).query(&ids);
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
