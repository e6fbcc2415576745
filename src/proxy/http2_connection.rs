//! A caller's HTTP/2 connection. All of its exchanges run in the task of the connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::Reason;
use h2::server::{Connection, SendResponse};
use http::header::DATE;
use http::{HeaderValue, Request, Response};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::has_budget_remaining;

use crate::config::Limits;

use super::connections::Phase;
use super::error::HttpError;
use super::http_connection::{Responder, run};
use super::http2_settings::{CALLER_WINDOW, MAX_FRAME, SEND_BUFFER, SMALL_FRAMES, STREAM_WINDOW};
use super::http2_stream::{Http2Body, carry};
use super::incoming::Incoming;
use super::response_body::ResponseBody;

/// Streams that the caller's breaches of the protocol may reset before the connection ends.
const MAX_BREACHES: usize = 1024;

/// Serves one connection until it ends or has to.
///
/// # Errors
/// Why it broke off.
pub(super) async fn serve<S, A, F>(stream: S, responder: &Responder<A>) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<ResponseBody>>,
{
    let live = responder.registration().live();
    let handshake = builder(&responder.context().limits).handshake(stream);
    let connection = tokio::select! {
        connection = handshake => connection?,
        _ = live.phase_after(Phase::Draining) => return Ok(()),
    };
    let answer = |request, respond| answer(responder.respond(request), respond);
    let exchanges = Exchanges { connection, answer, running: FuturesUnordered::new() };
    let graceful_shutdown =
        |exchanges: Pin<&mut Exchanges<_, _, _>>| exchanges.get_mut().connection.graceful_shutdown();
    run(pin!(exchanges), live, Phase::Draining, graceful_shutdown).await
}

/// A connection and the exchanges on it, over when the connection is.
struct Exchanges<S, A, F> {
    connection: Connection<S, Bytes>,
    /// Begins the answer to a request.
    answer: A,
    running: FuturesUnordered<F>,
}

impl<S, A, F> Future for Exchanges<S, A, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Incoming>, SendResponse<Bytes>) -> F + Unpin,
    F: Future<Output = ()>,
{
    type Output = Result<(), h2::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        while let Poll::Ready(accepted) = this.connection.poll_accept(cx) {
            let Some((request, respond)) = accepted.transpose()? else { return Poll::Ready(Ok(())) };
            let (head, frames) = request.into_parts();
            let body = Incoming::Http2(Http2Body::new(&head.headers, frames));
            this.running.push((this.answer)(Request::from_parts(head, body), respond));
        }
        while let Poll::Ready(Some(())) = this.running.poll_next_unpin(cx) {}
        Poll::Pending
    }
}

fn builder(limits: &Limits) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CALLER_WINDOW)
        .max_frame_size(MAX_FRAME)
        .data_frame_budget(SMALL_FRAMES)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(limits.max_streams)
        .max_local_error_reset_streams(Some(MAX_BREACHES))
        // A peer's sidecar takes back at once whatever a client of its own had in flight. That is no attack, and ending the
        // connection would fail the requests of others; `Connections` judges resets over time.
        .max_pending_accept_reset_streams(limits.max_streams as usize * 2)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX));
    builder
}

/// Answers one request, unless the caller takes it back first.
async fn answer(exchange: impl Future<Output = Response<ResponseBody>>, mut respond: SendResponse<Bytes>) {
    let response = {
        let mut exchange = pin!(exchange);
        let answered = poll_fn(|cx| {
            if !has_budget_remaining() {
                // The task has had its turn, and would find every socket closed to it. The set of exchanges stops where one wakes
                // itself, and goes on from here in the next turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match exchange.as_mut().poll(cx) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending => respond.poll_reset(cx).map(|_| None),
            }
        });
        answered.await
    };
    let Some(response) = response else { return };
    let (mut head, body) = response.into_parts();
    // RFC 9110 section 6.6.1
    head.headers.entry(DATE).or_insert_with(now);
    let ended = body.is_end_stream();
    // Where the stream takes no answer any more, the caller has gone.
    if let Ok(stream) = respond.send_response(Response::from_parts(head, ()), ended)
        && !ended
    {
        carry(body, stream, reset_reason).await;
    }
}

/// A body that broke off resets the caller's stream for the reason that the upstream gave, unless that would say that nothing is
/// wrong: there are callers who take what they have for the whole then.
fn reset_reason(error: &HttpError) -> Reason {
    let given = match error {
        HttpError::Http2(error) => error.reason(),
        HttpError::Http1(_) | HttpError::Upstream(_) | HttpError::TooLarge(_) => None,
    };
    given.filter(|reason| *reason != Reason::NO_ERROR).unwrap_or(Reason::INTERNAL_ERROR)
}

fn now() -> HeaderValue {
    HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())).expect("a date is a header value")
}
