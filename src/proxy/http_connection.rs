//! One HTTP connection of a caller: its requests one by one, until it ends or has to.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::connections::{Phase, Registration};
use super::http_exchange::{Route, exchange};
use super::listener::ListenerContext;
use super::watched::Watched;

/// How much of one request's body, and of all on one connection, a caller may send ahead of the upstream.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of one answer that wait for a slow caller before the upstream is made to wait.
const SEND_BUFFER: usize = 64 * 1024;
/// How long a connection that is cut may take to tell its peer so.
const FAREWELL: Duration = Duration::from_millis(50);

/// Which version the caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Serves one connection. `route` is asked anew for each request.
pub(super) async fn serve<S, R>(
    stream: S,
    version: HttpVersion,
    context: Arc<ListenerContext>,
    registration: Registration,
    worker: usize,
    route: R,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Fn() -> Route,
{
    let live = Arc::clone(registration.live());
    let service = service_fn(|request: Request<Incoming>| {
        // Boxed, since the HTTP library moves it about.
        Box::pin(exchange(Arc::clone(&context), Arc::clone(&live), worker, route(), request))
    });
    let limits = &context.limits;
    let outcome = match version {
        HttpVersion::Http1 => {
            let connection = http1::Builder::new()
                .header_read_timeout(None)
                .max_headers(limits.max_headers)
                .max_header_size(limits.max_header_bytes)
                .max_buf_size(limits.http1_buffer())
                .serve_connection(TokioIo::new(Watched::new(stream, Arc::clone(&live))), service)
                .with_upgrades();
            // A caller of HTTP/1.1 learns from its next answer that the connection drains; only a quiet one is closed.
            let goodbye = http1::UpgradeableConnection::graceful_shutdown;
            Box::pin(run(connection, goodbye, Phase::Closing, &registration)).await
        }
        HttpVersion::Http2 => {
            let connection = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(SEND_BUFFER)
                .max_concurrent_streams(limits.max_streams)
                // A peer's sidecar takes back at once whatever a client of its own had in flight. That is no attack, and ending the
                // connection would fail the requests of others; `Connections` judges resets over time.
                .max_pending_accept_reset_streams(limits.max_streams as usize * 2)
                .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
                .serve_connection(TokioIo::new(stream), service);
            let goodbye = http2::Connection::graceful_shutdown;
            Box::pin(run(connection, goodbye, Phase::Draining, &registration)).await
        }
    };
    if let Err(error) = outcome {
        debug!(listener = &*context.name, connection = live.id, peer.address = live.peer_address, %error, "connection failed");
    }
    if let Some(reason) = live.reason() {
        context.metrics.count_end(reason.label());
    }
}

/// Runs a connection. From `say_goodbye_at` on it is told to shut down gracefully, and it is dropped when it is cut.
async fn run<C>(
    connection: C,
    graceful_shutdown: impl Fn(Pin<&mut C>),
    say_goodbye_at: Phase,
    registration: &Registration,
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let mut seen = Phase::Open;
    loop {
        tokio::select! {
            outcome = &mut connection => return outcome,
            phase = registration.live().phase_after(seen) => seen = phase,
        }
        if seen >= say_goodbye_at {
            graceful_shutdown(connection.as_mut());
        }
        if seen == Phase::Cut {
            // What is in flight ends here; the peer still learns that the connection is over, if it reads at all.
            let _ = tokio::time::timeout(FAREWELL, &mut connection).await;
            return Ok(());
        }
    }
}
