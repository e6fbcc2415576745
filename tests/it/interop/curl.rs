//! curl against an inbound sidecar.

use std::process::Command;

use super::{Callee, dns_only, peer_seen, spiffe_only, with_identity};
use crate::support::pki::{Issued, Pki, validity};
use crate::support::programs::{CURL, Said, program, run};

/// Asks for a path, as `own` where there is one.
fn curl(callee: &Callee, own: Option<&Issued>, options: &[&str], path: &str, body: &[u8]) -> Said {
    let address = callee.address();
    let mut command = Command::new(program("curl", CURL));
    command.args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code} %{http_version}"]);
    command.arg("--resolve").arg(format!("adservice:{}:{}", address.port(), address.ip()));
    match own {
        Some(own) => {
            with_identity(&mut command, ["--cert", "--key", "--cacert"], own, &callee.pki.anchors());
        }
        None => {
            command.arg("--cacert").arg(callee.pki.anchors());
        }
    }
    run(command.args(options).arg(format!("https://adservice:{}{path}", address.port())), body)
}

/// The body, and the status and version at its end.
fn answer(said: &Said) -> (&str, &str) {
    assert!(said.status.success(), "{}", said.err);
    said.out.rsplit_once('\n').unwrap()
}

#[test]
fn a_request_over_either_http_version_is_answered_and_its_caller_named() {
    let callee = Callee::start("", "");
    for (option, version) in [("--http1.1", "200 1.1"), ("--http2", "200 2")] {
        let said = curl(&callee, Some(&callee.caller), &[option], "/ads?near=here", b"");
        let (body, end) = answer(&said);
        assert_eq!(end, version);
        assert_eq!(peer_seen(body), callee.caller.spiffe);
    }
}

#[test]
fn certificates_with_a_spiffe_id_alone_and_with_a_dns_name_alone_are_both_known_by_their_name() {
    let callee = Callee::start("", "");
    for (own, name) in [
        (spiffe_only(&callee.pki, "gateway"), callee.caller.spiffe.as_str()),
        (dns_only(&callee.pki, "courier"), "courier"),
    ] {
        let said = curl(&callee, Some(&own), &["--http2"], "/", b"");
        assert_eq!(peer_seen(answer(&said).0), name);
    }
}

#[test]
fn ten_mebibytes_come_back_as_they_went_over_either_version() {
    let callee = Callee::start("", "");
    let body = "flea market ".repeat(10 * 1024 * 1024 / 12);
    for option in ["--http1.1", "--http2"] {
        let said = curl(&callee, Some(&callee.caller), &[option, "--data-binary", "@-"], "/echo", body.as_bytes());
        assert!(answer(&said).0 == body, "{option}");
    }
}

#[test]
fn a_head_request_and_an_empty_answer_have_no_body() {
    let callee = Callee::start("", "");
    for option in ["--http1.1", "--http2"] {
        let said = curl(&callee, Some(&callee.caller), &[option, "--head"], "/bytes/70000", b"");
        assert!(answer(&said).1.starts_with("200"), "{}", said.out);
        let said = curl(&callee, Some(&callee.caller), &[option], "/status/304", b"");
        assert!(answer(&said).1.starts_with("304"), "{}", said.out);
    }
}

#[test]
fn a_caller_without_a_certificate_hears_that_one_is_required() {
    let callee = Callee::start("", "");
    let said = curl(&callee, None, &[], "/", b"");
    assert!(!said.status.success() && said.err.contains("certificate required"), "{}", said.err);
    callee.refusal("no_certificate");
}

#[test]
fn certificates_that_are_refused_are_named_in_the_alert_and_in_the_log() {
    let callee = Callee::start("", "");
    let expired = callee.pki.issue_with("gateway", "expired", |params| {
        let (before, _) = validity(std::time::Duration::ZERO);
        (params.not_before, params.not_after) = (before - time::Duration::days(2), before);
    });
    let other = Pki::named("another root");
    let foreign = other.issue("gateway");
    for (own, alert, reason) in
        [(&expired, "certificate expired", "expired"), (&foreign, "unknown ca", "unknown_issuer")]
    {
        let said = curl(&callee, Some(own), &[], "/", b"");
        assert!(!said.status.success() && said.err.contains(alert), "{}", said.err);
        assert_eq!(callee.refusal(reason)["peer.serial"], own.serial_hex());
    }
}

#[test]
fn a_caller_that_is_not_allowed_reads_a_problem_that_says_so() {
    let callee = Callee::start("", "");
    for option in ["--http1.1", "--http2"] {
        let said = curl(&callee, Some(&callee.pki.issue("stranger")), &[option, "--include"], "/", b"");
        let (body, end) = answer(&said);
        assert!(end.starts_with("403"), "{end}");
        assert!(body.to_ascii_lowercase().contains("content-type: application/problem+json"), "{body}");
    }
}

#[test]
fn tls_1_2_is_refused_unless_the_configuration_lets_it_in() {
    let tls12 = ["--tlsv1.2", "--tls-max", "1.2"];
    let strict = Callee::start("", "");
    let said = curl(&strict, Some(&strict.caller), &tls12, "/", b"");
    assert!(!said.status.success() && said.err.contains("protocol version"), "{}", said.err);
    let lenient = Callee::start("", "[tls]\nmin_version = \"1.2\"\n");
    let said = curl(&lenient, Some(&lenient.caller), &tls12, "/", b"");
    assert_eq!(peer_seen(answer(&said).0), lenient.caller.spiffe);
    let said = curl(&lenient, None, &tls12, "/", b"");
    assert!(!said.status.success(), "{}", said.out);
}
