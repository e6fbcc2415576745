//! Bodies on HTTP/2 streams: one that comes in, and the carrying of one that goes out as fast as the neighbour takes it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};

/// Data up to this size that ends a body goes out without asking for room: it waits where the room would be waited for.
const SMALL: usize = 16 * 1024;

/// A body that comes in on a stream.
#[derive(Debug)]
pub struct Http2Body {
    frames: RecvStream,
    /// What is still to come of the length that the message declares.
    left: Option<u64>,
    data_is_over: bool,
}

impl Http2Body {
    /// The body of a message with these headers.
    pub(super) fn new(headers: &HeaderMap, frames: RecvStream) -> Self {
        let left = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self { frames, left, data_is_over: false }
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = h2::Error;

    /// A body that the neighbour cuts short is an error, whatever reason it gives.
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

/// Carries a body until its end, or until the neighbour wants no more of it. `reason` says why a body that breaks off resets the
/// stream.
pub(super) async fn carry<B>(mut body: B, mut stream: SendStream<Bytes>, reason: fn(&B::Error) -> Reason)
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        let polled = poll_fn(|cx| unless_reset(&mut stream, cx, |_, cx| Pin::new(&mut body).poll_frame(cx)));
        // Whoever waits for the neighbour's answer learns from it that the stream takes no more.
        match polled.await {
            None => return,
            Some(None) => return drop(stream.send_data(Bytes::new(), true)),
            Some(Some(Err(error))) => return stream.send_reset(reason(&error)),
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    let ended = body.is_end_stream();
                    if send_data(&mut stream, data, ended).await.is_none() || ended {
                        return;
                    }
                }
                Err(frame) => {
                    return drop(stream.send_trailers(frame.into_trailers().unwrap_or_default()));
                }
            },
        }
    }
}

/// Sends data piece by piece as room comes; nothing where the stream takes no more.
async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes, ended: bool) -> Option<()> {
    if ended && data.len() <= SMALL {
        return stream.send_data(data, true).ok();
    }
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 {
            poll_fn(|cx| unless_reset(stream, cx, SendStream::poll_capacity)).await??.ok()?;
        }
        let piece = data.split_to(stream.capacity().min(data.len()));
        stream.send_data(piece, ended && data.is_empty()).ok()?;
    }
    Some(())
}

/// Polls, unless the neighbour has reset the stream.
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
