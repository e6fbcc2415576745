//! CRLs, word of changes, health and figures.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::rig::{Rig, config, openssl, text};
use crate::support::sidecar::Sidecar;

/// The number and the count of entries of the CRL that is served.
fn served_crl(rig: &Rig) -> (u64, usize) {
    let file = rig.text_path("served.crl");
    let answered = rig.curl_plain("/ca.crl", &["--output", &file, "--dump-header", "-", "--no-include"]);
    assert_eq!((answered.status, answered.header("content-type")), (200, Some("application/pkix-crl")));
    let shown = openssl(&["crl", "-inform", "DER", "-in", &file, "-noout", "-text", "-crlnumber"]);
    let number = shown.lines().find_map(|line| line.strip_prefix("crlNumber=0x")).unwrap();
    (u64::from_str_radix(number, 16).unwrap(), shown.matches("Revocation Date").count())
}

#[test]
fn a_revocation_is_on_the_crl_at_once_and_whoever_waits_is_told() {
    let rig = Rig::new();
    for name in ["ads", "users"] {
        let secret = rig.register(name, &[]);
        rig.enrolled(name, &secret);
    }
    assert_eq!(served_crl(&rig), (1, 0));
    let before = rig.events("users", "wait=0");
    let tag = before["tag"].as_str().unwrap().to_owned();
    assert_eq!(rig.events("users", &format!("since={tag}&wait=0"))["tag"], before["tag"]);
    let (told, after) = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let after = rig.events("users", &format!("since={tag}&wait=50"));
            (Instant::now(), after)
        });
        rig.server.wait_for_metric("mantlet_authority_subscribers", &HashMap::new(), 1.0);
        rig.ca(&["revoke", "--name", "ads", "--reason", "keyCompromise"]);
        let revoked = Instant::now();
        let (at, after) = waiting.join().unwrap();
        (at.saturating_duration_since(revoked), after)
    });
    assert!(told < Duration::from_secs(5), "told after {told:?}");
    assert_ne!(after["crls"]["tag"], before["crls"]["tag"]);
    assert_eq!((&after["anchors"], &after["certificate"]["state"]), (&before["anchors"], &Value::from("valid")));
    assert_eq!(served_crl(&rig), (2, 1));
    let crls = rig.curl(after["crls"]["url"].as_str().unwrap(), &[]);
    assert_eq!(crls.status, 200);
    fs::write(rig.path("crls.pem"), &crls.body).unwrap();
    let judged = std::process::Command::new("openssl")
        .args([
            "verify",
            "-crl_check",
            "-CAfile",
            &rig.text_path("ca/ca.pem"),
            "-CRLfile",
            &rig.text_path("crls.pem"),
            &rig.text_path("ads.pem"),
        ])
        .output()
        .unwrap();
    assert!((text(&judged.stdout) + &text(&judged.stderr)).contains("certificate revoked"));
}

#[test]
fn a_crl_is_transferred_again_only_where_it_changed() {
    let rig = Rig::with(&["--intermediate"], "", "");
    for path in ["/ca.crl", "/root.crl", "/crls.pem", "/ca.pem"] {
        let sink = ["--output", "/dev/null", "--dump-header", "-", "--no-include"];
        let get = |options: &[&str]| rig.curl_plain(path, &[&sink, options].concat());
        let whole = get(&[]);
        assert_eq!(whole.status, 200, "{path}");
        assert!(whole.header("cache-control").is_some_and(|value| value.starts_with("public, max-age=")), "{path}");
        let tag = format!("if-none-match: {}", whole.header("etag").unwrap());
        assert_eq!(get(&["-H", &tag]).status, 304, "{path}");
        assert_eq!(get(&["-H", "if-none-match: \"other\""]).status, 200, "{path}");
        // Two CRLs may be signed in one second, which a date does not tell apart: none is given and none is believed.
        assert_eq!(whole.header("last-modified"), None, "{path}");
        assert_eq!(get(&["-H", "if-modified-since: Fri, 01 Jan 2100 00:00:00 GMT"]).status, 200, "{path}");
        assert_eq!(get(&["--head"]).status, 200, "{path}");
    }
    assert_eq!(rig.curl_plain("/crls.pem", &[]).body.matches("BEGIN X509 CRL").count(), 2);
    assert_eq!(rig.curl_plain("/ca.pem", &[]).body, fs::read_to_string(rig.path("ca/ca.pem")).unwrap());
}

