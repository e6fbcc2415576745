//! What a token claims, and what of it has to be right.

use std::time::{Duration, UNIX_EPOCH};

use mantlet::config::{Located, TokenAlgorithm};
use mantlet::token::Accepted;
use serde_json::{Value, json};

use super::rig::{Rig, issuer, market};
use crate::support::key_server::KeyServer;
use crate::support::pki::Pki;
use crate::support::tokens::{AUDIENCE, ISS, TokenKey, claims, claims_with, seconds};

#[test]
fn a_good_token_tells_of_its_user() {
    let key = TokenKey::rsa("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    let user = rig.verify(&key.token(&claims(rig.now))).expect("good");
    assert_eq!((user.issuer.as_str(), user.subject.as_str()), (ISS, "user-7"));
    assert_eq!(user.claims, *claims(rig.now).as_object().unwrap());
}

#[test]
fn each_claim_is_checked() {
    let key = TokenKey::rsa("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    let now = seconds(rig.now);
    let long = "x".repeat(1025);
    let cases: [(&str, Value, &str); 32] = [
        ("iss", Value::Null, "the token has no \"iss\""),
        ("iss", json!([ISS]), "the \"iss\" of the token is not a text"),
        (
            "iss",
            json!("https://issuer.fleamarket.example/"),
            "\"https://issuer.fleamarket.example/\", which is no issuer here",
        ),
        ("iss", json!("HTTPS://ISSUER.FLEAMARKET.EXAMPLE"), "which is no issuer here"),
        ("iss", json!(""), "the token is issued by \"\", which is no issuer here"),
        ("aud", Value::Null, "the token has no \"aud\""),
        ("aud", json!("others"), "the token is for \"others\", which is not among the audiences of \"market\""),
        ("aud", json!("flea-market "), "is not among the audiences"),
        ("aud", json!([]), "the token is for nobody, which is not among the audiences"),
        ("aud", json!(["others", "more"]), "the token is for \"others\", which is not among the audiences"),
        ("aud", json!(["others", AUDIENCE]), "good"),
        ("aud", json!([AUDIENCE, 7]), "the \"aud\" of the token is not a text or a list of texts"),
        ("aud", json!({ "x": AUDIENCE }), "the \"aud\" of the token is not a text or a list of texts"),
        ("exp", Value::Null, "the token has no \"exp\""),
        ("exp", json!(now - 30), "30s ago"),
        ("exp", json!(now - 29), "good"),
        ("exp", json!((now + 60).to_string()), "the \"exp\" of the token is not a number of seconds since 1970"),
        ("exp", json!(-1), "the \"exp\" of the token is not a number of seconds since 1970"),
        ("exp", json!(1e300), "the \"exp\" of the token is not a number of seconds since 1970"),
        ("exp", json!(253_402_300_799_u64), "good"),
        ("nbf", json!(now + 31), "in 31s; compare the clocks"),
        ("nbf", json!(now + 30), "good"),
        ("nbf", json!("soon"), "the \"nbf\" of the token is not a number of seconds since 1970"),
        ("iat", json!(now + 31), "31s from now; compare the clocks"),
        ("iat", json!(now + 30), "good"),
        ("iat", Value::Null, "good"),
        ("sub", Value::Null, "the token has no \"sub\""),
        ("sub", json!(""), "the \"sub\" of the token is not a text of 1 to 1024 octets"),
        ("sub", json!(7), "the \"sub\" of the token is not a text"),
        ("sub", json!(long), "the \"sub\" of the token is not a text of 1 to 1024 octets"),
        ("sub", json!("x".repeat(1024)), "good"),
        ("role", Value::Null, "good"),
    ];
    for (claim, value, expected) in cases {
        let token = key.token(&claims_with(rig.now, claim, value.clone()));
        let said = rig.said(&token);
        assert!(said.contains(expected), "{claim} = {value}: {said}");
    }
}

#[test]
fn a_token_ends_with_its_second_and_not_one_later_whether_or_not_it_was_seen_before() {
    let key = TokenKey::p256("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    rig.settings[0].leeway = Duration::ZERO;
    rig.prepare().expect("usable");
    let exp = seconds(rig.now) + 100;
    let seen = key.token(&claims_with(rig.now, "exp", json!(exp)));
    let unseen = key.token(&claims_with(rig.now, "exp", json!(exp)));
    assert_eq!(rig.verdict(&seen), "good");
    rig.now = UNIX_EPOCH + Duration::from_secs(exp - 1);
    assert_eq!(rig.verdict(&seen), "good");
    rig.now += Duration::from_secs(1);
    assert_eq!((rig.verdict(&seen), rig.verdict(&unseen)), ("expired", "expired"));
    rig.now -= Duration::from_secs(1);
    assert_eq!(rig.verdict(&seen), "good", "the clock was put back");
}

#[test]
fn the_issuers_of_a_route_are_the_only_ones_there() {
    let (key, other) = (TokenKey::rsa("k1"), TokenKey::p256("k1"));
    let pki = Pki::new();
    let servers = [KeyServer::of(&pki, &[&key]), KeyServer::of(&pki, &[&other])];
    let partner = issuer("partner", "https://partner.example", TokenAlgorithm::Es256, &servers[1].url("/"));
    let mut rig = Rig::started(&pki, vec![market(TokenAlgorithm::Rs256, &servers[0]), partner]);
    let of_market = key.token(&claims(rig.now));
    let of_partner = other.token(&claims_with(rig.now, "iss", json!("https://partner.example")));
    let only = |name: &str| Accepted::Named(vec![name.to_owned()]);
    for _ in 0..2 {
        assert!(rig.verify(&of_market).is_ok() && rig.verify(&of_partner).is_ok());
        assert!(rig.verify_for(&of_market, &only("market")).is_ok());
        let error = rig.verify_for(&of_market, &only("partner")).expect_err("refused");
        assert_eq!(error.to_string(), "the token is issued by \"market\", whose tokens are not accepted here");
        assert_eq!(error.description(), "the token is of an issuer that is not accepted");
        assert!(rig.verify_for(&of_partner, &Accepted::Named(Vec::new())).is_err(), "no name accepts none");
    }
}

#[test]
fn a_token_of_one_issuer_that_names_another_is_refused() {
    let (key, other) = (TokenKey::p256("k1"), TokenKey::p256("k1"));
    let pki = Pki::new();
    let servers = [KeyServer::of(&pki, &[&key]), KeyServer::of(&pki, &[&other])];
    let partner = issuer("partner", "https://partner.example", TokenAlgorithm::Es256, &servers[1].url("/"));
    let mut rig = Rig::started(&pki, vec![market(TokenAlgorithm::Es256, &servers[0]), partner]);
    assert_eq!(rig.verdict(&other.token(&claims(rig.now))), "signature");
    assert_eq!(rig.verdict(&key.token(&claims_with(rig.now, "iss", json!("https://partner.example")))), "signature");
    assert_eq!(rig.verdict(&key.token(&claims(rig.now))), "good");
}

#[test]
fn the_audiences_and_the_size_are_those_of_the_issuer() {
    let key = TokenKey::rsa("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    rig.settings[0].audiences = ["a", "b"].map(|name| Located { value: name.to_owned(), span: 0..0 }).to_vec();
    rig.settings[0].max_token_size = 1024;
    rig.prepare().expect("usable");
    assert_eq!(rig.verdict(&key.token(&claims_with(rig.now, "aud", json!("b")))), "good");
    let mut large = claims_with(rig.now, "aud", json!("b"));
    large["padding"] = "x".repeat(700).into();
    let token = key.token(&large);
    assert_eq!(rig.said(&token), format!("the token is of {} octets: expected 1024 at most", token.len()));
}
