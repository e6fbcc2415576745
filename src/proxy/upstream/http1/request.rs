//! How a request is written: its header section, and how the extent of its body is told.

use bytes::{BufMut, BytesMut};
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, request};
use http_body::Body as _;

use crate::proxy::request_body::RequestBody;

use super::error::Http1Error;
use super::length::declared_length;

/// How the extent of a request's body is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length; what is still to come of it.
    Length(u64),
    /// In chunks, and with those trailers whose names the header section announces.
    Chunked(Vec<HeaderName>),
}

impl Framing {
    /// Settles it from what the header section declares and what the body knows, and makes the header section say so, once and in
    /// one way.
    ///
    /// # Errors
    /// [`Http1Error::Invalid`] where the two contradict each other.
    pub(super) fn settle(headers: &mut HeaderMap, body: &RequestBody) -> Result<Self, Http1Error> {
        let declared = declared_length(headers)?;
        headers.remove(TRANSFER_ENCODING);
        let length = if body.is_empty() {
            if declared.is_some_and(|length| length != 0) {
                return Err(Http1Error::Invalid("the request declares a body that it does not have"));
            }
            declared
        } else {
            let Some(length) = declared.or(body.size_hint().exact()) else {
                headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                return Ok(Self::Chunked(announced_trailers(headers)));
            };
            Some(length)
        };
        if let Some(length) = length
            && !is_told_once(headers)
        {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(Self::Length(length.unwrap_or(0)))
    }
}

/// True where there is one `Content-Length` with one number in it.
fn is_told_once(headers: &HeaderMap) -> bool {
    let mut told = headers.get_all(CONTENT_LENGTH).iter();
    let first = told.next().is_some_and(|length| length.as_bytes().iter().all(u8::is_ascii_digit));
    first && told.next().is_none()
}

fn announced_trailers(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.get_all(TRAILER).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// Writes the header section of a request. Its target is a path, or `*`.
pub(super) fn write_head(head: &request::Parts, to: &mut BytesMut) {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let is_path = target.starts_with('/') || target == "*";
    let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    to.reserve(fields + head.method.as_str().len() + target.len() + 32);
    to.put_slice(head.method.as_str().as_bytes());
    to.put_slice(if is_path { b" " } else { b" /" });
    to.put_slice(target.as_bytes());
    to.put_slice(b" HTTP/1.1\r\n");
    write_fields(&head.headers, |_| true, to);
    to.put_slice(b"\r\n");
}

/// Writes the trailers that were announced and that mean something after a body (RFC 9110 section 6.5.1).
pub(super) fn write_trailers(trailers: &HeaderMap, announced: &[HeaderName], to: &mut BytesMut) {
    write_fields(trailers, |name| announced.contains(name) && !belongs_before_a_body(name), to);
}

fn write_fields(headers: &HeaderMap, is_wanted: impl Fn(&HeaderName) -> bool, to: &mut BytesMut) {
    for (name, value) in headers {
        if is_wanted(name) {
            to.put_slice(name.as_str().as_bytes());
            to.put_slice(b": ");
            to.put_slice(value.as_bytes());
            to.put_slice(b"\r\n");
        }
    }
}

fn belongs_before_a_body(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "cache-control"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "host"
            | "max-forwards"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
    )
}

#[cfg(test)]
mod tests {
    use http::{Method, Request};

    use super::*;

    fn parts(method: Method, uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let (mut head, ()) = Request::builder().method(method).uri(uri).body(()).expect("request").into_parts();
        for (name, value) in headers {
            head.headers.append(name.parse::<HeaderName>().expect("name"), value.parse().expect("value"));
        }
        head
    }

    fn written(head: &request::Parts) -> String {
        let mut bytes = BytesMut::new();
        write_head(head, &mut bytes);
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[test]
    fn a_head_is_a_request_line_its_fields_and_an_empty_line() {
        let head = parts(Method::GET, "/a?b=c", &[("host", "ads"), ("x-a", "1"), ("x-a", "2")]);
        assert_eq!(written(&head), "GET /a?b=c HTTP/1.1\r\nhost: ads\r\nx-a: 1\r\nx-a: 2\r\n\r\n");
        assert_eq!(written(&parts(Method::OPTIONS, "*", &[])), "OPTIONS * HTTP/1.1\r\n\r\n");
        assert_eq!(written(&parts(Method::GET, "http://ads?x", &[])), "GET /?x HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn the_length_of_no_body_is_told_where_it_was_told_and_never_another() {
        let mut silent = HeaderMap::new();
        assert_eq!(Framing::settle(&mut silent, &RequestBody::Empty).expect("good"), Framing::Length(0));
        assert!(silent.is_empty());
        let mut told = parts(Method::POST, "/", &[("content-length", "0"), ("content-length", "0")]).headers;
        assert_eq!(Framing::settle(&mut told, &RequestBody::Empty).expect("good"), Framing::Length(0));
        assert_eq!(told.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["0"]);
        let mut lying = parts(Method::POST, "/", &[("content-length", "5")]).headers;
        assert!(Framing::settle(&mut lying, &RequestBody::Empty).is_err());
    }

    #[test]
    fn only_trailers_that_were_announced_and_belong_there_are_written() {
        let head = parts(Method::POST, "/", &[("trailer", "x-sum, Content-Length"), ("trailer", "x-end")]);
        let announced = announced_trailers(&head.headers);
        let trailers = parts(
            Method::POST,
            "/",
            &[("x-sum", "7"), ("content-length", "9"), ("x-end", "b"), ("x-unannounced", "c")],
        );
        let mut bytes = BytesMut::new();
        write_trailers(&trailers.headers, &announced, &mut bytes);
        assert_eq!(&bytes[..], b"x-sum: 7\r\nx-end: b\r\n");
    }
}
