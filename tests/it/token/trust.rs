//! Whom the keys are asked of, what a reload changes, and what is counted.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mantlet::config::TokenAlgorithm;
use mantlet::x509::MaterialPart;
use rcgen::SanType;
use serde_json::json;

use super::rig::{HOUR, MINUTE, Rig, issuer, located, market};
use crate::support::key_server::{Answer, KeyServer};
use crate::support::pki::{Pki, replace};
use crate::support::tokens::{ISS, TokenKey, claims, claims_with};

fn with_anchors(server: &KeyServer, pki: &Pki) -> mantlet::config::Issuer {
    let mut settings = market(TokenAlgorithm::Es256, server);
    settings.jwks_anchors = Some(vec![located(pki.anchors())]);
    settings
}

#[test]
fn only_a_server_that_the_anchors_vouch_for_is_believed() {
    let key = TokenKey::p256("k1");
    let (ours, theirs) = (Pki::new(), Pki::new());
    let server = KeyServer::of(&theirs, &[&key]);
    let mut rig = Rig::started(&ours, vec![market(TokenAlgorithm::Es256, &server)]);
    // Both authorities have one name, so that the path to ours may be tried.
    let error = rig.error();
    let is_refused = |why| error.contains(&format!("invalid peer certificate: {why}"));
    assert!(is_refused("UnknownIssuer") || is_refused("BadSignature"), "{error}");
    rig.settings = vec![with_anchors(&server, &theirs)];
    rig.prepare().expect("usable");
    rig.settle();
    assert_eq!(rig.said(&key.token(&claims(rig.now))), "good");
    let of_ours = KeyServer::of(&ours, &[&key]);
    rig.settings = vec![with_anchors(&of_ours, &theirs)];
    rig.prepare().expect("usable");
    rig.settle();
    assert_eq!(rig.verdict(&key.token(&claims(rig.now))), "unavailable", "[trust] does not count beside jwks_anchors");
}

#[test]
fn a_server_has_to_prove_the_name_that_is_asked_for() {
    let pki = Pki::new();
    let key = TokenKey::p256("k1");
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let own = pki.issue_with("other", "other", |params| params.subject_alt_names.push(SanType::IpAddress(other)));
    let server = KeyServer::with(&own, Answer::keys(&[&key]));
    let rig = Rig::started(&pki, vec![market(TokenAlgorithm::Es256, &server)]);
    assert!(rig.error().contains("not valid for name"), "{}", rig.error());
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn anchors_that_cannot_be_used_are_named_with_their_place() {
    let pki = Pki::new();
    let key = TokenKey::p256("k1");
    let server = KeyServer::of(&pki, &[&key]);
    let mut rig = Rig::started(&pki, vec![market(TokenAlgorithm::Es256, &server)]);
    let missing = pki.folder.path().join("missing.pem");
    rig.settings[0].jwks_anchors = Some(vec![located(pki.anchors()), located(missing)]);
    let problems = rig.prepare().expect_err("unusable");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].part, MaterialPart::IssuerAnchor { issuer: 0, file: 1 });
    assert!(problems[0].message.contains("missing.pem: cannot be read"));
    assert_eq!(rig.verdict(&key.token(&claims(rig.now))), "good", "what was in use stays in use");
}

#[test]
fn a_reload_keeps_the_keys_of_an_address_and_takes_every_other_setting_up() {
    let key = TokenKey::p256("k1");
    let (mut rig, server) = Rig::of_key(&key);
    let token = key.token(&claims(rig.now));
    assert_eq!(rig.verdict(&token), "good");
    server.answer(Answer::Status("500 Internal Server Error", String::new()));
    rig.settings[0].leeway = Duration::ZERO;
    rig.settings[0].name.value = "renamed".to_owned();
    rig.settings.push(issuer("second", "https://second.example", TokenAlgorithm::Rs256, &server.url("/second")));
    rig.prepare().expect("usable");
    rig.settle();
    assert_eq!(rig.verdict(&token), "good");
    let of_second = TokenKey::rsa("k1").token(&claims_with(rig.now, "iss", json!("https://second.example")));
    assert_eq!(rig.verdict(&of_second), "unavailable");
    rig.settings[0].algorithms = vec![TokenAlgorithm::EdDsa];
    rig.prepare().expect("usable");
    assert_eq!(rig.said(&token), "the token is signed by ES256, which is not among the algorithms of \"renamed\"");
    rig.settings.remove(0);
    rig.prepare().expect("usable");
    assert_eq!(rig.said(&token), format!("the token is issued by {ISS:?}, which is no issuer here"));
}

#[test]
fn keys_of_a_server_that_is_believed_no_more_are_dropped_and_those_of_one_that_is_stay() {
    let key = TokenKey::p256("k1");
    let (ours, theirs) = (Pki::new(), Pki::named("theirs"));
    let server = KeyServer::of(&theirs, &[&key]);
    let both = ours.folder.path().join("both.pem");
    let pem = |pki: &Pki| std::fs::read_to_string(pki.anchors()).unwrap();
    replace(&both, &pem(&theirs));
    let mut settings = market(TokenAlgorithm::Es256, &server);
    settings.jwks_anchors = Some(vec![located(both.clone())]);
    let mut rig = Rig::started(&ours, vec![settings]);
    let token = key.token(&claims(rig.now));
    assert_eq!(rig.verdict(&token), "good");
    server.answer(Answer::Status("500 Internal Server Error", String::new()));
    replace(&both, &(pem(&theirs) + &pem(&ours)));
    rig.prepare().expect("usable");
    rig.settle();
    assert_eq!((rig.verdict(&token), server.requests().len()), ("good", 1), "another anchor takes nothing away");
    replace(&both, &pem(&ours));
    rig.prepare().expect("usable");
    rig.settle();
    assert_eq!(rig.verdict(&token), "unavailable", "whoever gave the keys is believed no more");
}

#[test]
fn verifications_are_counted_by_issuer_and_outcome() {
    let key = TokenKey::p256("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    let token = key.token(&claims(rig.now));
    for _ in 0..3 {
        assert_eq!(rig.verdict(&token), "good");
    }
    rig.verdict(&key.token(&claims_with(rig.now, "exp", json!(1))));
    rig.verdict(&key.token(&claims_with(rig.now, "iss", json!("https://made-up-by-the-caller.example"))));
    rig.verdict("garbage");
    let metrics = rig.metrics();
    for line in [
        "mantlet_token_verifications_total{issuer=\"market\",outcome=\"accepted\"} 3",
        "mantlet_token_verifications_total{issuer=\"market\",outcome=\"expired\"} 1",
        "mantlet_token_verifications_total{issuer=\"\",outcome=\"issuer\"} 1",
        "mantlet_token_verifications_total{issuer=\"\",outcome=\"malformed\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(!metrics.contains("made-up"), "no label is a caller's to choose");
}

#[test]
fn a_clock_that_was_put_back_keeps_nobody_from_asking() {
    let (old, new) = (TokenKey::p256("k1"), TokenKey::p256("k2"));
    let (mut rig, server) = Rig::of_key(&old);
    rig.now -= 48 * HOUR;
    rig.settle();
    assert_eq!(server.requests().len(), 2, "what was due in two days is due now");
    server.answer(Answer::keys(&[&old, &new]));
    rig.now -= MINUTE;
    assert_eq!(rig.verdict(&new.token(&claims(rig.now))), "good");
}
