//! Running sidecars: what a CRL that arrives, or does not, means for their connections and their operators.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use rustls::AlertDescription;
use serde_json::Value;
use time::OffsetDateTime;
use tonic::Request;
use tonic::transport::Endpoint;

use super::crl_server::{Answer, CrlServer};
use crate::support::block_on;
use crate::support::exchange::KeptAlive;
use crate::support::gate::NAME;
use crate::support::grpc::{GrpcService, Raw};
use crate::support::load::{Load, Version};
use crate::support::mesh::{inbound, outbound};
use crate::support::pki::{Issued, Pki};
use crate::support::service::Service;
use crate::support::sidecar::Sidecar;
use crate::support::tls_client::{HTTP1, HTTP2, alert, client_config, connect};

/// An authority whose CRL is served over HTTP, and a sidecar that fetches it.
struct Scene {
    pki: Pki,
    server: CrlServer,
    caller: Issued,
    other: Issued,
    sidecar: Sidecar,
    _service: Service,
}

impl Scene {
    fn with(keys: &str) -> Self {
        let (pki, service) = (Pki::new(), Service::start());
        let (own, caller, other) = (pki.issue(NAME), pki.issue("gateway"), pki.issue("batch"));
        let server = CrlServer::start(answer(&pki, &[]));
        let tables = format!("[revocation]\nsources = [{:?}]\n{keys}\n", server.url("/ca.crl"));
        let allow: Vec<&str> = vec![&caller.spiffe, &other.spiffe];
        let sidecar = Sidecar::start(&inbound(&pki, &own, service.address, &allow, "", &tables));
        sidecar.wait_for("a CRL", |event| event["message"] == "a CRL is in use");
        Self { pki, server, caller, other, sidecar, _service: service }
    }

    fn kept(&self, caller: &Issued) -> KeptAlive<crate::support::tls_client::TlsClient> {
        let config = client_config(&self.pki, Some(caller), HTTP1);
        let mut kept = KeptAlive::new(connect(self.sidecar.address("ads"), NAME, config).unwrap());
        assert_eq!(kept.get("/").unwrap().status, 200);
        kept
    }

    /// The CA lists these, and the sidecar is told to ask now.
    fn revoke(&self, revoked: &[&Issued]) {
        self.server.answer(answer(&self.pki, revoked));
        let seen = self.sidecar.events().len();
        self.sidecar.signal("HUP");
        self.sidecar.wait_from(seen, "the next CRL", |event| event["message"] == "a CRL is in use");
    }

    fn alert(&self, caller: &Issued) -> AlertDescription {
        alert(self.sidecar.address("ads"), NAME, client_config(&self.pki, Some(caller), HTTP1))
    }
}

/// The CRL that lists these certificates, as an answer.
fn answer(pki: &Pki, revoked: &[&Issued]) -> Answer {
    Answer::Body(fs::read(pki.revoke(revoked)).unwrap(), String::new())
}

/// Asks until the connection ends. What is asked before the CRL is in use may still be answered.
fn ended(kept: &mut KeptAlive<crate::support::tls_client::TlsClient>) -> bool {
    while kept.get("/").is_ok() {}
    true
}

#[test]
fn a_crl_that_arrives_over_http_cuts_the_revoked_and_nobody_else() {
    let scene = Scene::with("");
    let (mut revoked, mut unaffected) = (scene.kept(&scene.caller), scene.kept(&scene.other));
    scene.revoke(&[&scene.caller]);
    let event = scene.sidecar.wait_for("cut", |event| event["message"] == "connection cut");
    assert_eq!(event["reason"], "certificate_revoked");
    assert!(ended(&mut revoked));
    assert_eq!(unaffected.get("/").unwrap().status, 200);
    assert_eq!(scene.alert(&scene.caller), AlertDescription::CertificateRevoked);
    let ended = HashMap::from([("reason", "certificate_revoked")]);
    scene.sidecar.wait_for_metric("mantlet_connections_ended_total", &ended, 1.0);
}

