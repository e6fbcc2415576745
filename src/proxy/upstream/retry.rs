//! Whether a request without an answer may be sent once more (RFC 9110 section 9.2.2).

use http::{Method, request};

use crate::proxy::error::HttpError;
use crate::proxy::request_body::RequestBody;

use super::http1::Http1Error;

/// Why a request has no answer, and the request where nothing of it was sent.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) error: HttpError,
    pub(super) never_sent: Option<(request::Parts, RequestBody)>,
    /// The header section of one that was sent and has no body.
    pub(super) spare: Option<Box<request::Parts>>,
}

/// The request to send again, or the error to report. `may_retry` says that the connection was a used one.
pub(super) fn again(
    Unanswered { error, never_sent, spare }: Unanswered,
    may_retry: bool,
) -> Result<(request::Parts, RequestBody), HttpError> {
    match (may_retry, never_sent, spare) {
        (true, Some(request), _) => Ok(request),
        (true, None, Some(head))
            if was_not_processed(&error) || (is_idempotent(&head.method) && was_closed(&error)) =>
        {
            Ok((*head, RequestBody::Empty))
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
        HttpError::Http1(_) => false,
    }
}

/// The peer says that it did nothing: it refused the stream, or went away before it saw it (RFC 9113 section 8.7).
fn was_not_processed(error: &HttpError) -> bool {
    let HttpError::Http2(error) = error else { return false };
    error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}
