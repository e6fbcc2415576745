//! Who is let in: the allow list against what the peer proved.

use std::collections::HashMap;
use std::io::{Read, Write as _};
use std::net::TcpListener;

use rcgen::SanType;
use serde_json::Value;

use crate::support::exchange::KeptAlive;
use crate::support::gate::{Gate, NAME};
use crate::support::mesh::inbound;
use crate::support::pki::{Issued, Pki};
use crate::support::service::Service;
use crate::support::sidecar::Sidecar;
use crate::support::tls_client::{HTTP1, client_config, connect};

/// A sidecar with this allow list, and what answers to callers of it.
struct Door {
    pki: Pki,
    sidecar: Sidecar,
    _service: Service,
}

impl Door {
    fn allowing(allow: &[&str], keys: &str) -> Self {
        let (pki, service) = (Pki::new(), Service::start());
        let own = pki.issue(NAME);
        let sidecar = Sidecar::start(&inbound(&pki, &own, service.address, allow, keys, ""));
        Self { pki, sidecar, _service: service }
    }

    /// The status that a caller gets, and the peer that the service was told of.
    fn ask(&self, caller: Option<&Issued>) -> (u16, Option<String>) {
        let config = client_config(&self.pki, caller, HTTP1);
        let mut kept = KeptAlive::new(connect(self.sidecar.address("ads"), NAME, config).unwrap());
        let answer = kept.get("/").unwrap();
        let told: Option<Value> = serde_json::from_str(&answer.body).ok();
        let headers = told.and_then(|told| told["headers"].as_array().cloned()).unwrap_or_default();
        let peer = headers.iter().find(|header| header[0] == "x-mantlet-peer");
        (answer.status, peer.map(|header| header[1].as_str().unwrap().to_owned()))
    }

    fn status(&self, caller: Option<&Issued>) -> u16 {
        self.ask(caller).0
    }

    /// The last refusal is told everywhere for this rule.
    fn assert_denied(&self, rule: &str, caller: Option<&Issued>) {
        let event = self.sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
        assert_eq!(event["reason"], rule, "{event}");
        match caller {
            Some(caller) => {
                assert_eq!(event["peer.serial"], caller.serial_hex(), "{event}");
                assert!(event["detail"].as_str().unwrap().contains(&caller.spiffe), "{event}");
            }
            None => assert_eq!(event["peer.serial"], Value::Null, "{event}"),
        }
        assert!(event["hint"].as_str().unwrap().contains("allow list"), "{event}");
        let labels = HashMap::from([("listener", "ads"), ("direction", "inbound"), ("reason", rule)]);
        self.sidecar.wait_for_metric("mantlet_denials_total", &labels, 1.0);
        let refusals = self.sidecar.status()["refusals"].clone();
        assert_eq!(refusals[0]["reason"], rule, "{refusals}");
    }
}

#[test]
fn a_peer_that_is_not_on_the_list_gets_403_and_the_service_hears_nothing() {
    let door = Door::allowing(&["spiffe://fleamarket.internal/gateway"], "");
    let (gateway, stranger) = (door.pki.issue("gateway"), door.pki.issue("stranger"));
    assert_eq!(door.status(Some(&gateway)), 200);
    assert_eq!(door.ask(Some(&stranger)), (403, None));
    door.assert_denied("not_on_allow_list", Some(&stranger));
}

#[test]
fn a_refused_peer_is_not_told_who_is_let_in() {
    let door = Door::allowing(&["spiffe://fleamarket.internal/gateway"], "");
    let stranger = door.pki.issue("stranger");
    let config = client_config(&door.pki, Some(&stranger), HTTP1);
    let mut kept = KeptAlive::new(connect(door.sidecar.address("ads"), NAME, config).unwrap());
    let answer = kept.get("/").unwrap();
    assert!(answer.head.contains("application/problem+json") && answer.head.contains("proxy-status: mantlet"));
    let told = answer.head + &answer.body;
    assert!(!told.contains("spiffe://fleamarket.internal/gateway"), "{told}");
}

#[test]
fn an_empty_list_admits_nobody() {
    let door = Door::allowing(&[], "");
    let gateway = door.pki.issue("gateway");
    assert_eq!(door.status(Some(&gateway)), 403);
    door.assert_denied("nobody_allowed", Some(&gateway));
}

#[test]
fn optional_client_auth_alone_admits_no_anonymous_caller() {
    let door = Door::allowing(&["spiffe://fleamarket.internal/gateway"], "client_auth = \"optional\"");
    let gateway = door.pki.issue("gateway");
    assert_eq!(door.ask(Some(&gateway)), (200, Some(gateway.spiffe.clone())));
    assert_eq!(door.ask(None), (403, None));
    door.assert_denied("anonymous_not_allowed", None);
}

#[test]
fn anonymous_on_the_list_with_optional_client_auth_admits_those_without_a_certificate_alone() {
    let door = Door::allowing(&["anonymous"], "client_auth = \"optional\"");
    let gateway = door.pki.issue("gateway");
    let (status, peer) = door.ask(None);
    assert_eq!(status, 200);
    assert!(peer.is_none_or(|peer| peer == "anonymous"));
    assert_eq!(door.status(Some(&gateway)), 403);
    door.assert_denied("not_on_allow_list", Some(&gateway));
}