#[test]
fn the_access_event_of_what_was_cut_says_why() {
    let scene = Scene::with("[log]\naccess = true");
    let config = client_config(&scene.pki, Some(&scene.caller), HTTP1);
    let mut kept = KeptAlive::new(connect(scene.sidecar.address("ads"), NAME, config).unwrap());
    kept.send("GET /bytes/100000000000 HTTP/1.1\r\nHost: ads\r\n\r\n").unwrap();
    assert!(kept.head().unwrap().starts_with("HTTP/1.1 200"));
    scene.revoke(&[&scene.caller]);
    let event = scene.sidecar.wait_for("the access event", |event| event["message"] == "request");
    assert_eq!((&event["outcome"], &event["reason"]), (&"cut".into(), &"certificate_revoked".into()), "{event}");
    assert_eq!(event["status"], 200);
}

#[test]
fn a_thousand_others_lose_nothing_while_the_revoked_are_cut() {
    let scene = Scene::with("");
    let load = |version, alpn: &[&[u8]], clients, caller: &Issued| {
        let config = client_config(&scene.pki, Some(caller), alpn);
        Load::tls(scene.sidecar.address("ads"), version, clients, config)
    };
    let others = [load(Version::Http1, HTTP1, 500, &scene.other), load(Version::Http2, HTTP2, 500, &scene.other)];
    for load in &others {
        load.wait_for_connections(500);
    }
    let mut revoked: Vec<_> = (0..20).map(|_| scene.kept(&scene.caller)).collect();
    scene.revoke(&[&scene.caller]);
    for revoked in &mut revoked {
        assert!(ended(revoked));
    }
    for load in others {
        load.wait_for_more(1000);
        let tally = load.finish();
        assert_eq!((tally.failures, tally.connections), (Vec::<String>::new(), 500));
    }
}

#[test]
fn within_revoked_grace_a_connection_finishes_what_it_carries_and_no_more() {
    let scene = Scene::with("revoked_grace = \"1h\"\n[timeouts]\ndrain = \"1h\"");
    let config = client_config(&scene.pki, Some(&scene.caller), HTTP1);
    let mut kept = KeptAlive::new(connect(scene.sidecar.address("ads"), NAME, config).unwrap());
    kept.send("POST /echo HTTP/1.1\r\nHost: ads\r\nContent-Length: 10\r\n\r\nbegin").unwrap();
    assert!(kept.head().unwrap().starts_with("HTTP/1.1 200"));
    scene.revoke(&[&scene.caller]);
    scene.sidecar.wait_for("cut", |event| event["message"] == "connection told to go");
    kept.send("nings").unwrap();
    let mut said = Vec::new();
    kept.exactly(10, &mut said).unwrap();
    assert_eq!(said, b"beginnings");
    if let Ok(answer) = kept.get("/") {
        assert_eq!((answer.status, answer.closes()), (403, true), "nothing new is permitted");
    }
    assert_eq!(scene.alert(&scene.caller), AlertDescription::CertificateRevoked);
}

#[test]
fn when_revoked_grace_is_over_what_is_left_is_cut() {
    let scene = Scene::with("revoked_grace = \"100ms\"\n[timeouts]\ndrain = \"1h\"");
    let config = client_config(&scene.pki, Some(&scene.caller), HTTP1);
    let mut kept = KeptAlive::new(connect(scene.sidecar.address("ads"), NAME, config).unwrap());
    kept.send("POST /echo HTTP/1.1\r\nHost: ads\r\nContent-Length: 10\r\n\r\nbegin").unwrap();
    assert!(kept.head().unwrap().starts_with("HTTP/1.1 200"));
    scene.revoke(&[&scene.caller]);
    assert!(kept.exactly(10, &mut Vec::new()).is_err());
}

#[test]
fn a_revoked_callers_grpc_stream_is_cut() {
    let pki = Pki::new();
    let service = GrpcService::start();
    let (own, caller) = (pki.issue(NAME), pki.issue("gateway"));
    let crl = pki.revoke(&[]);
    let tables = format!("[revocation]\nsources = [{crl:?}]\n");
    let receiver = Sidecar::start(&inbound(&pki, &own, service.address, &[&caller.spiffe], "", &tables));
    let sender = Sidecar::start(&outbound(&pki, &caller, receiver.address("ads"), &own.spiffe, "", ""));
    block_on(async {
        let channel =
            Endpoint::from_shared(format!("http://{}", sender.address("ads"))).unwrap().connect().await.unwrap();
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let (send, queue) = tokio::sync::mpsc::unbounded_channel();
        let queue = futures_util::stream::unfold(queue, |mut queue| async move {
            queue.recv().await.map(|message| (message, queue))
        });
        send.send(Bytes::from_static(b"hello")).unwrap();
        let echo = http::uri::PathAndQuery::from_static("/test.Echo/Echo");
        let mut answers = client.streaming(Request::new(queue), echo, Raw).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap(), "hello");
        pki.revoke(&[&caller]);
        assert!(answers.message().await.is_err(), "the stream is cut");
    });
}

