//! Bodies that are too long, requests that could be read as two, and what is carried besides requests.

use crate::support::gateway::{Gateway, HOST};
use crate::support::raw_service::RawService;

const ROUTES: &str = "[[edge.route]]\nname = \"small\"\npaths = [\"/sink\"]\nupstream = \"ads\"\npublic = true\nmax_body = 1000\n\
    [[edge.route]]\nname = \"all\"\nupstream = \"ads\"\npublic = true\nmax_body = 0\n";

#[test]
fn a_body_may_be_as_long_as_its_route_says() {
    let gateway = Gateway::with("", ROUTES);
    let post = |path: &str, framing: &str, body: &str| {
        let mut connection = gateway.connect();
        connection.send(&format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n{body}")).unwrap();
        connection.answer().unwrap()
    };
    let (fits, long) = ("x".repeat(1000), "x".repeat(1001));
    let chunked = |body: &str| format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert_eq!(post("/sink", "Content-Length: 1000", &fits).body, "1000");
    assert_eq!(post("/sink", "Transfer-Encoding: chunked", &chunked(&fits)).body, "1000");
    for (framing, body) in [("Content-Length: 1001", long.clone()), ("Transfer-Encoding: chunked", chunked(&long))] {
        let refused = post("/sink", framing, &body);
        assert_eq!((refused.status, refused.closes()), (413, true), "{framing} {refused:?}");
        assert!(refused.body.contains("1000 bytes"), "{refused:?}");
    }
    let large = "x".repeat(100_000);
    assert_eq!(post("/other", "Content-Length: 100000", &large).status, 200);
    gateway.edge.wait_for_metric("mantlet_denials_total", &[("reason", "body_too_large")].into(), 2.0);
}

#[test]
fn a_request_that_two_readers_could_read_as_two_is_refused() {
    let service = RawService::start();
    let address = service.address;
    let gateway = Gateway::around(service, address, "", crate::support::gateway::OPEN, "");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: market.example\r\n\r\n";
    for framing in [
        "Content-Length: 0\r\nContent-Length: 54",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Content-Length: +54",
    ] {
        let mut connection = gateway.connect();
        connection
            .send(&format!("POST /ads HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n0\r\n\r\n{smuggled}"))
            .unwrap();
        let answer = connection.head().unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing} {answer}");
    }
    // A transfer coding overrides a length, and the connection ends with the answer (RFC 9112 section 6.1).
    let mut connection = gateway.connect();
    let framing = "Content-Length: 54\r\nTransfer-Encoding: chunked";
    connection.send(&format!("POST /both HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n0\r\n\r\n{smuggled}")).unwrap();
    let answer = connection.answer().unwrap();
    assert!(answer.status == 400 || answer.closes(), "{answer:?}");
    let plain = gateway.ask("GET /last", &[]);
    assert_eq!(plain.status, 200, "{plain:?}");
    let last = gateway.service.wait_for("/last");
    assert_eq!(last.defect(), None, "{}", last.head);
    assert!(!gateway.inbound.events().iter().any(|event| event["path"] == "/smuggled" || event["path"] == "/ads"));
}

#[test]
fn a_protocol_is_switched_through_the_edge() {
    let gateway = Gateway::with("", ROUTES);
    let mut connection = gateway.connect();
    connection
        .send(&format!("GET /upgrade HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
        .unwrap();
    let head = connection.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    connection.send("hello").unwrap();
    let mut echoed = Vec::new();
    connection.exactly(5, &mut echoed).unwrap();
    assert_eq!(echoed, b"hello");
}
