//! What each path of the admin listener answers.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, SERVER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tracing::warn;

use crate::net::Address;

use super::AdminState;
use super::document::Document;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PATHS: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/status"];

/// Which `Host` a request may name.
///
/// A web page can have its own name resolve to 127.0.0.1 and so read what only this host should (DNS rebinding). On a
/// loopback address, therefore, the host is an IP address or `localhost`. Where the operator opened the listener to others
/// by `unsafe_listen`, these know it by any name; a browser does not reach a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostRule {
    AddressOrLocalhost,
    Any,
}

impl HostRule {
    pub(crate) fn of_listener(address: &Address) -> Self {
        match address {
            Address::Tcp(_) if address.is_loopback() => Self::AddressOrLocalhost,
            _ => Self::Any,
        }
    }

    fn admits(self, request: &Request<impl Sized>) -> bool {
        let named = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or(""));
        let mut hosts = named.chain(request.uri().authority().map(http::uri::Authority::as_str));
        self == Self::Any || hosts.all(is_address_or_localhost)
    }
}

fn is_address_or_localhost(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

/// An answer of an admin listener.
pub(crate) type AdminAnswer = Response<Full<Bytes>>;

/// The refusal of what no admin listener answers, whatever the path.
pub(crate) fn refuse(hosts: HostRule, request: &Request<impl Sized>) -> Option<AdminAnswer> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(response);
    }
    if !hosts.admits(request) {
        return Some(problem(
            StatusCode::MISDIRECTED_REQUEST,
            "the request's Host is neither an IP address nor \"localhost\"; ask for the address that [admin] listens on",
        ));
    }
    None
}

/// Answers a request.
pub(super) fn answer(state: &AdminState, hosts: HostRule, request: &Request<impl Sized>) -> AdminAnswer {
    if let Some(refusal) = refuse(hosts, request) {
        return refusal;
    }
    match request.uri().path() {
        "/healthz" => respond(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => readiness(state, request),
        "/metrics" => metrics(state),
        "/status" => respond(StatusCode::OK, JSON, pretty(&Document::of(state))),
        _ => problem(StatusCode::NOT_FOUND, &format!("there is nothing at this path, but at {}", PATHS.join(", "))),
    }
}

fn readiness(state: &AdminState, request: &Request<impl Sized>) -> Response<Full<Bytes>> {
    let readiness = state.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let wants_json = request.headers().get_all(ACCEPT).iter().any(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.split([',', ';']).any(|range| range.trim().eq_ignore_ascii_case(JSON)))
    });
    if wants_json { respond(status, JSON, pretty(&readiness)) } else { respond(status, TEXT, readiness.to_text()) }
}

fn metrics(state: &AdminState) -> Response<Full<Bytes>> {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &state.registry) {
        Ok(()) => respond(StatusCode::OK, OPEN_METRICS, text),
        Err(error) => {
            warn!(%error, "the metrics could not be encoded");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be encoded")
        }
    }
}

fn pretty(document: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(document).expect("strings, numbers and lists of them always encode");
    text + "\n"
}

/// A problem as RFC 9457 has it.
pub(crate) fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    let title = status.canonical_reason().unwrap_or("error");
    let mut body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    if status == StatusCode::NOT_FOUND {
        body["paths"] = json!(PATHS);
    }
    respond(status, PROBLEM, format!("{body}\n"))
}

pub(crate) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(SERVER, HeaderValue::from_static(super::SERVER_NAME));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A page of another origin neither reads the answer, for no CORS header is sent, nor embeds it.
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_pass_as_hosts_of_a_loopback_listener() {
        for good in ["127.0.0.1:9900", "127.0.0.1", "localhost", "LOCALHOST:9900", "[::1]:9900", "[::1]", "10.0.0.7:1"]
        {
            assert!(is_address_or_localhost(good), "{good}");
        }
        for bad in ["evil.example", "evil.example:9900", "localhost.evil.example", "", "127.0.0.1.evil.example", "a:b"]
        {
            assert!(!is_address_or_localhost(bad), "{bad}");
        }
    }
}