#[test]
fn with_optional_client_auth_a_bad_certificate_is_still_refused_and_not_taken_for_none() {
    let door = Door::allowing(&["anonymous"], "client_auth = \"optional\"");
    let stranger = Pki::named("another root").issue("gateway");
    let alert = crate::support::tls_client::alert(
        door.sidecar.address("ads"),
        NAME,
        client_config(&door.pki, Some(&stranger), HTTP1),
    );
    assert_eq!(alert, rustls::AlertDescription::UnknownCA);
}

#[test]
fn anonymous_on_the_list_with_required_client_auth_admits_nobody() {
    let pki = Pki::new();
    let own = pki.issue(NAME);
    let service = Service::start();
    let text = inbound(&pki, &own, service.address, &["anonymous"], "", "");
    let (status, said) = Sidecar::start_and_fail(&text);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("client_auth") && said.contains("anonymous"), "{said}");
}

#[test]
fn a_wildcard_admits_what_is_below_it_and_no_neighbour() {
    let door = Door::allowing(&["spiffe://fleamarket.internal/batch/*"], "");
    for (name, status) in [("batch/nightly", 200), ("batch/a/b", 200), ("batch", 403), ("batches/x", 403)] {
        let caller = door.pki.issue_with("caller", "wild", |params| {
            let id = format!("spiffe://fleamarket.internal/{name}");
            params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        });
        assert_eq!(door.status(Some(&caller)), status, "{name}");
    }
}

#[test]
fn a_dns_name_admits_in_any_case_and_a_wildcard_admits_one_label() {
    let door = Door::allowing(&["cron.ops.internal", "*.batch.internal"], "");
    for (name, status) in [
        ("cron.ops.internal", 200),
        ("CRON.Ops.internal", 200),
        ("xcron.ops.internal", 403),
        ("cron.ops.internal.evil", 403),
        ("a.batch.internal", 200),
        ("a.b.batch.internal", 403),
        ("batch.internal", 403),
        ("xbatch.internal", 403),
    ] {
        let caller = door.pki.issue_with("caller", "dns", |params| {
            params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        });
        assert_eq!(door.status(Some(&caller)), status, "{name}");
    }
}

#[test]
fn the_common_name_proves_nothing() {
    let door = Door::allowing(&["gateway", "spiffe://fleamarket.internal/gateway"], "");
    let caller = door.pki.issue_with("gateway", "cn", |params| {
        params.subject_alt_names = vec![SanType::DnsName("other".try_into().unwrap())];
    });
    assert_eq!(door.status(Some(&caller)), 403);
}

#[test]
fn an_identity_of_another_trust_domain_is_not_let_in() {
    let door = Door::allowing(&["spiffe://fleamarket.internal/gateway"], "");
    for id in ["spiffe://fleamarket.internal.evil/gateway", "spiffe://evil/fleamarket.internal/gateway"] {
        let caller = door.pki.issue_with("caller", "domain", |params| {
            params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        });
        assert_eq!(door.status(Some(&caller)), 403, "{id}");
    }
}

#[test]
fn each_request_of_an_http2_connection_is_judged_and_denied() {
    use crate::support::h2_frames::{HEADERS, begin_with_get, read_until};
    let gate = Gate::with("", "");
    let stranger = gate.pki.issue("stranger");
    let mut stream = gate.open(&stranger, crate::support::tls_client::HTTP2);
    begin_with_get(&mut stream, "/");
    let headers = read_until(&mut stream, HEADERS).unwrap();
    // `:status: 403` is not in the static table, so that its digits stand in the block, plain or in Huffman code.
    let block = headers.payload;
    assert!(
        block.windows(3).any(|digits| digits == b"403") || block.windows(2).any(|code| code == [0x68, 0x0c]),
        "{block:x?}"
    );
}

#[test]
fn a_denied_tcp_peer_is_cut_off_and_the_service_sees_no_connection() {
    let pki = Pki::new();
    let (own, gateway, stranger) = (pki.issue(NAME), pki.issue("gateway"), pki.issue("stranger"));
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = inbound(&pki, &own, service.local_addr().unwrap(), &[&gateway.spiffe], "protocol = \"tcp\"", "");
    let sidecar = Sidecar::start(&text);
    let open = |caller| connect(sidecar.address("ads"), NAME, client_config(&pki, Some(caller), &[])).unwrap();
    let mut denied = open(&stranger);
    let end = denied.read(&mut [0; 16]);
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    let event = sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!(
        (event["reason"].as_str(), &event["peer.serial"]),
        (Some("not_on_allow_list"), &stranger.serial_hex().into())
    );
    sidecar.wait_for_metric("mantlet_denials_total", &HashMap::from([("reason", "not_on_allow_list")]), 1.0);
    // What the service sees first is the connection of the one who is allowed.
    let mut allowed = open(&gateway);
    allowed.write_all(b"hello").unwrap();
    allowed.flush().unwrap();
    let (mut seen, _) = service.accept().unwrap();
    let mut said = [0; 5];
    seen.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello");
    service.set_nonblocking(true).unwrap();
    assert!(service.accept().is_err(), "the denied connection reached the service");
}
