//! `UserService`: who sells on the flea market.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::{ServiceArgs, ServiceError, caller, serve};
use crate::store::{UserPreviewRow, UserStore};

/// More than a page of ads has sellers.
const MAX_PREVIEWS: usize = 200;

/// What a buyer sees of a seller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct UserPreview {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) member_since: i64,
    pub(crate) rating: f64,
}

/// The answer of `GET /users/preview?ids=1,2,3`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Previews {
    /// Who asked, as the sidecar authenticated them.
    pub(crate) authenticated_caller: Option<String>,
    pub(crate) users: Vec<UserPreview>,
}

/// Runs `UserService` until it is told to stop.
pub(crate) async fn run(args: ServiceArgs) -> anyhow::Result<()> {
    let store = UserStore::open(&args.database).await?;
    serve("userservice", args.listen, routes(store)).await
}

fn routes(store: UserStore) -> Router {
    Router::new().route("/users/preview", get(previews)).route("/healthz", get(healthz)).with_state(store)
}

#[derive(Deserialize)]
struct PreviewQuery {
    ids: String,
}

async fn previews(
    State(store): State<UserStore>,
    headers: HeaderMap,
    Query(query): Query<PreviewQuery>,
) -> Result<Json<Previews>, ServiceError> {
    let ids = parse_ids(&query.ids)?;
    let users = store.previews(&ids).await?.into_iter().map(UserPreview::from).collect();
    Ok(Json(Previews { authenticated_caller: caller(&headers), users }))
}

async fn healthz(State(store): State<UserStore>) -> Result<&'static str, ServiceError> {
    store.ping().await?;
    Ok("ok\n")
}

fn parse_ids(ids: &str) -> Result<Vec<i64>, ServiceError> {
    let ids: Vec<i64> = ids
        .split(',')
        .map(|id| id.parse().map_err(|_| ServiceError::BadRequest(format!("ids: \"{id}\" is not a number"))))
        .collect::<Result<_, _>>()?;
    if ids.len() > MAX_PREVIEWS {
        return Err(ServiceError::BadRequest(format!("ids: {} of them, at most {MAX_PREVIEWS}", ids.len())));
    }
    Ok(ids)
}

impl From<UserPreviewRow> for UserPreview {
    fn from(row: UserPreviewRow) -> Self {
        Self { id: row.id, name: row.name, member_since: row.member_since, rating: row.rating }
    }
}
