//! HTTP/2 towards an upstream: a connection that carries many requests at a time, and one request on it.
//!
//! Requests are written to the connection by the task that serves the caller; only a body that has not come as a whole is
//! carried by a task of its own.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason};
use http::{Request, Response, request};
use http_body::Body as _;
use tokio::task::JoinHandle;

use crate::config::Limits;
use crate::proxy::connections::{InFlight, Live, Phase};
use crate::proxy::http2_settings::{MAX_FRAME, SEND_BUFFER, SMALL_FRAMES, STREAM_WINDOW, upstream_window};
use crate::proxy::http2_stream::{Http2Body, carry};
use crate::proxy::incoming::Incoming;
use crate::proxy::request_body::RequestBody;
use crate::proxy::watched::Audible;

use super::connect::UpstreamStream;
use super::retry::Unanswered;

/// Streams that a peer is taken to allow until it has said how many.
const STREAMS_AT_FIRST: usize = 100;
/// A peer that is silent for this long while something is in flight is asked whether it lives.
const PING_AFTER: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// One end of a connection: requests go in here.
#[derive(Debug)]
pub(super) struct Http2 {
    sender: Mutex<SendRequest<Bytes>>,
    live: Arc<Live>,
}

/// The other end: what has to be driven for anything to move.
pub(super) struct Driver {
    connection: Connection<Audible<UpstreamStream>, Bytes>,
    ping_pong: PingPong,
    heard: Arc<AtomicBool>,
    live: Arc<Live>,
}

/// The carrying of a request's body.
type Carrying = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The task that carries the rest of a request's body. It ends with the answer, unless that came through.
#[derive(Debug)]
pub(super) struct Upload(Option<JoinHandle<()>>);

impl Http2 {
    /// Begins a connection on a stream on which HTTP/2 is agreed.
    ///
    /// # Errors
    /// As the library has them.
    pub(super) async fn begin(
        stream: UpstreamStream,
        live: &Arc<Live>,
        limits: &Limits,
    ) -> Result<(Arc<Self>, Driver), h2::Error> {
        let heard = Arc::new(AtomicBool::new(false));
        let (sender, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(STREAMS_AT_FIRST)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(upstream_window(limits.max_streams))
            .max_frame_size(MAX_FRAME)
            .data_frame_budget(SMALL_FRAMES)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .handshake(Audible::new(stream, Arc::clone(&heard)))
            .await?;
        let ping_pong = connection.ping_pong().expect("it is taken once");
        let http2 = Self { sender: Mutex::new(sender), live: Arc::clone(live) };
        Ok((Arc::new(http2), Driver { connection, ping_pong, heard, live: Arc::clone(live) }))
    }

    /// False once it takes no further request.
    pub(super) fn is_open(&self) -> bool {
        self.live.phase() == Phase::Open && !matches!(poll_ready(&mut self.sender()), Poll::Ready(Err(_)))
    }

    /// A place for one request, where one is free among `max_streams` and what the peer allows.
    pub(super) fn place(&self, max_streams: u32) -> Option<InFlight> {
        let allowed = u32::try_from(self.sender().current_max_send_streams()).unwrap_or(u32::MAX);
        if self.live.in_flight() >= allowed.min(max_streams) {
            return None;
        }
        let in_flight = self.live.begin();
        (self.live.phase() == Phase::Open).then_some(in_flight)
    }

    /// Begins a request, and gives what its answer and the rest of its body are waited for with.
    pub(super) fn send(
        &self,
        head: request::Parts,
        body: RequestBody,
    ) -> Result<(ResponseFuture, Option<Carrying>), Box<Unanswered>> {
        let ended = body.is_end_stream();
        let opened = {
            let mut sender = self.sender();
            match poll_ready(&mut sender) {
                Poll::Ready(Err(error)) => {
                    let never_sent = Some((head, body));
                    return Err(Box::new(Unanswered { error: error.into(), never_sent, spare: None }));
                }
                Poll::Ready(Ok(())) => sender.send_request(Request::from_parts(head, ()), ended),
                // The peer lets no further stream begin yet; another handle queues this one.
                Poll::Pending => sender.clone().send_request(Request::from_parts(head, ()), ended),
            }
        };
        let (answer, stream) =
            opened.map_err(|error| Box::new(Unanswered { error: error.into(), never_sent: None, spare: None }))?;
        let carrying: Option<Carrying> =
            if ended { None } else { Some(Box::pin(carry(body, stream, |_| Reason::CANCEL))) };
        Ok((answer, carrying))
    }

    fn sender(&self) -> MutexGuard<'_, SendRequest<Bytes>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without waiting: whoever finds a connection not ready has another way.
fn poll_ready(sender: &mut SendRequest<Bytes>) -> Poll<Result<(), h2::Error>> {
    sender.poll_ready(&mut Context::from_waker(Waker::noop()))
}

impl Driver {
    /// Drives the connection until it is over. A peer that stays silent though it is asked ends it.
    pub(super) async fn drive(self) -> Result<(), io::Error> {
        let Self { connection, mut ping_pong, heard, live } = self;
        let mut connection = pin!(connection);
        let over = |outcome: Result<(), h2::Error>| outcome.map_err(io::Error::other);
        loop {
            tokio::select! {
                outcome = &mut connection => return over(outcome),
                () = tokio::time::sleep(PING_AFTER) => {}
            }
            if heard.swap(false, Ordering::Relaxed) || live.in_flight() == 0 {
                continue;
            }
            tokio::select! {
                outcome = &mut connection => return over(outcome),
                pong = tokio::time::timeout(PING_TIMEOUT, ping_pong.ping(Ping::opaque())) => match pong {
                    Ok(pong) => { pong.map_err(io::Error::other)?; }
                    Err(_) if heard.load(Ordering::Relaxed) => {}
                    Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                },
            }
        }
    }
}

/// Waits for the header section of an answer. What has come of the body is sent first; the rest, if any, is carried by a task.
pub(super) async fn answered(
    answer: ResponseFuture,
    carrying: Option<Carrying>,
    upload: &mut Option<Upload>,
) -> Result<Response<Incoming>, h2::Error> {
    if let Some(mut carrying) = carrying
        && poll_fn(|cx| Poll::Ready(carrying.as_mut().poll(cx))).await.is_pending()
    {
        *upload = Some(Upload(Some(tokio::spawn(carrying))));
    }
    let (head, frames) = answer.await?.into_parts();
    let body = Incoming::Http2(Http2Body::new(&head.headers, frames));
    Ok(Response::from_parts(head, body))
}

impl Upload {
    /// Ends it, and waits until what it carried is dropped.
    pub(super) async fn stop(mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            // However it ends, it is over.
            let _ = task.await;
        }
    }

    /// Lets it go on: the peer has answered early and may still want the rest. Its stream keeps its place for as long, so that no
    /// other request counts on it.
    pub(super) fn go_on(mut self, place: InFlight) {
        if let Some(task) = self.0.take().filter(|task| !task.is_finished()) {
            tokio::spawn(async move {
                // However it ends, the stream is over.
                let _ = task.await;
                drop(place);
            });
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
