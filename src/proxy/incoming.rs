//! The body of a message that comes in, a request's or an answer's, whichever HTTP version it comes in.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::error::HttpError;
use super::http2_stream::Http2Body;
use super::upstream::http1::{Http1Body, Upgraded, Used};

/// The body of a message that comes in.
#[derive(Debug)]
pub enum Incoming {
    /// A request's, over HTTP/1.1.
    Http1Request(hyper::body::Incoming),
    /// An answer's, over HTTP/1.1.
    Http1Answer(Http1Body),
    /// Either, over HTTP/2.
    Http2(Http2Body),
}

impl Incoming {
    /// What is left of an answer that was taken to its end.
    pub(super) fn take_used(&mut self) -> Option<Used> {
        match self {
            Self::Http1Answer(body) => body.take_used(),
            Self::Http1Request(_) | Self::Http2(_) => None,
        }
    }

    /// The connection that has switched protocols with this answer.
    pub(super) fn into_upgraded(self) -> Option<Upgraded> {
        match self {
            Self::Http1Answer(body) => body.into_upgraded(),
            Self::Http1Request(_) | Self::Http2(_) => None,
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match self.get_mut() {
            Self::Http1Request(body) => Pin::new(body).poll_frame(cx).map_err(HttpError::Http1),
            Self::Http1Answer(body) => Pin::new(body).poll_frame(cx).map_err(HttpError::Upstream),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(HttpError::Http2),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1Request(body) => body.is_end_stream(),
            Self::Http1Answer(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1Request(body) => body.size_hint(),
            Self::Http1Answer(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
