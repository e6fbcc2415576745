//! One HTTP connection of a caller, whichever version it speaks: its requests one by one, until it ends or has to.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::connections::{Live, Phase, Registration};
use super::error::HttpError;
use super::incoming::Incoming;
use super::listener::ListenerContext;
use super::response_body::ResponseBody;
use super::watched::Farewell;
use super::{http1_connection, http2_connection};

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

/// Answers the requests of one connection.
pub(super) struct Responder<A> {
    context: Arc<ListenerContext>,
    registration: Registration,
    answer: A,
}

impl<A, F> Responder<A>
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<ResponseBody>>,
{
    /// Answers one request.
    pub(super) fn respond(&self, request: Request<Incoming>) -> F {
        (self.answer)(request)
    }

    /// What the requests have in common.
    pub(super) fn context(&self) -> &ListenerContext {
        &self.context
    }

    /// The connection on the list of live ones.
    pub(super) fn registration(&self) -> &Registration {
        &self.registration
    }
}

/// Serves one connection. `answer` is asked for each request.
pub(super) async fn serve<S, A, F>(
    stream: S,
    version: HttpVersion,
    context: Arc<ListenerContext>,
    registration: Registration,
    answer: A,
) where
    S: AsyncRead + AsyncWrite + Farewell + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<ResponseBody>>,
{
    let responder = Responder { context, registration, answer };
    // Boxed apart, so that a connection has the room of its version and not that of the larger one.
    let outcome: Result<(), HttpError> = match version {
        HttpVersion::Http1 => Box::pin(http1_connection::serve(stream, &responder)).await.map_err(Into::into),
        HttpVersion::Http2 => Box::pin(http2_connection::serve(stream, &responder)).await.map_err(Into::into),
    };
    let live = responder.registration.live();
    let context = &responder.context;
    if let Err(error) = outcome {
        debug!(listener = &*context.name, connection = live.id, peer.address = %live.peer_address, %error, "connection failed");
    }
    if let Some(reason) = live.reason() {
        context.metrics.count_end(reason.label());
    }
}

/// Runs a connection. From `say_goodbye_at` on it is told to shut down gracefully, and it is left when it is cut.
///
/// # Errors
/// Why it broke off.
pub(super) async fn run<C, E>(
    mut connection: Pin<&mut C>,
    live: &Live,
    say_goodbye_at: Phase,
    graceful_shutdown: impl Fn(Pin<&mut C>),
) -> Result<(), E>
where
    C: Future<Output = Result<(), E>>,
{
    let mut seen = Phase::Open;
    loop {
        tokio::select! {
            outcome = connection.as_mut() => return outcome,
            phase = live.phase_after(seen) => seen = phase,
        }
        if seen >= say_goodbye_at {
            graceful_shutdown(connection.as_mut());
        }
        if seen == Phase::Cut {
            // What is in flight ends here; the peer still learns that the connection is over, if it reads at all.
            let _ = tokio::time::timeout(FAREWELL, connection).await;
            return Ok(());
        }
    }
}
