//! The HTTP server of the admin listener: small, bounded, one request a connection.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::net::{Listener, Stream};

use super::AdminState;
use super::answer::{AdminAnswer, HostRule, answer};

/// Connections served at a time. Further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// Bytes of a request's header section.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// How long a request's header section may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take in all, so that nobody keeps the places occupied.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves on the caller's runtime until `stop` is cancelled and the requests begun are answered.
///
/// # Errors
/// Where the listening socket cannot be registered with the runtime.
pub async fn serve(listener: Listener, state: Arc<AdminState>, stop: CancellationToken) -> io::Result<()> {
    let hosts = HostRule::of_listener(listener.address());
    let answer = move |request| {
        let state = Arc::clone(&state);
        async move { answer(&state, hosts, &request) }
    };
    serve_with(listener, stop, answer).await
}

/// The same with answers of another kind of process.
///
/// # Errors
/// As [`serve`].
pub(crate) async fn serve_with<F, A>(listener: Listener, stop: CancellationToken, answer: F) -> io::Result<()>
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = AdminAnswer> + Send + 'static,
{
    let limit = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = TaskTracker::new();
    let accept = listener.accept_here(&limit, |stream, place| {
        let (answer, stop) = (answer.clone(), stop.clone());
        tasks.spawn(async move {
            let _place = place;
            serve_connection(stream, answer, &stop).await;
        });
    });
    if let Some(Err(error)) = stop.run_until_cancelled(accept).await {
        return Err(error);
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn serve_connection<F, A>(stream: Stream, answer: F, stop: &CancellationToken)
where
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = AdminAnswer>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_header_size(MAX_HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let served = async {
        let mut connection = pin!(connection);
        tokio::select! {
            outcome = &mut connection => return outcome,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    match tokio::time::timeout(CONNECTION_TIMEOUT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "admin connection failed"),
        Err(_) => debug!("an admin connection took too long and was closed"),
    }
}
