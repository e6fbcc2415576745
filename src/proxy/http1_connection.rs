//! A caller's HTTP/1.1 connection.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connections::Phase;
use super::http_connection::{Responder, run};
use super::incoming::Incoming;
use super::response_body::ResponseBody;
use super::watched::{Farewell, Watched};

/// Serves one connection until it ends or has to. A caller learns from its next answer that the connection drains; only a quiet
/// one is closed.
///
/// # Errors
/// Why it broke off.
pub(super) async fn serve<S, A, F>(stream: S, responder: &Responder<A>) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Farewell + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<ResponseBody>>,
{
    let live = responder.registration().live();
    let limits = &responder.context().limits;
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        responder.respond(request.map(Incoming::Http1Request)).map(Ok::<_, Infallible>)
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_header_bytes)
        .max_buf_size(limits.http1_buffer())
        .serve_connection(TokioIo::new(Watched::new(stream, Arc::clone(live))), service)
        .with_upgrades();
    run(pin!(connection), live, Phase::Closing, http1::UpgradeableConnection::graceful_shutdown).await
}
