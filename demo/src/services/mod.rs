//! The two services of the flea market, as any team would write them: plain HTTP, a database, and not a line about TLS.
//!
//! What runs beside them and who may call them is not their business; they read who called from a header.

pub(crate) mod ads;
mod position;
mod request_log;
pub(crate) mod users;

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::position::Position;

/// The header in which the sidecar says who called.
pub(crate) const CALLER_HEADER: &str = "x-mantlet-peer";
/// The header that carries the number of the trace from service to service.
pub(crate) const TRACE_HEADER: &str = "traceparent";

/// What both services take from the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct ServiceArgs {
    /// Where to listen; port 0 takes a free one, which the first line of the log names
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The database, for instance sqlite:ads.db?mode=rwc
    #[arg(long, env = "DATABASE_URL")]
    database: String,
}

/// Why a service answers without what it was asked for.
#[derive(Debug, thiserror::Error)]
enum ServiceError {
    #[error("{0}")]
    BadRequest(String),
    #[error("there is no {0}")]
    NotFound(String),
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
}

impl IntoResponse for ServiceError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Database(cause) => {
                eprintln!("{self}: {cause}");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        (status, axum::Json(serde_json::json!({ "error": self.to_string() }))).into_response()
    }
}

/// Serves until SIGTERM or Ctrl-C, then finishes the requests that have begun.
async fn serve(name: &'static str, listen: SocketAddr, routes: Router) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("{name} cannot listen on {listen}"))?;
    request_log::listening(name, listener.local_addr()?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = tokio::signal::ctrl_c() => (),
        }
    };
    axum::serve(listener, request_log::layered(name, routes)).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// Who called, as the sidecar says; `None` when there is no sidecar in front.
fn caller(headers: &HeaderMap) -> Option<String> {
    headers.get(CALLER_HEADER).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
}
