//! Bodies on their way through: streamed frame by frame, counted, never collected.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::headers::strip_trailers;
use super::record::ExchangeRecord;

/// The body of a request on its way to the upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// None.
    Empty,
    /// What the caller sends.
    Stream {
        /// The frames.
        incoming: Incoming,
        /// What came of them.
        upload: Arc<Upload>,
    },
}

/// What came of a request's body.
#[derive(Debug, Default)]
pub struct Upload {
    bytes: AtomicU64,
    is_broken_off: AtomicBool,
}

/// The body of a response on its way to the caller. It carries the record of the exchange, which ends when the body ends or
/// is dropped.
#[derive(Debug)]
pub(super) struct ResponseBody {
    content: Content,
    record: Option<Box<ExchangeRecord>>,
}

#[derive(Debug)]
enum Content {
    Stream(Incoming),
    Whole(Option<Bytes>),
}

impl Upload {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// True where the caller broke off before its end.
    pub fn is_broken_off(&self) -> bool {
        self.is_broken_off.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    /// Wraps what a caller sends, and gives the record of its body where there is one.
    pub fn new(incoming: Incoming) -> (Self, Option<Arc<Upload>>) {
        if incoming.is_end_stream() {
            return (Self::Empty, None);
        }
        let upload = Arc::new(Upload::default());
        (Self::Stream { incoming, upload: Arc::clone(&upload) }, Some(upload))
    }

    /// True where there is nothing to send, so that the request can be sent again.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream { incoming, upload } => {
                let mut frame = ready!(Pin::new(incoming).poll_frame(cx));
                match &mut frame {
                    Some(Ok(frame)) => drop(upload.bytes.fetch_add(pass(frame), Ordering::Relaxed)),
                    Some(Err(_)) => upload.is_broken_off.store(true, Ordering::Relaxed),
                    None => {}
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream { incoming, .. } => incoming.size_hint(),
        }
    }
}

/// Strips a trailer frame and gives the bytes of a data frame.
fn pass(frame: &mut Frame<Bytes>) -> u64 {
    if let Some(trailers) = frame.trailers_mut() {
        strip_trailers(trailers);
    }
    frame.data_ref().map_or(0, |data| data.len() as u64)
}

impl ResponseBody {
    /// The upstream's answer.
    pub(super) fn stream(incoming: Incoming, record: Box<ExchangeRecord>) -> Self {
        Self { content: Content::Stream(incoming), record: Some(record) }
    }

    /// An answer of our own.
    pub(super) fn whole(bytes: Bytes, record: Option<Box<ExchangeRecord>>) -> Self {
        Self { content: Content::Whole(Some(bytes)), record }
    }

    fn finish(&mut self) {
        if let Some(record) = self.record.take() {
            record.complete();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let mut frame = match &mut this.content {
            Content::Stream(incoming) => ready!(Pin::new(incoming).poll_frame(cx)),
            Content::Whole(bytes) => bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))),
        };
        match &mut frame {
            Some(Ok(frame)) => {
                let bytes = pass(frame);
                if let Some(record) = &mut this.record {
                    record.add_response_bytes(bytes);
                }
                if this.is_end_stream() {
                    this.finish();
                }
            }
            Some(Err(error)) => {
                if let Some(record) = &mut this.record {
                    record.note_broken(error);
                }
            }
            None => this.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Stream(incoming) => incoming.is_end_stream(),
            Content::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Stream(incoming) => incoming.size_hint(),
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

impl Drop for ResponseBody {
    /// A body that is over before it is polled, as an empty one is, has been delivered whole.
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.finish();
        }
    }
}