#[test]
fn a_connection_whose_crl_expires_drains_and_the_next_is_refused() {
    let (pki, service) = (Pki::new(), Service::start());
    let (own, caller) = (pki.issue(NAME), pki.issue("gateway"));
    let crl = pki.folder.path().join("ca.crl");
    pki.write_crl(&crl, &[], OffsetDateTime::now_utc() + Duration::from_secs(4));
    let tables = format!("[revocation]\nsources = [{crl:?}]\ngrace = \"0s\"\n");
    let sidecar = Sidecar::start(&inbound(&pki, &own, service.address, &[&caller.spiffe], "", &tables));
    let config = || client_config(&pki, Some(&caller), HTTP1);
    let mut kept = KeptAlive::new(connect(sidecar.address("ads"), NAME, config()).unwrap());
    assert_eq!(kept.get("/").unwrap().status, 200);
    let event = sidecar.wait_for("cut", |event| event["message"] == "connection told to go");
    assert_eq!(event["reason"], "revocation_unknown");
    sidecar.wait_for("expired", |event| event["message"].as_str().unwrap().starts_with("the CRL has expired"));
    while kept.get("/").is_ok() {}
    let refused = alert(sidecar.address("ads"), NAME, config());
    assert_eq!(refused, AlertDescription::UnknownCA);
    let status = sidecar.status();
    assert_eq!(status["revocation"]["crls"][0]["state"], "expired", "{status}");
    assert!(status["warnings"].to_string().contains("has expired"), "{status}");
    sidecar.wait_for_metric("mantlet_crls", &HashMap::from([("state", "expired")]), 1.0);
}

#[test]
fn our_own_revocation_is_an_alarm_everywhere_and_its_end_is_told() {
    let scene = Scene::with("");
    let own = Issued { ..scene.pki.issue_with(NAME, "another", |_| {}) };
    let revoked = |status: &Value| status["revocation"]["own_certificate"].is_string();
    assert!(!revoked(&scene.sidecar.status()));
    // The serial number of the certificate in use stands in the status.
    let serial = scene.sidecar.status()["identity"]["serial"].as_str().unwrap().to_owned();
    let in_use = Issued { serial: from_hex(&serial), ..own };
    scene.revoke(&[&in_use]);
    let status = scene.sidecar.wait_for_status("an alarm", revoked);
    assert!(status["warnings"].to_string().contains("will refuse our own certificate"), "{status}");
    assert_eq!(status["ready"], true, "others may still be served");
    let labels = HashMap::from([("status", "revoked")]);
    scene.sidecar.wait_for_metric("mantlet_own_certificate_status", &labels, 1.0);
    let event = scene.sidecar.wait_for("an alarm", |event| event["level"] == "ERROR");
    assert!(event["message"].as_str().unwrap().contains("will refuse our own certificate"), "{event}");
    scene.revoke(&[]);
    scene.sidecar.wait_for("the end of it", |event| event["message"] == "the CRLs find our own certificate good again");
}

fn from_hex(text: &str) -> rcgen::SerialNumber {
    let octets = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap());
    rcgen::SerialNumber::from_slice(&octets.collect::<Vec<_>>())
}

#[test]
fn without_any_crl_the_sidecar_is_not_ready_and_says_why() {
    let (pki, service) = (Pki::new(), Service::start());
    let (own, caller) = (pki.issue(NAME), pki.issue("gateway"));
    let server = CrlServer::start(Answer::Status("503 Service Unavailable", String::new()));
    let tables = format!("[revocation]\nsources = [{:?}]\n", server.url("/ca.crl"));
    let sidecar = Sidecar::start(&inbound(&pki, &own, service.address, &[&caller.spiffe], "", &tables));
    let status = sidecar.wait_for_status("a failure", |status| status["not_ready"].to_string().contains("503"));
    assert_eq!(status["ready"], false);
    let said = status["not_ready"].to_string();
    assert!(said.contains("no CRL is loaded yet, so that every peer would be refused"), "{said}");
    let config = client_config(&pki, Some(&caller), HTTP1);
    assert_eq!(alert(sidecar.address("ads"), NAME, config), AlertDescription::UnknownCA);
    server.answer(answer(&pki, &[]));
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    let config = client_config(&pki, Some(&caller), HTTP1);
    let mut kept = KeptAlive::new(connect(sidecar.address("ads"), NAME, config).unwrap());
    assert_eq!(kept.get("/").unwrap().status, 200);
}

