//! `openssl s_client` against an inbound sidecar, and `openssl s_server` behind an outbound one.

use std::process::Command;

use super::{Callee, peer_seen, with_identity};
use crate::support::mesh::outbound;
use crate::support::pki::{Issued, Pki};
use crate::support::programs::{Running, Said, program, run};
use crate::support::service::get;
use crate::support::sidecar::Sidecar;

const OPENSSL: &str = "apt-get install openssl";
const REQUEST: &[u8] = b"GET /ads HTTP/1.1\r\nHost: adservice\r\nConnection: close\r\n\r\n";

fn s_client(callee: &Callee, own: Option<&Issued>, options: &[&str]) -> Said {
    let mut command = Command::new(program("openssl", OPENSSL));
    command.args(["s_client", "-connect", &callee.address().to_string(), "-servername", "adservice", "-ign_eof"]);
    command.args(["-verify_return_error", "-verify_hostname", "adservice"]);
    match own {
        Some(own) => {
            with_identity(&mut command, ["-cert", "-key", "-CAfile"], own, &callee.pki.anchors());
        }
        None => {
            command.arg("-CAfile").arg(callee.pki.anchors());
        }
    }
    run(command.args(options), REQUEST)
}

#[test]
fn s_client_verifies_the_sidecar_and_is_answered() {
    let callee = Callee::start("", "");
    let said = s_client(&callee, Some(&callee.caller), &["-tls1_3"]);
    assert!(said.out.contains("Verify return code: 0 (ok)"), "{}", said.out);
    let description = said.out.split("\r\n\r\n").nth(1).unwrap().lines().next().unwrap();
    let description = &description[..=description.rfind('}').unwrap()];
    assert_eq!(peer_seen(description), callee.caller.spiffe);
}

#[test]
fn the_answer_ends_with_close_notify() {
    let callee = Callee::start("", "");
    let said = s_client(&callee, Some(&callee.caller), &["-tls1_3", "-msg"]);
    let received: Vec<&str> = said.out.lines().filter(|line| line.starts_with("<<<")).collect();
    assert!(said.out.contains("close_notify"), "{received:?}");
    assert!(said.status.success() && !said.err.contains("unexpected eof"), "{}", said.err);
}

#[test]
fn no_ticket_is_given_and_no_session_is_resumed() {
    let callee = Callee::start("", "[tls]\nmin_version = \"1.2\"\n");
    let said = s_client(&callee, Some(&callee.caller), &["-tls1_3"]);
    assert!(said.out.contains("New, TLSv1.3") && !said.out.contains("New Session Ticket"), "{}", said.out);
    let said = s_client(&callee, Some(&callee.caller), &["-tls1_2", "-reconnect"]);
    let fresh = said.out.lines().filter(|line| line.starts_with("New, TLSv1.2")).count();
    assert!(fresh >= 2 && !said.out.contains("Reused,"), "{} {}", said.out, said.err);
}

#[test]
fn older_versions_of_tls_are_refused_with_their_own_alert() {
    let callee = Callee::start("", "");
    let said = s_client(&callee, Some(&callee.caller), &["-tls1_2"]);
    assert!(!said.status.success() && said.err.contains("alert protocol version"), "{}", said.err);
    assert!(!said.out.contains("HTTP/1.1"), "{}", said.out);
}

#[test]
fn tls_1_2_let_in_by_option_has_forward_secrecy_or_nothing() {
    let callee = Callee::start("", "[tls]\nmin_version = \"1.2\"\n");
    let said = s_client(&callee, Some(&callee.caller), &["-tls1_2"]);
    assert!(said.out.contains("Cipher is ECDHE-ECDSA-") && said.out.contains("200 OK"), "{}", said.out);
    let said = s_client(&callee, Some(&callee.caller), &["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-SHA"]);
    assert!(!said.status.success() && said.err.contains("handshake failure"), "{}", said.err);
}

#[test]
fn each_refusal_has_the_alert_that_tls_has_for_it() {
    let callee = Callee::start("", "");
    let other = Pki::named("another root");
    let foreign = other.issue("gateway");
    for (own, alert, reason) in
        [(None, "certificate required", "no_certificate"), (Some(&foreign), "unknown ca", "unknown_issuer")]
    {
        let said = s_client(&callee, own, &["-tls1_3"]);
        assert!(said.err.contains(alert) && !said.out.contains("200 OK"), "{}\n{}", said.err, said.out);
        callee.refusal(reason);
    }
}

#[test]
fn the_sidecar_names_no_authority_that_a_scanner_could_learn() {
    let callee = Callee::start("", "");
    let said = s_client(&callee, Some(&callee.caller), &["-tls1_3"]);
    assert!(said.out.contains("No client certificate CA names sent"), "{}", said.out);
}

struct Upstream {
    pki: Pki,
    caller: Sidecar,
    server: Running,
}

/// `openssl s_server` that wants a certificate, behind an outbound sidecar that expects this identity.
fn s_server(expect: &str, options: &[&str]) -> Upstream {
    let pki = Pki::new();
    let (own, caller) = (pki.issue("adservice"), pki.issue("gateway"));
    let mut command = Command::new(program("openssl", OPENSSL));
    command.args(["s_server", "-accept", "127.0.0.1:0", "-www", "-Verify", "3", "-verify_return_error"]);
    with_identity(&mut command, ["-cert", "-key", "-CAfile"], &own, &pki.anchors()).args(options);
    let server = Running::start(&mut command);
    let line = server.wait_for("ACCEPT ");
    let address = line.strip_prefix("ACCEPT ").unwrap();
    let caller = Sidecar::start(&outbound(&pki, &caller, address, expect, "", "[tls]\nmin_version = \"1.2\"\n"));
    Upstream { pki, caller, server }
}

#[test]
fn s_server_is_an_upstream_and_sees_the_sidecars_certificate() {
    for (version, cipher) in [("-tls1_3", "TLS_AES_"), ("-tls1_2", "ECDHE-ECDSA-")] {
        let upstream = s_server("spiffe://fleamarket.internal/adservice", &[version]);
        let (status, page) = get(upstream.caller.address("ads"), "/");
        assert_eq!(status, 200, "{}", upstream.caller.text());
        assert!(page.contains("Client certificate") && page.contains("spiffe://fleamarket.internal/gateway"), "{page}");
        assert!(page.contains(cipher) && page.contains("New, TLS"), "{page}");
    }
}

#[test]
fn an_upstream_with_another_identity_is_never_sent_a_request() {
    let upstream = s_server("spiffe://fleamarket.internal/userservice", &[]);
    let (status, problem) = get(upstream.caller.address("ads"), "/secret-path");
    assert_eq!(status, 502, "{problem}");
    let event = upstream.caller.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!(event["reason"], "name_mismatch", "{event}");
    let line = upstream.server.wait_for("alert");
    assert!(!line.contains("secret-path"), "{line}");
    assert!(upstream.pki.anchors().exists());
}
