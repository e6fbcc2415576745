//! `UserService`: who sells on the flea market.

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::{ServiceArgs, ServiceError, caller, health, serve};
use crate::store::{UserPreviewRow, UserStore};

/// More than a page of ads has sellers.
const MAX_PREVIEWS: usize = 200;

/// What a buyer sees of a seller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct UserPreview {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) member_since: i64,
    pub(crate) rating: f64,
}

/// The answer of `GET /users/preview?id=anneke&id=birol`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Previews {
    /// Who asked, as the sidecar authenticated them.
    pub(crate) authenticated_caller: Option<String>,
    pub(crate) users: Vec<UserPreview>,
}

/// Runs `UserService` until it is told to stop.
pub(crate) async fn run(args: ServiceArgs) -> anyhow::Result<()> {
    if args.health {
        return health::ask(args.listen).await;
    }
    let store = UserStore::open(&args.database).await?;
    serve("userservice", args.listen, routes(store)).await
}

fn routes(store: UserStore) -> Router {
    Router::new().route("/users/preview", get(previews)).route("/healthz", get(healthz)).with_state(store)
}

async fn previews(
    State(store): State<UserStore>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Json<Previews>, ServiceError> {
    let ids = ids_in(query.as_deref().unwrap_or_default())?;
    let users = store.previews(&ids).await?.into_iter().map(UserPreview::from).collect();
    Ok(Json(Previews { authenticated_caller: caller(&headers), users }))
}

async fn healthz(State(store): State<UserStore>) -> Result<&'static str, ServiceError> {
    store.ping().await?;
    Ok("ok\n")
}

/// The ids of a query, which names each one as `id=`.
fn ids_in(query: &str) -> Result<Vec<String>, ServiceError> {
    let mut ids = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name != "id" || value.is_empty() {
            return Err(ServiceError::BadRequest(format!("{name}={value}: only id= with a user's id is understood")));
        }
        ids.push(value.into_owned());
    }
    if ids.len() > MAX_PREVIEWS {
        return Err(ServiceError::BadRequest(format!("{} ids, at most {MAX_PREVIEWS}", ids.len())));
    }
    Ok(ids)
}

impl From<UserPreviewRow> for UserPreview {
    fn from(row: UserPreviewRow) -> Self {
        Self { id: row.id, name: row.name, member_since: row.member_since, rating: row.rating }
    }
}
