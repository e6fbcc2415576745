//! One JSON line on standard output for each request, with everything in it that claims to say who called.
//!
//! The services believe one header only. The log also names its look-alikes, since a web framework of another language
//! takes `x_mantlet_peer` for `x-mantlet-peer`: whatever got past the sidecar must be seen here.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use serde_json::json;

use super::{CALLER_HEADER, TRACE_HEADER, USER_HEADER};

/// The names under which proxies tell an application who called and for whom, in lower case and with hyphens. A token
/// has no business here either, unless it is passed on by intention.
const IDENTITY_HEADERS: [&str; 8] = [
    CALLER_HEADER,
    USER_HEADER,
    "x-mantlet-user-issuer",
    "x-mantlet-user-claims",
    "client-cert",
    "client-cert-chain",
    "x-forwarded-client-cert",
    "authorization",
];

/// Says where the service listens: the first line of its log.
pub(super) fn listening(service: &'static str, address: SocketAddr) {
    println!("{}", json!({ "service": service, "message": "listening", "address": address.to_string() }));
}

/// The routes, with a line in the log for each request.
pub(super) fn layered(service: &'static str, routes: Router) -> Router {
    routes.layer(from_fn_with_state(service, log))
}

async fn log(State(service): State<&'static str>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let target = request.uri().to_string();
    let trace = request.headers().get(TRACE_HEADER).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let identity = identity_headers(request.headers());
    let response = next.run(request).await;
    println!(
        "{}",
        json!({
            "service": service,
            "message": "request",
            "method": method.as_str(),
            "path": target,
            "status": response.status().as_u16(),
            "traceparent": trace,
            "identity_headers": identity,
        })
    );
    response
}

/// Each header that names a caller, as it came, with all its values.
fn identity_headers(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let name = name.as_str();
        if IDENTITY_HEADERS.contains(&name.replace('_', "-").as_str()) {
            found.entry(name.to_owned()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_log_names_look_alikes_and_duplicates() {
        let mut headers = HeaderMap::new();
        headers.append("x-mantlet-peer", HeaderValue::from_static("one"));
        headers.append("x-mantlet-peer", HeaderValue::from_static("two"));
        headers.append("x_mantlet-peer", HeaderValue::from_static("three"));
        headers.append("client_cert", HeaderValue::from_static("four"));
        headers.append("accept", HeaderValue::from_static("*/*"));

        let found = identity_headers(&headers);

        assert_eq!(found["x-mantlet-peer"], ["one", "two"]);
        assert_eq!(found["x_mantlet-peer"], ["three"]);
        assert_eq!(found["client_cert"], ["four"]);
        assert_eq!(found.len(), 3);
    }
}
