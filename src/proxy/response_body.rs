//! The body of a response on its way to the caller: streamed frame by frame, counted, never collected.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::error::HttpError;
use super::incoming::Incoming;
use super::record::ExchangeRecord;
use super::request_body::pass;

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

impl ResponseBody {
    /// The upstream's answer.
    pub(super) fn stream(body: Incoming, record: Box<ExchangeRecord>) -> Self {
        Self { content: Content::Stream(body), record: Some(record) }
    }

    /// An answer of our own.
    pub(super) fn whole(bytes: Bytes, record: Option<Box<ExchangeRecord>>) -> Self {
        Self { content: Content::Whole(Some(bytes)), record }
    }

    /// Other content in place of what it has, in the same exchange.
    pub(super) fn replaced(mut self, bytes: Bytes) -> Self {
        let record = self.record.take();
        Self::whole(bytes, record)
    }

    fn finish(&mut self) {
        if let Some(record) = self.record.take() {
            let used = match &mut self.content {
                Content::Stream(body) => body.take_used(),
                Content::Whole(_) => None,
            };
            record.complete(used);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        let mut frame = match &mut this.content {
            Content::Stream(body) => ready!(Pin::new(body).poll_frame(cx)),
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
            Some(Err(_)) => {
                if let Some(record) = &mut this.record {
                    record.note_broken();
                }
            }
            None => this.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Stream(body) => body.is_end_stream(),
            Content::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Stream(body) => body.size_hint(),
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