#[test]
fn a_crl_is_signed_again_before_it_ends_without_anyones_doing() {
    let rig = Rig::with(&[], "next_update = \"8s\"", "");
    rig.server.wait_for("a CRL signed by itself", |event| event["message"] == "CRL signed" && event["number"] == 2);
    assert!(served_crl(&rig).0 >= 2);
}

#[test]
fn health_figures_and_status_tell_of_the_authority() {
    let rig = Rig::new();
    let secret = rig.register("ads", &["--max-ttl", "1h"]);
    rig.enrolled("ads", &secret);
    let request = rig.request("x", "/CN=x");
    assert_eq!(rig.enrol("simpleenroll", &request, &["-u", &format!("ads:{secret}")]).status, 401);
    let label = |key, value| HashMap::from([(key, value)]);
    rig.server.wait_for_metric("mantlet_authority_issued_total", &label("by", "secret"), 1.0);
    rig.server.wait_for_metric("mantlet_authority_refused_total", &label("reason", "credential"), 1.0);
    rig.server.wait_for_metric("mantlet_authority_certificates", &label("state", "valid"), 1.0);
    rig.server.wait_for_metric("mantlet_authority_crl_number", &label("issuer", "root"), 1.0);
    let status = rig.server.status();
    assert_eq!((&status["ready"], &status["role"]), (&Value::from(true), &Value::from("authority")), "{status}");
    let (code, text) = crate::support::service::get(rig.server.address("admin"), "/readyz");
    assert_eq!((code, text.as_str()), (200, "ready\n"));
}

#[test]
fn a_shutdown_answers_who_waits_and_ends() {
    let mut rig = Rig::new();
    let secret = rig.register("ads", &[]);
    rig.enrolled("ads", &secret);
    let tag = rig.events("ads", "wait=0")["tag"].as_str().unwrap().to_owned();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| rig.events("ads", &format!("since={tag}")));
        rig.server.wait_for_metric("mantlet_authority_subscribers", &HashMap::new(), 1.0);
        rig.server.signal("TERM");
        assert_eq!(waiting.join().unwrap()["tag"].as_str(), Some(tag.as_str()));
    });
    assert!(rig.server.wait_for_exit().success());
    rig.server.wait_for("the end", |event| event["message"] == "ended");
}

#[test]
fn what_cannot_be_served_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (status, said) = Sidecar::start_authority_and_fail(&config(&folder, "", ""));
    assert!(!status.success() && said.contains("no certificate authority in this directory"), "{said}");
    for (keys, says) in [
        ("store = \"postgres://ca:hush@db.internal/ca\"", "leads to \"db.internal\" over a network"),
        ("store = \"postgres://ca:hush@localhost/ca?host=db.internal\"", "leads to \"db.internal\" over a network"),
        ("store = \"postgres://ca:hush@localhost/ca?hostaddr=10.0.0.7\"", "leads to \"10.0.0.7\" over a network"),
        ("store = \"postgres://ca:hush@localhost/ca?sslmode=require\"", "asks for TLS by \"sslmode\","),
        ("store = \"postgres:///ca\"", "names no host, so that PGHOSTADDR or PGHOST"),
        ("delta_next_update = \"1h\"", "delta_next_update is there without distribution_point"),
        (
            "delta_next_update = \"2d\"\ndistribution_point = \"http://ca/ca.crl\"",
            "delta_next_update is 2days: expected at most next_update, 1day",
        ),
        ("store = \"mysql\"", "is no address of a PostgreSQL database"),
        ("distribution_point = \"ftp://x/\"", "expected an http:// address"),
        ("names = [\"a b\"]", "expected a DNS name or an IP address"),
        ("ttl = \"2y\"", "expected a duration"),
        ("listne = \"x\"", "unknown key \"listne\""),
    ] {
        let (status, said) = Sidecar::start_authority_and_fail(&config(&folder, keys, ""));
        assert!(!status.success() && said.contains(says), "{keys}: {said}");
        assert!(!said.contains("hush"), "the password is in {said}");
    }
}
