//! The running process seen from outside: `mantlet status` and `mantlet health`, what becomes of keys, and starts that fail.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use base64::Engine as _;
use serde_json::Value;

use crate::support::exchange::KeptAlive;
use crate::support::gate::Gate;
use crate::support::mesh::{Mesh, inbound};
use crate::support::pki::{Issued, Pki};
use crate::support::service::get;
use crate::support::sidecar::Sidecar;

fn mantlet(command: &str, sidecar: &Sidecar) -> Output {
    let admin = sidecar.address("admin").to_string();
    Command::new(env!("CARGO_BIN_EXE_mantlet")).args([command, "--admin", &admin]).output().unwrap()
}

#[test]
fn health_and_status_tell_of_the_running_process() {
    let gate = Gate::with("", "");
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!(kept.get("/").unwrap().status, 200);
    let health = mantlet("health", &gate.sidecar);
    assert_eq!(health.status.code(), Some(0), "{health:?}");
    let status = mantlet("status", &gate.sidecar);
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["ready"], true);
    assert_eq!(status["identity"]["name"], gate.own.spiffe);
    assert_eq!(status["identity"]["serial"], gate.own.serial_hex());
    assert!(status["identity"]["expires_in_seconds"].as_i64().unwrap() > 80_000, "{status}");
    assert_eq!(status["anchors"][0]["subject"], "CN=flea market root");
    let connection = &status["connections"][0];
    assert_eq!(connection["peer"], gate.caller.spiffe);
    assert_eq!(connection["serial"], gate.caller.serial_hex());
    assert_eq!((&connection["requests"], &connection["in_flight"]), (&1.into(), &0.into()));
    assert_eq!(status["peers"][0]["connections"], 1);
    let listener = &status["listeners"][0];
    assert_eq!(listener["address"], gate.address().to_string());
    assert_eq!(listener["target"], gate.service.address.to_string());
    assert_eq!(listener["peers"][0], gate.caller.spiffe);
}

#[test]
fn health_fails_with_the_reason_while_the_process_drains() {
    let gate = Gate::with("", "");
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    kept.send("POST /echo HTTP/1.1\r\nHost: ads\r\nContent-Length: 10\r\n\r\nfirst").unwrap();
    assert!(kept.head().unwrap().starts_with("HTTP/1.1 200"));
    gate.sidecar.signal("TERM");
    gate.sidecar.wait_for("shutdown", |event| event["message"] == "shutting down");
    let health = mantlet("health", &gate.sidecar);
    assert_eq!(health.status.code(), Some(1), "{health:?}");
    let said = [health.stdout, health.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains("shutting down"));
}

#[test]
fn metrics_count_requests_connections_handshakes_and_bytes_in_both_directions() {
    let mesh = Mesh::start();
    for _ in 0..3 {
        assert_eq!(get(mesh.entry(), "/bytes/1000").0, 200);
    }
    for (sidecar, direction) in [(&mesh.inbound, "inbound"), (&mesh.outbound, "outbound")] {
        let labels = HashMap::from([("listener", "ads"), ("direction", direction)]);
        sidecar.wait_for_metric("mantlet_response_bytes_total", &labels, 3000.0);
        sidecar.wait_for_metric("mantlet_request_duration_seconds_count", &labels, 3.0);
        let answered = HashMap::from([("direction", direction), ("code", "200")]);
        sidecar.wait_for_metric("mantlet_requests_total", &answered, 3.0);
        let completed = HashMap::from([("direction", direction), ("outcome", "completed")]);
        assert!(sidecar.metric("mantlet_tls_handshakes_total", &completed) >= 1.0, "{direction}");
        assert!(sidecar.metric("mantlet_connections_total", &labels) >= 1.0);
        let expiry = sidecar.metric("mantlet_certificate_expiry_timestamp_seconds", &HashMap::from([("kind", "own")]));
        assert!(expiry > 1.7e9, "{expiry}");
    }
}

// Keys

