//! Which request goes where.

use crate::support::frames::{BAD_REQUEST, End, Frames, OK};
use crate::support::gateway::{Gateway, HOST};
use crate::support::tls_client::{HTTP2, client_config, connect};

const ROUTES: &str = r#"
[[edge.route]]
name = "exact"
host = "market.example"
paths = ["/ads", "/ads/{id}"]
methods = ["GET", "HEAD"]
upstream = "ads"
public = true
[[edge.route]]
name = "offer"
host = "market.example"
paths = ["/ads"]
methods = ["POST"]
upstream = "ads"
public = true
[[edge.route]]
name = "images"
host = "*.images.example"
paths = ["/i/*"]
upstream = "ads"
public = true
"#;

/// The status and the answer's text to a request for this host.
fn status(gateway: &Gateway, method: &str, target: &str, host: &str) -> u16 {
    let mut connection = gateway.connect();
    connection.send(&format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")).unwrap();
    connection.answer().unwrap().status
}

#[test]
fn a_request_takes_the_route_that_fits_in_host_path_and_method() {
    let gateway = Gateway::with("", ROUTES);
    for (method, target, host, expected) in [
        ("GET", "/ads", HOST, 200),
        ("GET", "/ads/7?q=1", HOST, 200),
        ("GET", "/ads", "MARKET.Example.:8443", 200),
        ("POST", "/ads", HOST, 200),
        ("GET", "/i/a/b", "cdn.images.example", 200),
        ("GET", "/ads/", HOST, 404),
        ("GET", "/ads/7/8", HOST, 404),
        ("GET", "/i/a", HOST, 404),
        ("DELETE", "/ads", HOST, 405),
        ("POST", "/ads/7", HOST, 405),
        ("GET", "/ads", "other.example", 421),
        ("GET", "/ads", "market.example.evil", 421),
        ("GET", "/i/a", "images.example", 421),
        ("GET", "/i/a", "a.b.images.example", 421),
        ("GET", "/ads", "", 421),
    ] {
        assert_eq!(status(&gateway, method, target, host), expected, "{method} {target} {host}");
    }
    let refused = gateway.ask("DELETE /ads", &[]);
    assert_eq!((refused.status, refused.header("allow")), (405, vec!["GET, HEAD, POST"]), "{refused:?}");
    let logged = gateway.edge.wait_for("request", |event| event["message"] == "request" && event["route"] == "images");
    assert_eq!((&logged["direction"], &logged["path"]), (&"edge".into(), &"/i/a/b".into()));
    gateway.edge.wait_for_metric("mantlet_route_requests_total", &[("route", "offer"), ("code", "200")].into(), 1.0);
}

#[test]
fn a_path_that_two_readers_could_read_differently_goes_nowhere() {
    let gateway = Gateway::with("", ROUTES);
    for target in [
        "/ads/../admin",
        "/ads/%2e%2e/admin",
        "/ads//7",
        "/ads/a%2fb",
        "/ads/a%5cb",
        "/ads/a;b",
        "/ads/%00",
        "/ads/%252e",
    ] {
        assert_eq!(status(&gateway, "GET", target, HOST), 400, "{target}");
    }
    gateway.edge.wait_for_metric("mantlet_denials_total", &[("reason", "ambiguous_path")].into(), 8.0);
    assert!(!gateway.inbound.events().iter().any(|event| event["message"] == "request"));
}

#[test]
fn the_host_that_is_judged_is_the_one_that_the_service_sees() {
    let gateway = Gateway::with("", ROUTES);
    for request in [
        "GET https://market.example/ads HTTP/1.1\r\nHost: other.example\r\n\r\n",
        "GET /ads HTTP/1.1\r\nHost: market.example\r\nHost: other.example\r\n\r\n",
        "GET /ads HTTP/1.1\r\n\r\n",
        "GET https://user@market.example/ads HTTP/1.1\r\nHost: user@market.example\r\n\r\n",
    ] {
        let mut connection = gateway.connect();
        connection.send(request).unwrap();
        assert_eq!(connection.answer().unwrap().status, 400, "{request}");
    }
    let mut connection = gateway.connect();
    connection.send("GET https://market.example/ads HTTP/1.1\r\nHost: market.example\r\n\r\n").unwrap();
    assert_eq!(connection.answer().unwrap().received("host"), [HOST]);
}

#[test]
fn over_http2_the_host_is_the_authority_and_no_other() {
    let gateway = Gateway::with("", ROUTES);
    let ask = |fields: &[(&str, &str)]| {
        let config = client_config(&gateway.public, None, HTTP2);
        let base = [(":method", "GET"), (":scheme", "https"), (":path", "/ads")];
        Frames::open(connect(gateway.address(), HOST, config).unwrap()).ask(&[&base, fields].concat(), None)
    };
    assert_eq!(ask(&[(":authority", HOST)]), End::Headers(OK));
    assert_eq!(ask(&[(":authority", "MARKET.example.:443"), ("host", "market.EXAMPLE.:443")]), End::Headers(OK));
    assert_eq!(ask(&[(":authority", HOST), ("host", "other.example")]), End::Headers(BAD_REQUEST));
    assert_eq!(ask(&[(":authority", "other.example"), ("host", HOST)]), End::Headers(BAD_REQUEST));
    assert_eq!(ask(&[(":authority", "user@market.example")]), End::Headers(BAD_REQUEST));
    assert_ne!(ask(&[(":authority", "other.example")]), End::Headers(OK));
    let served = || gateway.inbound.events().iter().filter(|event| event["message"] == "request").count();
    gateway.inbound.wait_for_metric("mantlet_requests_total", &[("code", "200")].into(), 2.0);
    assert_eq!(served(), 2);
}
