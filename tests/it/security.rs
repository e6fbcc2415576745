//! Peers that are refused at the handshake: what they see, what the log, the metrics and the status say.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use rustls::client::Resumption;
use rustls::{AlertDescription, ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use serde_json::Value;
use time::OffsetDateTime;

use crate::support::exchange::KeptAlive;
use crate::support::gate::{Gate, NAME};
use crate::support::mesh::{inbound, outbound};
use crate::support::pki::{Issued, Pki, validity};
use crate::support::service::{Service, get, raw};
use crate::support::sidecar::Sidecar;
use crate::support::tls_client::{HTTP1, alert, client_config, talk};

const REVOCATION: &str = "[revocation]\nsources = [CRL]\n";

/// The refusal is in the log, the metrics and the status, once each, with everything that explains it.
fn assert_refused(sidecar: &Sidecar, direction: &str, reason: &str, certificate: Option<&Issued>) -> Value {
    let event = sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
    let refusals = sidecar.events().into_iter().filter(|event| event["message"] == "peer refused").count();
    assert_eq!(refusals, 1, "{}", sidecar.text());
    let entries = sidecar.status()["refusals"].clone();
    assert_eq!(entries.as_array().unwrap().len(), 1, "{entries}");
    let entry = &entries[0];
    for (name, logged) in [
        ("listener", "listener"),
        ("direction", "direction"),
        ("peer_address", "peer.address"),
        ("reason", "reason"),
        ("detail", "detail"),
        ("hint", "hint"),
        ("peer", "peer"),
        ("subject", "peer.subject"),
        ("serial", "peer.serial"),
        ("issuer", "peer.issuer"),
    ] {
        assert_eq!(entry[name], event[logged], "{name}: {event} {entry}");
    }
    assert_eq!(event["reason"], reason, "{event}");
    assert_eq!(event["listener"], "ads");
    assert_eq!(event["direction"], direction);
    assert!(event["peer.address"].as_str().unwrap().starts_with("127.0.0.1:"), "{event}");
    assert_eq!(event["trusted_anchors"], "CN=flea market root", "{event}");
    for told in ["detail", "hint"] {
        assert!(event[told].as_str().is_some_and(|text| text.len() > 10), "{told}: {event}");
    }
    match certificate {
        Some(issued) => {
            assert_eq!(event["peer.serial"], issued.serial_hex(), "{event}");
            let names = event["peer"].as_str().unwrap();
            assert!(names.contains(&issued.spiffe), "{event}");
            assert!(event["peer.subject"].as_str().unwrap().starts_with("CN="), "{event}");
            assert!(event["peer.issuer"].as_str().unwrap().starts_with("CN="), "{event}");
        }
        None => assert_eq!(event["peer.serial"], Value::Null, "{event}"),
    }
    let labels =
        HashMap::from([("listener", "ads"), ("direction", direction), ("outcome", "failed"), ("reason", reason)]);
    sidecar.wait_for_metric("mantlet_tls_handshakes_total", &labels, 1.0);
    event
}

/// A caller with this certificate is refused for this reason, sees this alert, and everything tells of it.
fn refused(gate: &Gate, caller: Option<&Issued>, expected: AlertDescription, reason: &str) -> Value {
    assert_eq!(alert(gate.address(), NAME, client_config(&gate.pki, caller, HTTP1)), expected);
    assert_refused(&gate.sidecar, "inbound", reason, caller)
}

#[test]
fn a_caller_without_a_certificate_is_refused() {
    let gate = Gate::with("", "");
    let event = refused(&gate, None, AlertDescription::CertificateRequired, "no_certificate");
    assert!(event["hint"].as_str().unwrap().contains("client certificate"), "{event}");
}

#[test]
fn a_caller_of_another_ca_is_refused_and_the_trusted_anchors_are_named() {
    let gate = Gate::with("", "");
    let stranger = Pki::named("another root").issue("gateway");
    let event = refused(&gate, Some(&stranger), AlertDescription::UnknownCA, "unknown_issuer");
    assert_eq!(event["peer.issuer"], "CN=another root", "{event}");
    assert!(event["detail"].as_str().unwrap().contains("flea market root"), "{event}");
}

#[test]
fn a_caller_of_a_ca_with_the_same_name_and_another_key_is_refused() {
    let gate = Gate::with("", "");
    let forged = Pki::new().issue("gateway");
    let config = client_config(&gate.pki, Some(&forged), HTTP1);
    alert(gate.address(), NAME, config);
    let event = gate.sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
    assert!(matches!(event["reason"].as_str(), Some("bad_signature" | "unknown_issuer")), "{event}");
}

#[test]
fn an_expired_caller_is_refused_with_the_date() {
    let gate = Gate::with("", "");
    let caller = gate.pki.issue_with("gateway", "old", |params| {
        params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(7200);
        params.not_after = rcgen::date_time_ymd(2024, 2, 29);
        params.not_before = rcgen::date_time_ymd(2024, 2, 1);
    });
    let event = refused(&gate, Some(&caller), AlertDescription::CertificateExpired, "expired");
    assert!(event["detail"].as_str().unwrap().contains("2024-02-29"), "{event}");
}

#[test]
fn a_caller_whose_certificate_has_not_begun_is_refused_with_a_word_on_clocks() {
    let gate = Gate::with("", "");
    let caller = gate.pki.issue_with("gateway", "young", |params| {
        params.not_before = OffsetDateTime::now_utc() + Duration::from_secs(3600);
    });
    let event = refused(&gate, Some(&caller), AlertDescription::CertificateExpired, "not_yet_valid");
    assert!(event["hint"].as_str().unwrap().contains("clock"), "{event}");
}

#[test]
fn a_server_certificate_does_not_serve_a_caller() {
    let gate = Gate::with("", "");
    let caller = gate.pki.issue_with("gateway", "server", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    refused(&gate, Some(&caller), AlertDescription::UnsupportedCertificate, "wrong_usage");
}

#[test]
fn a_revoked_caller_is_refused_with_date_and_reason() {
    let gate = Gate::with("", REVOCATION);
    let other = gate.pki.issue("batch");
    let seen = gate.sidecar.events().len();
    gate.pki.revoke(&[&other]);
    gate.sidecar.wait_from(seen, "reload", |event| event["message"] == "reloaded");
    let event = refused(&gate, Some(&other), AlertDescription::CertificateRevoked, "revoked");
    let detail = event["detail"].as_str().unwrap();
    assert!(detail.contains("keyCompromise") && detail.contains("revoked since 20"), "{event}");
    assert_eq!(KeptAlive::new(gate.http1(&gate.caller)).get("/").unwrap().status, 200);
}

#[test]
fn a_self_signed_caller_is_refused() {
    let gate = Gate::with("", "");
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
    (params.not_before, params.not_after) = validity(Duration::from_secs(3600));
    let certificate = params.self_signed(&key).unwrap();
    let own = Issued {
        der: certificate.der().clone(),
        key_der: key.serialize_der(),
        ..gate.pki.issue_with("gateway", "unused", |_| {})
    };
    assert_eq!(alert(gate.address(), NAME, client_config(&gate.pki, Some(&own), HTTP1)), AlertDescription::UnknownCA);
    let event = gate.sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!(event["reason"], "unknown_issuer", "{event}");
}

#[test]
fn a_ca_certificate_does_not_stand_for_a_caller() {
    let gate = Gate::with("", "");
    let caller = gate.pki.issue_with("gateway", "ca-leaf", |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    refused(&gate, Some(&caller), AlertDescription::UnsupportedCertificate, "ca_as_end_entity");
}

#[test]
fn a_caller_without_the_private_key_of_its_certificate_is_refused() {
    let gate = Gate::with("", "");
    let thief = gate.pki.issue("thief");
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&thief.private_key()).unwrap();
    let stolen = rustls::sign::CertifiedKey::new(vec![gate.caller.der.clone()], key);
    let mut config = client_config(&gate.pki, None, HTTP1);
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(stolen));
    assert_eq!(alert(gate.address(), NAME, config), AlertDescription::DecryptError);
    let event = gate.sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!(event["reason"], "protocol", "{event}");
}

#[test]
fn tls_1_2_is_refused_by_default_and_spoken_by_option() {
    let tls12 = |gate: &Gate| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(gate.pki.der()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![gate.caller.der.clone()], gate.caller.private_key())
            .unwrap()
    };
    let gate = Gate::with("", "");
    assert_eq!(alert(gate.address(), NAME, tls12(&gate)), AlertDescription::ProtocolVersion);
    assert_refused(&gate.sidecar, "inbound", "protocol", None);
    let gate = Gate::with("", "[tls]\nmin_version = \"1.2\"\n");
    let stream = crate::support::tls_client::connect(gate.address(), NAME, tls12(&gate)).unwrap();
    assert_eq!(stream.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    assert_eq!(KeptAlive::new(stream).get("/").unwrap().status, 200);
}

#[test]
fn a_caller_that_offers_only_foreign_application_protocols_is_refused() {
    let gate = Gate::with("", "");
    let config = client_config(&gate.pki, Some(&gate.caller), &[b"postgresql"]);
    assert_eq!(alert(gate.address(), NAME, config), AlertDescription::NoApplicationProtocol);
    assert_refused(&gate.sidecar, "inbound", "protocol", None);
}

#[test]
fn plaintext_http_on_the_tls_port_gets_a_400_that_says_what_to_do() {
    let gate = Gate::with("", "");
    let answer = raw(gate.address(), b"GET / HTTP/1.1\r\nHost: ads\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    assert!(body.contains("https://") && body.contains("client certificate"), "{answer}");
    assert_refused(&gate.sidecar, "inbound", "plaintext_http", None);
}

#[test]
fn garbage_on_the_tls_port_is_refused() {
    let gate = Gate::with("", "");
    assert_eq!(raw(gate.address(), b"\x00\x01\x02\x03 not tls at all"), "");
    assert_refused(&gate.sidecar, "inbound", "not_tls", None);
}

#[test]
fn garbage_in_a_handshake_record_is_refused_with_an_alert() {
    let gate = Gate::with("", "");
    let answer = raw(gate.address(), &[0x16, 3, 1, 0, 8, 0xff, 0, 0, 4, 1, 2, 3, 4]);
    assert!(answer.starts_with('\u{15}'), "{answer:?}");
    assert_refused(&gate.sidecar, "inbound", "protocol", None);
}

#[test]
fn a_tcp_probe_that_closes_is_counted_and_not_logged_as_refused() {
    let gate = Gate::with("", "");
    let labels = HashMap::from([("outcome", "failed"), ("reason", "closed")]);
    for probe in 1..=3 {
        drop(TcpStream::connect(gate.address()).unwrap());
        gate.sidecar.wait_for_metric("mantlet_tls_handshakes_total", &labels, f64::from(probe));
    }
    assert!(!gate.sidecar.text().contains("refused"), "{}", gate.sidecar.text());
    assert_eq!(gate.sidecar.status()["refusals"].as_array().unwrap().len(), 0);
}

#[test]
fn a_handshake_that_never_finishes_is_ended_in_time() {
    let gate = Gate::with("", "[timeouts]\nhandshake = \"500ms\"\n");
    for first in [&b""[..], &[0x16, 3, 1, 1, 0]] {
        let began = std::time::Instant::now();
        assert_eq!(raw(gate.address(), first), "");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    let labels = HashMap::from([("outcome", "failed"), ("reason", "handshake_timeout")]);
    gate.sidecar.wait_for_metric("mantlet_tls_handshakes_total", &labels, 2.0);
    let event = gate.sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
    assert!(event["detail"].as_str().unwrap().contains("500ms"), "{event}");
}

/// The sidecar of `server`, which trusts `its_pki`, and an outbound sidecar that calls it and trusts `our_pki`.
fn towards(server: &Issued, its_pki: &Pki, our_pki: &Pki, tables: &str) -> (Sidecar, Sidecar, Service) {
    let (service, caller) = (Service::start(), our_pki.issue("gateway"));
    let receiver = Sidecar::start(&inbound(its_pki, server, service.address, &[&caller.spiffe], "", ""));
    let expected = "spiffe://fleamarket.internal/adservice";
    let caller = Sidecar::start(&outbound(our_pki, &caller, receiver.address("ads"), expected, "", tables));
    (receiver, caller, service)
}

#[test]
fn a_server_that_proves_another_identity_is_refused() {
    let pki = Pki::new();
    let server = pki.issue("userservice");
    let (receiver, caller, _service) = towards(&server, &pki, &pki, "");
    let (status, body) = get(caller.address("ads"), "/");
    assert_eq!(status, 502, "{body}");
    let event = assert_refused(&caller, "outbound", "name_mismatch", Some(&server));
    let detail = event["detail"].as_str().unwrap();
    assert!(detail.contains("/adservice") && detail.contains("/userservice"), "{event}");
    let labels = HashMap::from([("direction", "inbound"), ("code", "200")]);
    assert!(receiver.metric("mantlet_requests_total", &labels).abs() < f64::EPSILON);
}

#[test]
fn a_server_of_another_ca_is_refused() {
    let pki = Pki::new();
    let stranger = Pki::named("another root");
    let server = stranger.issue("adservice");
    let (_receiver, caller, _service) = towards(&server, &stranger, &pki, "");
    assert_eq!(get(caller.address("ads"), "/").0, 502);
    assert_refused(&caller, "outbound", "unknown_issuer", Some(&server));
}

#[test]
fn a_client_certificate_does_not_serve_a_server() {
    let pki = Pki::new();
    let server = pki.issue_with("adservice", "client-only", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let (_receiver, caller, _service) = towards(&server, &pki, &pki, "");
    assert_eq!(get(caller.address("ads"), "/").0, 502);
    assert_refused(&caller, "outbound", "wrong_usage", Some(&server));
}

#[test]
fn a_revoked_server_is_refused() {
    let pki = Pki::new();
    let server = pki.issue("adservice");
    let crl = pki.revoke(&[&server]);
    let (_receiver, caller, _service) = towards(&server, &pki, &pki, &format!("[revocation]\nsources = [{crl:?}]\n"));
    assert_eq!(get(caller.address("ads"), "/").0, 502);
    assert_refused(&caller, "outbound", "revoked", Some(&server));
}

#[test]
fn an_upstream_that_speaks_no_tls_is_refused() {
    let pki = Pki::new();
    let (service, caller) = (Service::start(), pki.issue("gateway"));
    let caller = Sidecar::start(&outbound(&pki, &caller, service.address, "spiffe://fleamarket.internal/x", "", ""));
    assert_eq!(get(caller.address("ads"), "/").0, 502);
    assert_refused(&caller, "outbound", "protocol", None);
}

#[test]
fn no_session_is_resumed_whatever_the_client_wants() {
    let gate = Gate::with("", "[tls]\nmin_version = \"1.2\"\n");
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(gate.pki.der()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![gate.caller.der.clone()],
                PrivateKeyDer::try_from(gate.caller.key_der.clone()).unwrap(),
            )
            .unwrap();
        config.resumption = Resumption::in_memory_sessions(16);
        let config = Arc::new(config);
        for _ in 0..3 {
            let socket = TcpStream::connect(gate.address()).unwrap();
            let name = ServerName::try_from(NAME).unwrap();
            let connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
            let mut kept = KeptAlive::new(StreamOwned::new(connection, socket));
            assert_eq!(kept.get("/").unwrap().status, 200);
            let connection = &kept.stream().conn;
            assert_eq!(connection.tls13_tickets_received(), 0);
            assert_ne!(connection.handshake_kind(), Some(HandshakeKind::Resumed));
        }
    }
}

#[test]
fn openssl_gets_no_ticket_and_resumes_nothing() {
    let gate = Gate::with("", "[tls]\nmin_version = \"1.2\"\n");
    for version in ["-tls1_3", "-tls1_2"] {
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-reconnect", version, "-servername", NAME, "-connect"])
            .arg(gate.address().to_string())
            .arg("-cert")
            .arg(&gate.caller.certificate)
            .arg("-key")
            .arg(&gate.caller.key)
            .arg("-CAfile")
            .arg(gate.pki.anchors())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n";
        openssl.stdin.as_mut().unwrap().write_all(request).unwrap();
        let mut said = String::new();
        openssl.stdout.as_mut().unwrap().read_to_string(&mut said).unwrap();
        openssl.wait().unwrap();
        assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
        assert!(said.matches("New, TLS").count() >= 1, "{said}");
        assert!(!said.contains("Reused, TLS") && !said.contains("Session Ticket arrived"), "{said}");
        assert!(!said.contains("TLS session ticket:"), "{said}");
    }
}

#[test]
fn a_request_sent_along_with_a_refused_certificate_is_never_answered() {
    // With TLS 1.3 a client may send its request before it learns that its certificate is refused.
    let gate = Gate::with("", "");
    let stranger = Pki::named("another root").issue("gateway");
    let config = client_config(&gate.pki, Some(&stranger), HTTP1);
    if let Ok(stream) = crate::support::tls_client::connect(gate.address(), NAME, config) {
        assert_eq!(talk(stream, b"GET / HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n"), "");
    }
    let labels = HashMap::from([("direction", "inbound")]);
    assert!(gate.sidecar.metric("mantlet_requests_total", &labels).abs() < f64::EPSILON);
}
