//! The life of a connection to one of the listeners, bounded in every direction.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, warn};

use crate::buckets::AddressKey;
use crate::net::{Arrival, PeerAddress};

use super::answer::{Answer, Refusal, method_not_allowed, not_found};
use super::est::Operation;
use super::metrics::Reason;
use super::published::{ALL_CRLS, ANCHORS};
use super::{Server, est, events, files, now};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's header section may take, and how long a connection may rest between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// When a connection takes no further request.
const MAX_AGE: Duration = Duration::from_secs(600);
/// How long the last answer may take from then on: a long poll, and a slow reader.
const LAST_ANSWER: Duration = Duration::from_secs(60);

/// Who is at the other end.
pub(super) struct Caller {
    pub(super) address: PeerAddress,
    /// What was presented in the handshake; the caller has its key.
    pub(super) certificate: Option<CertificateDer<'static>>,
}

impl Caller {
    /// What its rates are kept by; callers of a Unix socket share one.
    pub(super) fn key(&self) -> AddressKey {
        AddressKey::of(match &self.address {
            PeerAddress::Tcp(address) => Some(address.ip()),
            _ => None,
        })
    }
}

/// Serves one connection of the EST listener.
pub(super) async fn serve_est(arrival: Arrival, server: Arc<Server>) {
    let Arrival { stream, address, place: _place, .. } = arrival;
    let Some(acceptor) = server.acceptor.load_full() else {
        server.metrics.failed_handshakes.inc();
        return debug!(peer.address = %address, "closed, for there is no certificate to present");
    };
    let (stream, certificate) = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => {
            server.metrics.failed_handshakes.inc();
            return debug!(peer.address = %address, %error, "handshake failed");
        }
        Err(_) => {
            server.metrics.failed_handshakes.inc();
            return debug!(peer.address = %address, "handshake took too long");
        }
    };
    let caller = Caller { address, certificate };
    let answer = |request| answer(&server, &caller, request);
    serve(stream, &server, answer).await;
}

/// Serves one connection of the CRL listener.
pub(super) async fn serve_files(arrival: Arrival, server: Arc<Server>) {
    let Arrival { stream, place: _place, .. } = arrival;
    let answer = |request: Request<Incoming>| {
        let published = server.published.borrow().clone();
        async move { files::answer(&published, &request) }
    };
    serve(stream, &server, answer).await;
}

async fn serve<S, F, A>(stream: S, server: &Server, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEADER_BYTES)
            .max_header_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    let outcome = tokio::select! {
        outcome = &mut connection => Some(outcome),
        () = server.stop.cancelled() => None,
        () = tokio::time::sleep(MAX_AGE) => None,
    };
    let outcome = if let Some(outcome) = outcome {
        Ok(outcome)
    } else {
        connection.as_mut().graceful_shutdown();
        tokio::time::timeout(LAST_ANSWER, connection).await
    };
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection failed"),
        Err(_) => debug!("a connection took too long and was closed"),
    }
}

/// Answers a request of the EST listener. Paths are compared as they are written: nothing is decoded or joined.
async fn answer(server: &Server, caller: &Caller, request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    let reads = files::is_read(request.method());
    let outcome = match path {
        "/.well-known/est/cacerts" if reads => Ok(est::ca_certificates(server)),
        "/.well-known/est/csrattrs" if reads => Ok(est::request_attributes()),
        "/.well-known/est/simpleenroll" if request.method() == http::Method::POST => {
            est::enrol(server, caller, Operation::Enroll, request).await
        }
        "/.well-known/est/simplereenroll" if request.method() == http::Method::POST => {
            est::enrol(server, caller, Operation::Reenroll, request).await
        }
        "/.well-known/mantlet/events" if reads => {
            events::answer(server, caller, &request).await.map_err(|refusal| (refusal, String::new()))
        }
        events::CRLS_PATH if reads => published_file(server, ALL_CRLS, &request),
        events::ANCHORS_PATH if reads => published_file(server, ANCHORS, &request),
        "/.well-known/est/simpleenroll" | "/.well-known/est/simplereenroll" => Ok(method_not_allowed("POST")),
        "/.well-known/est/cacerts" | "/.well-known/est/csrattrs" | "/.well-known/mantlet/events" => {
            Ok(method_not_allowed("GET, HEAD"))
        }
        events::CRLS_PATH | events::ANCHORS_PATH => Ok(method_not_allowed("GET, HEAD")),
        _ => Err((not_found(), String::new())),
    };
    match outcome {
        Ok(answer) => answer,
        Err((refusal, name)) => {
            note(server, caller, &refusal, &name).await;
            refusal.answer()
        }
    }
}

fn published_file(server: &Server, path: &str, request: &Request<Incoming>) -> Result<Answer, (Refusal, String)> {
    let published = server.published.borrow().clone();
    let file = published.file(path).ok_or_else(|| (not_found(), String::new()))?;
    Ok(files::give(file, request.headers()))
}

/// Tells of a refusal: to the log of the process, the metrics and, so many a minute, the authority's log.
async fn note(server: &Server, caller: &Caller, refusal: &Refusal, name: &str) {
    server.metrics.refused.get_or_create(&Reason { reason: refusal.reason }).inc();
    let cause = refusal.cause.as_deref();
    if refusal.status.is_server_error() {
        warn!(peer.address = %caller.address, name, reason = refusal.reason, cause, "refused");
        return;
    }
    debug!(peer.address = %caller.address, name, reason = refusal.reason, cause, message = refusal.message, "refused");
    let concerns_somebody = !name.is_empty() && refusal.retry_after.is_none();
    if concerns_somebody && server.rates.records_refusal() {
        tracing::info!(peer.address = %caller.address, name, reason = refusal.reason, cause, "refused");
        let (detail, actor) = (cause.unwrap_or(refusal.reason), caller.address.to_string());
        if let Err(error) = server.authority.note("refused", name, detail, &actor, now()).await {
            warn!(%error, "a refusal could not be recorded");
        }
    }
}
