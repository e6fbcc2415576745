//! CRLs and anchors, over plain HTTP and over TLS: signed things that anyone may have. Conditional requests save the transfer (RFC
//! 9110 section 13), by entity tag alone: a date has whole seconds, and in one of them several CRLs may be signed.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, EXPIRES, HeaderMap, IF_NONE_MATCH};
use http::{HeaderValue, Method, Request, StatusCode};

use super::answer::{Answer, method_not_allowed, not_found, respond};
use super::published::{File, Published};

/// The longest that a cache may keep a file without asking: how late a revocation may reach whoever is behind one.
const MAX_AGE_SECONDS: u64 = 30;
const ALLOWED: &str = "GET, HEAD";

/// Answers a request of the CRL listener.
pub(super) fn answer(published: &Published, request: &Request<impl Sized>) -> Answer {
    if !is_read(request.method()) {
        return method_not_allowed(ALLOWED);
    }
    if let Some(file) = published.file(request.uri().path()) {
        return give(file, request.headers());
    }
    let mut refusal = not_found();
    refusal.message = format!("there is nothing at this path, but at {}", published.paths().join(", "));
    refusal.answer()
}

pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Gives a file, or says that the caller has it already.
pub(super) fn give(file: &File, asked: &HeaderMap) -> Answer {
    let fresh = is_held(file, asked);
    let mut answer = if fresh {
        let mut answer = respond(StatusCode::NOT_MODIFIED, file.content_type, Bytes::new());
        answer.headers_mut().remove(http::header::CONTENT_TYPE);
        answer
    } else {
        respond(StatusCode::OK, file.content_type, file.content.clone())
    };
    let (now, headers) = (SystemTime::now(), answer.headers_mut());
    let ends_in = file.due.map(|due| due.duration_since(now).unwrap_or_default().as_secs());
    let max_age = ends_in.map_or(MAX_AGE_SECONDS, |seconds| seconds.min(MAX_AGE_SECONDS));
    insert(headers, CACHE_CONTROL, &format!("public, max-age={max_age}"));
    insert(headers, ETAG, &file.etag);
    insert(headers, EXPIRES, &httpdate::fmt_http_date(now + std::time::Duration::from_secs(max_age)));
    answer
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    headers.insert(name, HeaderValue::from_str(value).expect("printable ASCII"));
}

/// Whether the caller names what it would be given. A date that it names says nothing, since no file has one (RFC 9110 section
/// 13.1.3).
fn is_held(file: &File, asked: &HeaderMap) -> bool {
    let tags = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == file.etag
    })
}
