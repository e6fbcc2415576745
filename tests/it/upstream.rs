//! Connections to the service and to the peer: kept, reused, replaced, and what callers are told when there is none.

use std::net::TcpListener;

use crate::support::mesh::Mesh;
use crate::support::raw_service::{RawService, Then, ok};
use crate::support::service::{Service, get, raw};
use crate::support::tls_client::{HTTP1, client_config, connect, talk};

fn around(service: RawService, tables: &str) -> Mesh<RawService> {
    let address = service.address;
    Mesh::around(service, address, "", "", tables)
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: ads\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

fn closed_port() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn connections_to_the_service_are_reused() {
    let mesh = around(RawService::start(), "");
    for _ in 0..20 {
        assert_eq!(get(mesh.entry(), "/"), (200, "ok".to_owned()));
    }
    assert_eq!(mesh.service.requests().len(), 20);
    // One for each worker that was asked.
    assert!(mesh.service.connections() <= 2, "{}", mesh.service.connections());
}

#[test]
fn a_pooled_connection_that_the_service_closed_costs_no_request() {
    let service = RawService::answering(|_| Then::AnswerAndClose(ok("ok")));
    let mesh = around(service, "");
    for round in 0..20 {
        assert_eq!(get(mesh.entry(), "/").0, 200, "round {round}");
        let answer = raw(mesh.entry(), &post("/", "hello"));
        assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 502"), "{answer}");
    }
}

/// A service that answers one request on each connection and closes without a word when the next one comes.
fn closing_on_the_second() -> RawService {
    let answered = std::sync::Mutex::new(std::collections::HashSet::new());
    RawService::answering(move |request| {
        if answered.lock().unwrap().insert(request.connection) { Then::Answer(ok("ok")) } else { Then::Close }
    })
}

#[test]
fn an_idempotent_request_is_sent_once_more_when_a_pooled_connection_closes_under_it() {
    let mesh = around(closing_on_the_second(), "");
    let answers: Vec<u16> = (0..6).map(|turn| get(mesh.entry(), &format!("/{turn}")).0).collect();
    assert_eq!(answers, [200; 6]);
    let requests = mesh.service.requests();
    assert!(requests.len() > 6, "none met a closed connection: {requests:?}");
    for turn in 0..6 {
        let path = format!("/{turn}");
        assert!(requests.iter().filter(|request| request.path() == path).count() <= 2, "{requests:?}");
    }
}

#[test]
fn a_post_is_never_sent_twice() {
    let mesh = around(closing_on_the_second(), "");
    let mut failed = 0;
    for turn in 0..6 {
        let path = format!("/{turn}");
        let answer = raw(mesh.entry(), &post(&path, "hello"));
        let count = mesh.service.requests().iter().filter(|request| request.path() == path).count();
        assert_eq!(count, 1, "{answer}");
        failed += usize::from(answer.starts_with("HTTP/1.1 502"));
    }
    assert!(failed > 0, "none met a closed connection");
}

#[test]
fn a_request_is_retried_once_and_not_more() {
    // A fresh connection that closes is no stale one.
    let mesh = around(RawService::answering(|_| Then::Close), "");
    let (status, body) = get(mesh.entry(), "/once");
    assert_eq!(status, 502, "{body}");
    assert_eq!(mesh.service.requests().len(), 1);
}

#[test]
fn a_service_that_is_down_is_a_502_and_recovers_at_once_when_it_is_up() {
    let address = closed_port();
    let mesh = Mesh::around((), address, "", "", "");
    let (status, body) = get(mesh.entry(), "/");
    assert_eq!(status, 502, "{body}");
    let event = mesh.inbound.wait_for("failure", |event| event["message"] == "exchange failed");
    assert_eq!(event["reason"], "connection_refused");
    let service = RawService::on(TcpListener::bind(address).unwrap(), |_| Then::Answer(ok("up")));
    assert_eq!(get(mesh.entry(), "/"), (200, "up".to_owned()));
    drop(service);
}

#[test]
fn a_peer_that_is_down_is_a_502_with_the_reason_and_recovers_at_once_when_it_is_up() {
    let pki = crate::support::pki::Pki::new();
    let gateway = pki.issue("gateway");
    let ads = pki.issue("adservice");
    let service = RawService::start();
    let address = closed_port();
    let outbound = crate::support::mesh::outbound(&pki, &gateway, address, &ads.spiffe, "", "");
    let outbound = crate::support::sidecar::Sidecar::start(&outbound);
    let answer = raw(outbound.address("ads"), b"GET / HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let expected = format!("proxy-status: mantlet; error=connection_refused; details=\"cannot connect to {address}: ");
    assert!(answer.contains(&expected), "{answer}");
    let inbound = crate::support::mesh::inbound(&pki, &ads, service.address, &[&gateway.spiffe], "", "")
        .replace("127.0.0.1:0\"\nforward_to", &format!("{address}\"\nforward_to"));
    let _inbound = crate::support::sidecar::Sidecar::start(&inbound);
    assert_eq!(get(outbound.address("ads"), "/"), (200, "ok".to_owned()));
}

#[test]
fn a_remote_peer_learns_nothing_about_what_is_behind_the_sidecar() {
    let address = closed_port();
    let mesh = Mesh::around((), address, "", "", "");
    let config = client_config(&mesh.pki, Some(&mesh.caller), HTTP1);
    let answer = talk(
        connect(mesh.tls(), "adservice", config).unwrap(),
        b"GET / HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    let secrets = [address.port().to_string(), "127.0.0.1".to_owned(), "os error".to_owned()];
    assert!(secrets.iter().all(|secret| !answer.contains(secret.as_str())), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["detail"], "the service behind this sidecar cannot be reached");
}

#[test]
fn a_denied_caller_reads_a_problem_document_and_the_body_it_sends_is_not_read() {
    let service = RawService::start();
    let address = service.address;
    let mesh = Mesh::around(service, address, "", "", "");
    let stranger = mesh.pki.issue("stranger");
    let open = || connect(mesh.tls(), "adservice", client_config(&mesh.pki, Some(&stranger), HTTP1)).unwrap();
    let head = "POST /secret HTTP/1.1\r\nHost: ads\r\nContent-Length: 8388608\r\n";
    // A client that waits is never told to go on; one that does not wait can still read why it was refused.
    let waiting = talk(open(), format!("{head}Expect: 100-continue\r\nConnection: close\r\n\r\n").as_bytes());
    let mut eager = head.as_bytes().to_vec();
    eager.extend_from_slice(b"\r\n");
    eager.resize(eager.len() + 512 * 1024, b'x');
    for answer in [waiting, talk(open(), &eager)] {
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert!(head.contains("proxy-status: mantlet; error=http_request_denied; details=\""), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((problem["status"].as_u64(), problem["title"].as_str()), (Some(403), Some("Forbidden")));
        assert!(problem["detail"].as_str().unwrap().contains("spiffe://fleamarket.internal/stranger"), "{problem}");
    }
    assert!(mesh.service.requests().is_empty() && mesh.service.connections() == 0);
}

#[test]
fn an_answer_that_does_not_come_in_time_is_a_504() {
    // Nothing is ever accepted: the kernel connects, and no answer comes.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let pki = crate::support::pki::Pki::new();
    let gateway = pki.issue("gateway");
    let ads = pki.issue("adservice");
    // Only the inbound side has a limit, so that a slow hop does not use it up.
    let limit = "[timeouts]\nresponse_header = \"100ms\"";
    let inbound = crate::support::mesh::inbound(&pki, &ads, address, &[&gateway.spiffe], "", limit);
    let inbound = crate::support::sidecar::Sidecar::start(&inbound);
    let outbound = crate::support::mesh::outbound(&pki, &gateway, inbound.address("ads"), &ads.spiffe, "", "");
    let outbound = crate::support::sidecar::Sidecar::start(&outbound);
    let (status, body) = get(outbound.address("ads"), "/");
    assert_eq!(status, 504, "{body}");
    assert!(body.contains("http_response_timeout"), "{body}");
    // A request that was given up is not tried again elsewhere.
    silent.set_nonblocking(true).unwrap();
    assert!(silent.accept().is_ok());
    assert!(silent.accept().is_err());
}

#[test]
fn an_answer_that_breaks_off_is_not_passed_on_as_whole() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec();
    let mesh = around(RawService::answering(move |_| Then::AnswerAndClose(half.clone())), "");
    let curl =
        std::process::Command::new("curl").args(["-sSf", &format!("http://{}/", mesh.entry())]).output().unwrap();
    assert!(!curl.status.success(), "{curl:?}");
}

/// The status, the RFC 9209 error and the detail that a local caller reads.
fn told(address: std::net::SocketAddr, request: &[u8]) -> (u64, String, String) {
    let answer = raw(address, request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/problem+json"), "{answer}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    let error = problem["error"].as_str().unwrap().to_owned();
    assert!(head.contains(&format!("proxy-status: mantlet; error={error}; details=\"")), "{answer}");
    (problem["status"].as_u64().unwrap(), error, problem["detail"].as_str().unwrap().to_owned())
}

#[test]
fn each_failure_of_the_hop_has_its_own_name_and_reason() {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n";
    let mesh = around(RawService::start(), "");
    let plaintext = Service::start();
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = "spiffe://fleamarket.internal/other";
    let (dialled, silent) = (mesh.tls().to_string(), listening.local_addr().unwrap().to_string());
    let cases = [
        ("nowhere.invalid:1", mesh.callee.spiffe.as_str(), 502, "dns_error", "cannot resolve nowhere.invalid: "),
        (&dialled, other, 502, "tls_certificate_error", mesh.callee.spiffe.as_str()),
        (&plaintext.address.to_string(), other, 502, "tls_protocol_error", "no TLS with "),
        (&silent, other, 504, "connection_timeout", "within 200ms"),
    ];
    for (peer, expect, status, error, detail) in cases {
        let tables = if status == 504 { "[timeouts]\nhandshake = \"200ms\"" } else { "" };
        let config = crate::support::mesh::outbound(&mesh.pki, &mesh.caller, mesh.tls(), expect, "", tables);
        let config = config.replace(&format!("connect_to = \"{dialled}\""), &format!("connect_to = \"{peer}\""));
        let outbound = crate::support::sidecar::Sidecar::start(&config);
        let found = told(outbound.address("ads"), GET);
        assert!((found.0, found.1.as_str()) == (status, error) && found.2.contains(detail), "{peer}: {found:?}");
        let logged = ["exchange failed", "peer refused"];
        let event = outbound.wait_for("failure", |event| logged.iter().any(|message| event["message"] == *message));
        assert!(event["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{event}");
    }
    assert!(mesh.service.requests().is_empty());
}

#[test]
fn a_request_that_cannot_be_carried_is_told_why() {
    let mesh = around(RawService::start(), "");
    let cases: [(&[u8], u64, &str); 2] = [
        (b"GET http://users/ HTTP/1.1\r\nHost: ads\r\n\r\n", 400, "the Host header and the target's authority differ"),
        (
            b"CONNECT ads:80 HTTP/1.1\r\nHost: ads:80\r\nConnection: close\r\n\r\n",
            501,
            "the method CONNECT is not carried",
        ),
    ];
    for (request, status, detail) in cases {
        let found = told(mesh.entry(), request);
        assert_eq!((found.0, found.1.as_str()), (status, "http_request_error"));
        assert!(found.2.contains(detail), "{found:?}");
    }
}

#[test]
fn a_restarted_sidecar_is_called_again_without_a_failed_get() {
    let mut mesh = around(RawService::start(), "");
    assert_eq!(get(mesh.entry(), "/").0, 200);
    let address = mesh.tls();
    let config = std::fs::read_to_string(&mesh.inbound.config).unwrap();
    let config = config.replace("127.0.0.1:0\"\nforward_to", &format!("{address}\"\nforward_to"));
    mesh.inbound.signal("KILL");
    mesh.inbound.wait_for_exit();
    mesh.inbound = crate::support::sidecar::Sidecar::start(&config);
    for turn in 0..4 {
        assert_eq!(get(mesh.entry(), "/"), (200, "ok".to_owned()), "turn {turn}");
    }
}
