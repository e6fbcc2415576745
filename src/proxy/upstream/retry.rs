//! Whether a request without an answer may be sent once more (RFC 9110 section 9.2.2).

use http::{Method, request};

use crate::proxy::error::HttpError;
use crate::proxy::request_body::RequestBody;

/// Why a request has no answer, and the request where nothing of it was sent.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) error: HttpError,
    pub(super) never_sent: Option<(request::Parts, RequestBody)>,
}

/// The request to send again, or the error to report.
pub(super) fn again(
    Unanswered { error, never_sent }: Unanswered,
    may_retry: bool,
    spare: Option<Box<request::Parts>>,
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
        HttpError::Http1(error) => {
            error.is_incomplete_message() || error.is_canceled() || error.is_closed() || has_io_cause(error)
        }
        HttpError::Http2(error) => error.is_io(),
    }
}

fn has_io_cause(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.downcast_ref::<std::io::Error>().is_some())
}

/// The peer says that it did nothing: it refused the stream, or went away before it saw it (RFC 9113 section 8.7).
fn was_not_processed(error: &HttpError) -> bool {
    let HttpError::Http2(error) = error else { return false };
    error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}
