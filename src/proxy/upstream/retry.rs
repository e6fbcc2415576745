//! Whether a request without an answer may be sent once more (RFC 9110 section 9.2.2).

use std::sync::Arc;

use http::{Method, request};

use crate::proxy::error::HttpError;
use crate::proxy::request_body::{Kept, RequestBody};

use super::http1::Http1Error;

/// Why a request has no answer, and the request where nothing of it was sent.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) error: HttpError,
    pub(super) never_sent: Option<(request::Parts, RequestBody)>,
    /// What it takes to send again what was sent.
    pub(super) spare: Option<Spare>,
}

/// What it takes to send a request again.
#[derive(Debug)]
pub(super) struct Spare {
    head: Box<request::Parts>,
    /// Absent where there is none.
    body: Option<Arc<Kept>>,
}

impl Spare {
    /// Of a request without a body.
    pub(super) fn without_body(head: request::Parts) -> Self {
        Self { head: Box::new(head), body: None }
    }

    /// Of a request that is about to be sent; nothing where it has more of a body than is kept.
    pub(super) fn of(head: &request::Parts, body: &mut RequestBody) -> Option<Self> {
        let kept = if body.is_empty() { None } else { Some(body.keep()?) };
        Some(Self { head: Box::new(head.clone()), body: kept })
    }

    fn again(self) -> Option<(request::Parts, RequestBody)> {
        let body = self.body.map_or(Some(RequestBody::Empty), |kept| kept.again())?;
        Some((*self.head, body))
    }
}

/// The request to send again, or the error to report. `may_retry` says that the connection was a used one.
pub(super) fn again(
    Unanswered { error, never_sent, spare }: Unanswered,
    may_retry: bool,
) -> Result<(request::Parts, RequestBody), HttpError> {
    match (may_retry, never_sent, spare) {
        (true, Some(request), _) => Ok(request),
        (true, None, Some(spare))
            if was_not_processed(&error) || (is_idempotent(&spare.head.method) && was_closed(&error)) =>
        {
            spare.again().ok_or(error)
        }
        _ => Err(error),
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// The connection ended before the first byte of an answer.
fn was_closed(error: &HttpError) -> bool {
    match error {
        HttpError::Upstream(error) => matches!(error, Http1Error::Unheard(_)),
        HttpError::Http2(error) => error.is_io(),
        HttpError::Http1(_) | HttpError::TooLarge(_) => false,
    }
}

/// The peer says that it did nothing: it refused the stream, or went away before it saw it (RFC 9113 section 8.7).
fn was_not_processed(error: &HttpError) -> bool {
    let HttpError::Http2(error) = error else { return false };
    error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}
