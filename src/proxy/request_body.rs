//! The body of a request on its way to the upstream: streamed frame by frame, counted, never collected.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::error::HttpError;
use super::headers::strip_trailers;
use super::incoming::Incoming;

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
    is_over: AtomicBool,
}

impl Upload {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// True where it was read to its end.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
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
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream { incoming, upload } => {
                let mut frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                match &mut frame {
                    Some(Ok(frame)) => drop(upload.bytes.fetch_add(pass(frame), Ordering::Relaxed)),
                    Some(Err(_)) => upload.is_broken_off.store(true, Ordering::Relaxed),
                    None => {}
                }
                if frame.is_none() || incoming.is_end_stream() {
                    upload.is_over.store(true, Ordering::Relaxed);
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
pub(super) fn pass(frame: &mut Frame<Bytes>) -> u64 {
    if let Some(trailers) = frame.trailers_mut() {
        strip_trailers(trailers);
    }
    frame.data_ref().map_or(0, |data| data.len() as u64)
}
