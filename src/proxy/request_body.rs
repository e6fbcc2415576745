//! The body of a request on its way to the upstream: streamed frame by frame, counted, never collected.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::error::HttpError;
use super::headers::strip_trailers;
use super::incoming::Incoming;

/// Most bytes of a body that are kept until its answer comes.
const MAX_KEPT: u64 = 16 * 1024;

/// The body of a request on its way to the upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// None.
    Empty,
    /// What the caller sends.
    Stream(StreamedBody),
    /// What was read before, as it is sent again, and then what was not.
    Again(VecDeque<Bytes>, Option<StreamedBody>),
}

/// A body as the caller sends it.
#[derive(Debug)]
pub struct StreamedBody {
    /// The frames; absent once they were taken back.
    incoming: Option<Incoming>,
    /// What came of them.
    upload: Arc<Upload>,
    /// Keeps them, so that they can be sent again.
    kept: Option<Arc<Kept>>,
    /// The most bytes that they may hold.
    most: Option<u64>,
}

/// What was read of a small body, and what was not once nobody reads on. The bytes are shared with those that are sent.
#[derive(Debug, Default)]
pub struct Kept(Mutex<KeptData>);

#[derive(Debug, Default)]
struct KeptData {
    data: VecDeque<Bytes>,
    /// Where nobody reads on.
    rest: Option<StreamedBody>,
    /// It had trailers, or broke off.
    is_spoilt: bool,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, KeptData> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, frame: &Frame<Bytes>) {
        match frame.data_ref() {
            Some(data) => self.lock().data.push_back(data.clone()),
            None => self.lock().is_spoilt = true,
        }
    }

    /// The body to be sent again; nothing where somebody still reads it, or it is not as it was.
    pub fn again(&self) -> Option<RequestBody> {
        let mut kept = self.lock();
        let rest = kept.rest.take().filter(|_| !kept.is_spoilt)?;
        Some(RequestBody::Again(std::mem::take(&mut kept.data), Some(rest)))
    }
}

impl Drop for StreamedBody {
    fn drop(&mut self) {
        if let (Some(kept), Some(incoming)) = (self.kept.take(), self.incoming.take()) {
            let (upload, most) = (Arc::clone(&self.upload), self.most);
            kept.lock().rest = Some(Self { incoming: Some(incoming), upload, kept: None, most });
        }
    }
}

impl StreamedBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let mut frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        match &mut frame {
            Some(Ok(frame)) => {
                let bytes = pass(frame);
                let bytes = self.upload.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
                if let Some(most) = self.most.filter(|most| bytes > *most) {
                    self.upload.too_large.store(most, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(HttpError::TooLarge(most))));
                }
                if let Some(kept) = &self.kept {
                    kept.note(frame);
                }
            }
            Some(Err(_)) => {
                self.upload.is_broken_off.store(true, Ordering::Relaxed);
                if let Some(kept) = &self.kept {
                    kept.lock().is_spoilt = true;
                }
            }
            None => {}
        }
        if frame.is_none() || incoming.is_end_stream() {
            self.upload.is_over.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// What came of a request's body.
#[derive(Debug)]
pub struct Upload {
    bytes: AtomicU64,
    is_broken_off: AtomicBool,
    is_over: AtomicBool,
    /// The most bytes that it may have, once it has more; [`u64::MAX`] before.
    too_large: AtomicU64,
}

impl Upload {
    fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            is_broken_off: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            too_large: AtomicU64::new(u64::MAX),
        }
    }

    /// The most bytes that it may have, where it has more.
    pub fn too_large(&self) -> Option<u64> {
        Some(self.too_large.load(Ordering::Relaxed)).filter(|most| *most != u64::MAX)
    }

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
        let upload = Arc::new(Upload::new());
        let body = StreamedBody { incoming: Some(incoming), upload: Arc::clone(&upload), kept: None, most: None };
        (Self::Stream(body), Some(upload))
    }

    /// Lets it break off once it has more than `most` bytes.
    ///
    /// # Errors
    /// `most`, where it says beforehand that it has more.
    pub fn bound(&mut self, most: u64) -> Result<(), u64> {
        if self.size_hint().lower() > most {
            return Err(most);
        }
        if let Self::Stream(body) = self {
            body.most = Some(most);
        }
        Ok(())
    }

    /// Keeps what is read from now on, where it is known to be little.
    pub fn keep(&mut self) -> Option<Arc<Kept>> {
        match self {
            Self::Stream(body) if body.size_hint().upper().is_some_and(|most| most <= MAX_KEPT) => {
                Some(Arc::clone(body.kept.get_or_insert_default()))
            }
            _ => None,
        }
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
            Self::Stream(body) => body.poll_frame(cx),
            Self::Again(read, rest) => match (read.pop_front(), rest) {
                (Some(data), _) => Poll::Ready(Some(Ok(Frame::data(data)))),
                (None, Some(rest)) => rest.poll_frame(cx),
                (None, None) => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(body) => body.is_end_stream(),
            Self::Again(read, rest) => read.is_empty() && rest.as_ref().is_none_or(StreamedBody::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(body) => body.size_hint(),
            Self::Again(read, rest) => {
                let read: u64 = read.iter().map(|data| data.len() as u64).sum();
                let rest = rest.as_ref().map_or_else(|| SizeHint::with_exact(0), StreamedBody::size_hint);
                // It was kept because its length was known.
                rest.exact().map_or_else(SizeHint::default, |rest| SizeHint::with_exact(read + rest))
            }
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
