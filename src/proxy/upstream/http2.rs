//! HTTP/2 towards an upstream: a connection that carries many requests at a time, and one request on it.
//!
//! Requests are written to the connection by the task that serves the caller; only a body that has not come as a whole is
//! carried by a task of its own.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{Request, Response, request};
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use crate::proxy::connections::{InFlight, Live, Phase};
use crate::proxy::request_body::RequestBody;
use crate::proxy::watched::Audible;

use super::connect::UpstreamStream;

/// How much of one answer a peer may send ahead of us, and of all answers on one connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The largest frame that a peer may send: with its header, four full TLS records.
pub(in crate::proxy) const MAX_FRAME: u32 = 4 * (1 << 14) - 9;
/// Bytes of one request's body that wait for the connection.
const SEND_BUFFER: usize = 64 * 1024;
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

/// Why a request has no answer, and the request where nothing of it was sent.
pub(super) type Unanswered = (h2::Error, Option<(request::Parts, RequestBody)>);

/// The body of an answer.
#[derive(Debug)]
pub struct Http2Body {
    frames: RecvStream,
    /// What is still to come of the length that the answer declares.
    left: Option<u64>,
    data_is_over: bool,
    upload: Option<Upload>,
}

/// The task that carries the rest of a request's body. It ends with the answer, unless that is through.
#[derive(Debug)]
struct Upload(Option<AbortHandle>);

impl Http2 {
    /// Begins a connection on a stream on which HTTP/2 is agreed.
    ///
    /// # Errors
    /// As the library has them.
    pub(super) async fn begin(
        stream: UpstreamStream,
        live: &Arc<Live>,
        max_header_bytes: usize,
    ) -> Result<(Arc<Self>, Driver), h2::Error> {
        let heard = Arc::new(AtomicBool::new(false));
        let (sender, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(STREAMS_AT_FIRST)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
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

    /// Sends one request and waits for the header section of its answer.
    pub(super) async fn send(
        &self,
        head: request::Parts,
        body: RequestBody,
    ) -> Result<Response<Http2Body>, Unanswered> {
        let ended = body.is_end_stream();
        let opened = {
            let mut sender = self.sender();
            match poll_ready(&mut sender) {
                Poll::Ready(Err(error)) => return Err((error, Some((head, body)))),
                Poll::Ready(Ok(())) => sender.send_request(Request::from_parts(head, ()), ended),
                // The peer lets no further stream begin yet; another handle queues this one.
                Poll::Pending => sender.clone().send_request(Request::from_parts(head, ()), ended),
            }
        };
        let (answer, stream) = opened.map_err(|error| (error, None))?;
        let upload = if ended { None } else { upload(body, stream).await };
        let response = answer.await.map_err(|error| (error, None))?;
        let left = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(response.map(|frames| Http2Body { frames, left, data_is_over: false, upload }))
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

/// Sends as much of a body as has come. The rest, if any, is carried by a task.
async fn upload(mut body: RequestBody, mut stream: SendStream<Bytes>) -> Option<Upload> {
    let come = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
    let first = match come {
        Poll::Pending => None,
        Poll::Ready(Some(Ok(frame))) if frame.is_data() && !body.is_end_stream() => frame.into_data().ok(),
        Poll::Ready(frame) => {
            send_last(&mut stream, frame);
            return None;
        }
    };
    Some(Upload(Some(tokio::spawn(carry(first, body, stream)).abort_handle())))
}

/// Sends what ends a body. A stream that takes nothing more tells the answer so.
fn send_last(stream: &mut SendStream<Bytes>, frame: Option<Result<Frame<Bytes>, hyper::Error>>) {
    let _ = match frame {
        None => stream.send_data(Bytes::new(), true),
        Some(Err(_)) => {
            stream.send_reset(Reason::CANCEL);
            Ok(())
        }
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) => stream.send_data(data, true),
            Err(frame) => stream.send_trailers(frame.into_trailers().unwrap_or_default()),
        },
    };
}

/// Carries a body as fast as the peer takes it, until its end or until the peer wants no more of it.
async fn carry(first: Option<Bytes>, mut body: RequestBody, mut stream: SendStream<Bytes>) {
    let mut next = first.map(|data| Some(Ok(Frame::data(data))));
    loop {
        let frame = match next.take() {
            Some(frame) => frame,
            None => match poll_fn(|cx| unless_reset(&mut stream, cx, |_, cx| Pin::new(&mut body).poll_frame(cx))).await
            {
                Some(frame) => frame,
                None => return,
            },
        };
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                let ended = body.is_end_stream();
                if send_data(&mut stream, data, ended).await.is_none() || ended {
                    return;
                }
            }
            Some(Ok(Err(trailers))) => return send_last(&mut stream, Some(Ok(trailers))),
            Some(Err(error)) => return send_last(&mut stream, Some(Err(error))),
            None => return send_last(&mut stream, None),
        }
    }
}

/// Sends data piece by piece as the peer's window opens; nothing where the stream takes no more.
async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes, ended: bool) -> Option<()> {
    loop {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 && !data.is_empty() {
            poll_fn(|cx| unless_reset(stream, cx, SendStream::poll_capacity)).await??.ok()?;
        }
        let piece = data.split_to(stream.capacity().min(data.len()));
        let is_last = data.is_empty();
        stream.send_data(piece, is_last && ended).ok()?;
        if is_last {
            return Some(());
        }
    }
}

/// Polls, unless the peer has reset the stream.
fn unless_reset<T>(
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut SendStream<Bytes>, &mut Context<'_>) -> Poll<T>,
) -> Poll<Option<T>> {
    match stream.poll_reset(cx) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => poll(stream, cx).map(Some),
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = h2::Error;

    /// An answer that the peer cuts short is an error, whatever reason it gives.
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        if !this.data_is_over {
            match ready!(this.frames.poll_data(cx)) {
                Some(Ok(data)) => {
                    this.frames.flow_control().release_capacity(data.len())?;
                    this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => this.data_is_over = true,
            }
        }
        Poll::Ready(ready!(this.frames.poll_trailers(cx))?.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Http2Body {
    fn drop(&mut self) {
        if let Some(upload) = &mut self.upload
            && self.frames.is_end_stream()
        {
            // The peer has answered early and may still want the rest.
            upload.0 = None;
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