#[test]
fn a_distribution_point_of_our_own_chain_is_asked_at_the_start() {
    let (pki, service) = (Pki::new(), Service::start());
    let server = CrlServer::start(answer(&pki, &[]));
    let url = server.url("/ca.crl");
    let at = |params: &mut rcgen::CertificateParams| {
        params.crl_distribution_points = vec![rcgen::CrlDistributionPoint { uris: vec![url.clone()] }];
    };
    let (own, caller) = (pki.issue_with(NAME, NAME, at), pki.issue("gateway"));
    let tables = "[revocation]\ndistribution_points = true\ndistribution_point_hosts = [\"127.0.0.1\"]\n";
    let sidecar = Sidecar::start(&inbound(&pki, &own, service.address, &[&caller.spiffe], "", tables));
    sidecar.wait_for("a CRL", |event| event["message"] == "a CRL is in use");
    let config = client_config(&pki, Some(&caller), HTTP1);
    let mut kept = KeptAlive::new(connect(sidecar.address("ads"), NAME, config).unwrap());
    assert_eq!(kept.get("/").unwrap().status, 200, "the CA of our own certificate is that of the caller's");
}

#[test]
fn an_https_server_has_to_be_certified_by_our_own_anchors() {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    let (pki, stranger, service) = (Pki::new(), Pki::new(), Service::start());
    let (own, caller) = (pki.issue(NAME), pki.issue("gateway"));
    let crl = fs::read(pki.revoke(&[])).unwrap();
    let serve = |pki: &Pki| {
        let server = pki.issue("localhost");
        let chain = vec![rustls_pki_types::CertificateDer::from(server.der.to_vec())];
        let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, server.private_key())
            .unwrap();
        let (listener, config, crl) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(config), crl.clone());
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::Stream::new(&mut tls, &mut socket);
                if stream.read(&mut [0; 4096]).is_ok() {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", crl.len());
                    let _ = stream.write_all(&[head.as_bytes(), &crl].concat());
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            }
        });
        format!("https://localhost:{port}/ca.crl")
    };
    let start = |url: &str| {
        let tables = format!("[revocation]\nsources = [{url:?}]\n");
        Sidecar::start(&inbound(&pki, &own, service.address, &[&caller.spiffe], "", &tables))
    };
    let good = start(&serve(&pki));
    good.wait_for("a CRL", |event| event["message"] == "a CRL is in use");
    let bad = start(&serve(&stranger));
    let status =
        bad.wait_for_status("a failure", |status| status["revocation"]["sources"][0]["last_error"].is_string());
    let said = status["revocation"]["sources"][0]["last_error"].as_str().unwrap();
    assert!(said.contains("cannot be connected to") && said.contains("certificate"), "{said}");
}

#[test]
fn our_own_certificate_without_a_crl_keeps_no_core_busy() {
    let (pki, service) = (Pki::new(), Service::start());
    let (own, caller) = (pki.issue(NAME), pki.issue("gateway"));
    let server = CrlServer::start(Answer::Status("503 Service Unavailable", String::new()));
    let tables = format!("[revocation]\nsources = [{:?}]\n", server.url("/ca.crl"));
    let sidecar = Sidecar::start(&inbound(&pki, &own, service.address, &[&caller.spiffe], "", &tables));
    sidecar.wait_for_status("a failure", |status| status["not_ready"].to_string().contains("503"));
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", sidecar.pid())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let user_and_system = fields.split(' ').skip(11).take(2);
        user_and_system.map(|field| field.parse::<u64>().unwrap()).sum::<u64>()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(2));
    let used = ticks() - before;
    assert!(used < 20, "{used} hundredths of a second of two");
}
