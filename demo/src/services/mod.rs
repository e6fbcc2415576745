//! The two services of the flea market, as any team would write them: plain HTTP, a database, and not a line about TLS.
//!
//! What runs beside them and who may call them is not their business; they read who called, and for which user, from
//! headers.

pub(crate) mod ads;
pub(crate) mod health;
mod page;
mod position;
mod request_log;
mod user;
pub(crate) mod users;

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::store::{DatabaseArgs, StoreError};

pub(crate) use self::position::Position;
pub(crate) use self::user::USER_HEADER;

/// The header in which the sidecar says who called.
pub(crate) const CALLER_HEADER: &str = "x-mantlet-peer";
/// The header that carries the number of the trace from service to service.
pub(crate) const TRACE_HEADER: &str = "traceparent";
/// More than any request of the flea market has.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// What both services take from the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct ServiceArgs {
    /// Where to listen; port 0 takes a free one, which the first line of the log names
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Run nothing, but ask the service that listens there whether it is healthy; the exit code tells
    #[arg(long)]
    health: bool,
}

/// Why a service answers without what it was asked for.
#[derive(Debug, thiserror::Error)]
enum ServiceError {
    #[error("{0}")]
    BadRequest(String),
    #[error("nobody is signed in")]
    NobodySignedIn,
    #[error("there is no {0}")]
    NotFound(String),
    #[error("the database does not answer")]
    Database(#[from] StoreError),
}

impl IntoResponse for ServiceError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NobodySignedIn => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let told = self.to_string();
        if let Self::Database(cause) = self {
            eprintln!("{told}: {:#}", anyhow::Error::new(cause));
        }
        (status, axum::Json(serde_json::json!({ "error": told }))).into_response()
    }
}

/// Serves until SIGTERM or Ctrl-C, then finishes the requests that have begun.
async fn serve(name: &'static str, listen: SocketAddr, routes: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("{name} cannot listen on {listen}"))?;
    request_log::listening(name, listener.local_addr()?);
    let routes = request_log::layered(name, routes.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)));
    axum::serve(listener, routes).with_graceful_shutdown(told_to_stop()?).await?;
    Ok(())
}

/// Ends at SIGTERM or Ctrl-C.
pub(crate) fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}

/// Who called, as the sidecar says; `None` when there is no sidecar in front.
fn caller(headers: &HeaderMap) -> Option<String> {
    headers.get(CALLER_HEADER).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
}