#[test]
fn a_key_that_others_can_read_is_reported() {
    let (pki, service) = (Pki::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let own = pki.issue("adservice");
    fs::set_permissions(&own.key, fs::Permissions::from_mode(0o644)).unwrap();
    let sidecar = Sidecar::start(&inbound(&pki, &own, service.local_addr().unwrap(), &[], "", ""));
    let event = sidecar.wait_for("warning", |event| {
        event["level"] == "WARN" && event["message"].as_str().unwrap().contains("adservice.key")
    });
    assert!(event["message"].as_str().unwrap().contains("644"), "{event}");
    assert!(event["remedy"].as_str().unwrap().contains("600"), "{event}");
}

/// What must not be found anywhere of this key: a line of its PEM, and its secret number in hexadecimal and as bytes.
fn secrets(issued: &Issued) -> Vec<String> {
    let pem = base64::engine::general_purpose::STANDARD.encode(&issued.key_der);
    let mut secrets: Vec<String> =
        pem.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    // PKCS#8 of a P-256 key: the 32 octets after the octet string of that length in ECPrivateKey.
    let begin = issued.key_der.windows(4).position(|der| der == [1, 1, 4, 32]).unwrap() + 4;
    let scalar = &issued.key_der[begin..begin + 32];
    secrets.push(scalar.iter().map(|octet| format!("{octet:02x}")).collect());
    secrets.push(format!("{scalar:?}").trim_matches(['[', ']']).to_owned());
    secrets
}

#[test]
fn keys_are_in_no_log_not_even_at_trace_and_in_no_answer() {
    let mesh = Mesh::with("", "", "[log]\nlevel = \"trace\"\nformat = \"json\"\naccess = true\n");
    assert_eq!(get(mesh.entry(), "/").0, 200);
    let events = mesh.inbound.events().len();
    // A renewed pair and one that does not match are read as well.
    let renewed = mesh.pki.issue("adservice");
    mesh.inbound.wait_from(events, "reload", |event| event["message"] == "reloaded");
    let events = mesh.inbound.events().len();
    fs::copy(&mesh.caller.key, &renewed.key).unwrap();
    mesh.inbound.wait_from(events, "refusal", |event| event["error"].is_string() && event["cause"].is_string());
    let mut said = mesh.inbound.text() + &mesh.outbound.text();
    assert!(said.contains("TRACE"), "the log is not at trace level");
    for sidecar in [&mesh.inbound, &mesh.outbound] {
        for path in ["/status", "/metrics", "/readyz", "/healthz"] {
            said += &get(sidecar.address("admin"), path).1;
        }
    }
    for secret in [&mesh.caller, &mesh.callee, &renewed].into_iter().flat_map(secrets) {
        assert!(!said.contains(&secret), "a key is in the log or in an answer");
    }
}

#[test]
fn the_process_leaves_no_core() {
    let gate = Gate::with("", "");
    let limits = fs::read_to_string(format!("/proc/{}/limits", gate.sidecar.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}

// Starts that fail

#[test]
fn an_unusable_crl_stops_the_start() {
    let pki = Pki::new();
    let own = pki.issue("adservice");
    let crl = pki.folder.path().join("ca.crl");
    for content in [None, Some("garbage"), Some("")] {
        if let Some(content) = content {
            fs::write(&crl, content).unwrap();
        }
        let tables = format!("[revocation]\nsources = [{crl:?}]\n");
        let text = inbound(&pki, &own, "127.0.0.1:9", &[], "", &tables);
        let (status, said) = Sidecar::start_and_fail(&text);
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("ca.crl") && !said.contains("listening"), "{said}");
    }
}

#[test]
fn a_taken_port_stops_the_start_with_the_address_and_the_remedy() {
    let pki = Pki::new();
    let own = pki.issue("adservice");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = inbound(&pki, &own, "127.0.0.1:9", &[], "", "");
    let (status, said) = Sidecar::start_and_fail(&text.replacen("127.0.0.1:0", &address, 1));
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("in use") && said.contains("choose another port"), "{said}");
}

#[test]
fn every_problem_of_the_material_is_told_at_one_start() {
    let pki = Pki::new();
    let own = pki.issue("adservice");
    let other = pki.issue("other");
    fs::copy(&other.key, &own.key).unwrap();
    let crl = pki.folder.path().join("ca.crl");
    fs::write(&crl, "garbage").unwrap();
    let tables = format!("[revocation]\nsources = [{crl:?}]\n");
    let text = inbound(&pki, &own, "127.0.0.1:9", &[], "", &tables);
    let (status, said) = Sidecar::start_and_fail(&text);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("adservice") && said.contains("ca.crl"), "{said}");
}

#[test]
fn every_problem_of_the_configuration_is_told_at_one_start() {
    let pki = Pki::new();
    let own = pki.issue("adservice");
    let text = inbound(&pki, &own, "127.0.0.1:9", &["not a name!"], "protocl = \"tcp\"", "");
    let (status, said) = Sidecar::start_and_fail(&text.replace("workers = 2", "workers = 0"));
    assert_eq!(status.code(), Some(1), "{said}");
    for problem in ["protocl", "not a name!", "workers"] {
        assert!(said.contains(problem), "{problem}: {said}");
    }
}
