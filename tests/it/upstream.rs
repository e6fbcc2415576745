//! Connections to the service and to the peer: kept, reused, replaced, and what callers are told when there is none.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::mesh::Mesh;
use crate::support::raw_service::{RawService, Then, ok};
use crate::support::service::{get, raw};
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
    let (caller, callee) = (pki.issue("gateway"), pki.issue("adservice"));
    let service = RawService::start();
    let address = closed_port();
    let outbound = crate::support::mesh::outbound(&pki, &caller, address, &callee.spiffe, "", "");
    let outbound = crate::support::sidecar::Sidecar::start(&outbound);
    let answer = raw(outbound.address("ads"), b"GET / HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let expected = format!("proxy-status: mantlet; error=connection_refused; details=\"cannot connect to {address}: ");
    assert!(answer.contains(&expected), "{answer}");
    let inbound = crate::support::mesh::inbound(&pki, &callee, service.address, &[&caller.spiffe], "", "")
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
    let mesh = Mesh::around((), address, "", "", "[timeouts]\nresponse_header = \"100ms\"");
    let (status, body) = get(mesh.entry(), "/");
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
    let curl = std::process::Command::new("curl").args(["-sS", &format!("http://{}/", mesh.entry())]).output().unwrap();
    assert!(!curl.status.success(), "{curl:?}");
}
