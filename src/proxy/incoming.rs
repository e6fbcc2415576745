//! The body of a message that comes in, a request's or an answer's, whichever HTTP version it comes in.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::error::HttpError;
use super::http2_stream::Http2Body;

/// The body of a message that comes in.
#[derive(Debug)]
pub enum Incoming {
    /// HTTP/1.1
    Http1(hyper::body::Incoming),
    /// HTTP/2
    Http2(Http2Body),
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(HttpError::Http1),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(HttpError::Http2),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
