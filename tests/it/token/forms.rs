//! The two forms in which issuers publish keys, and the keys that are left out.

use std::time::Duration;

use mantlet::config::{KeysFormat, TokenAlgorithm};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::rig::{DAY, HOUR, Rig, market};
use crate::support::key_server::{Answer, KeyServer};
use crate::support::pki::Pki;
use crate::support::tokens::{TokenKey, base64url, claims, jwks};

/// The certificate of a key, valid for so many days from yesterday on.
fn certificate(key: &TokenKey, days: i64) -> String {
    let pair = KeyPair::try_from(key.pkcs8()).unwrap();
    let mut params = CertificateParams::new(vec!["securetoken.system.gserviceaccount.com".to_owned()]).unwrap();
    params.not_before = OffsetDateTime::now_utc() - DAY;
    params.not_after = params.not_before + time::Duration::days(days);
    params.self_signed(&pair).unwrap().pem()
}

/// A rig whose one issuer gives certificates by `kid`.
fn of_certificates(algorithm: TokenAlgorithm, object: &Value) -> (Rig, KeyServer) {
    let pki = Pki::new();
    let server = KeyServer::start(&pki, Answer::text(object.to_string()));
    let mut settings = market(algorithm, &server);
    settings.keys_format = KeysFormat::X509;
    (Rig::started(&pki, vec![settings]), server)
}

#[test]
fn keys_in_certificates_verify_as_firebase_publishes_them() {
    let keys = [TokenKey::rsa("k1"), TokenKey::p256("k1"), TokenKey::ed25519("k1")];
    for key in keys {
        let algorithm = TokenAlgorithm::named(key.alg()).unwrap();
        let (mut rig, _server) = of_certificates(algorithm, &json!({ "k1": certificate(&key, 16) }));
        let mut long = claims(rig.now);
        long["exp"] = 4_000_000_000_u64.into();
        assert_eq!(rig.said(&key.token(&long)), "good", "{}", key.alg());
        assert_eq!(rig.status().keys, [format!("{} \"k1\"", key.alg())]);
    }
}

#[test]
fn a_key_serves_no_longer_than_its_certificate() {
    let (key, ended) = (TokenKey::p256("k1"), TokenKey::p256("k2"));
    let object = json!({ "k1": certificate(&key, 2), "k2": certificate(&ended, 0) });
    let (mut rig, _server) = of_certificates(TokenAlgorithm::Es256, &object);
    let mut long = claims(rig.now);
    long["exp"] = 4_000_000_000_u64.into();
    let (token, other) = (key.token(&long), ended.token(&long));
    assert_eq!(rig.said(&other), "the key \"k2\" of \"market\" came in a certificate that is not valid now");
    assert_eq!(rig.verdict(&token), "good");
    rig.pass(Duration::from_secs(86_400 - 60));
    assert_eq!(rig.verdict(&token), "good");
    rig.pass(Duration::from_secs(120));
    assert_eq!(rig.verdict(&token), "unknown_key", "although it was verified before");
}

#[test]
fn certificates_that_cannot_be_used_are_left_out_and_named() {
    let (key, p384) = (TokenKey::p256("k1"), KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap());
    let p384 = CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&p384).unwrap().pem();
    let object = json!({
        "k1": certificate(&key, 16),
        "curve": p384,
        "text": "no PEM",
        "number": 7,
        "broken": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    });
    let (mut rig, _server) = of_certificates(TokenAlgorithm::Es256, &object);
    assert_eq!(rig.verdict(&key.token(&claims(rig.now))), "good");
    let left_out = rig.status().left_out.expect("some").to_string();
    for part in [
        "the key \"curve\" is a key of ECDSA P-384",
        "the key \"text\" is no certificate in PEM",
        "the key \"number\" is no text",
        "the key \"broken\" is not an X.509 certificate in DER",
    ] {
        assert!(left_out.contains(part), "{part}: {left_out}");
    }
}

#[test]
fn keys_of_a_set_that_cannot_be_used_are_left_out_and_named() {
    let (key, good) = (TokenKey::p256("bad"), TokenKey::p256("good"));
    let rsa = TokenKey::rsa("bad");
    let change = |key: &TokenKey, member: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[member] = value;
        jwk
    };
    let cases = [
        (change(&key, "use", json!("enc")), "is not for signatures (\"use\")"),
        (change(&key, "key_ops", json!(["sign"])), "is not for verifying (\"key_ops\")"),
        (change(&key, "key_ops", json!("verify")), "is not for verifying (\"key_ops\")"),
        (change(&key, "alg", json!("ES384")), "is for \"ES384\": expected ES256"),
        (change(&rsa, "alg", json!("HS256")), "is for \"HS256\": expected RS256"),
        (change(&rsa, "alg", json!("PS256")), "is for \"PS256\": expected RS256"),
        (change(&key, "d", json!("AAAA")), "is a private key, which the issuer has to withdraw"),
        (change(&key, "crv", json!("P-384")), "is of the kind \"EC\" on \"P-384\""),
        (change(&key, "kty", json!("OKP")), "is of the kind \"OKP\" on \"P-256\""),
        (change(&key, "kty", json!(7)), "is of the kind \"\" on \"P-256\""),
        (json!({ "kty": "oct", "kid": "bad", "k": "c2VjcmV0" }), "is of the kind \"oct\""),
        (change(&key, "x", json!("AAAA")), "is a key on P-256 whose coordinates are not of 32 octets"),
        (change(&key, "x", json!(base64url(&[1; 32]))), "is no key for ES256"),
        (change(&key, "y", json!("not base64!")), "has \"y\" that is not base64url without padding"),
        (json!({ "kty": "EC", "crv": "P-256", "kid": "bad", "x": "AAAA" }), "has no \"y\""),
        (change(&TokenKey::ed25519("bad"), "x", json!("AAAA")), "is a key of Ed25519 that is not of 32 octets"),
        (change(&rsa, "n", json!(base64url(&[0xff; 128]))), "is an RSA key of 1024 bits: expected 2048 to 8192"),
        (change(&rsa, "n", json!(base64url(&[&[0; 200][..], &[0xff; 100]].concat()))), "is an RSA key of 800 bits"),
        (change(&rsa, "n", json!("")), "is an RSA key of 0 bits"),
        (change(&rsa, "e", json!("AQ")), "is an RSA key whose exponent is not odd, from 3 to 4294967295"),
        (change(&rsa, "e", json!("AAAAAQ")), "is an RSA key whose exponent is not odd, from 3 to 4294967295"),
        (change(&rsa, "e", json!("AAEAAA")), "is an RSA key whose exponent is not odd, from 3 to 4294967295"),
        (change(&rsa, "e", json!("")), "is an RSA key whose exponent is not odd, from 3 to 4294967295"),
        (change(&key, "kid", json!(7)), "has a \"kid\" that is no text of 1 to 256 octets"),
        (change(&key, "kid", json!("")), "has a \"kid\" that is no text of 1 to 256 octets"),
        (json!("a text"), "key 1 is no object"),
    ];
    let pki = Pki::new();
    let server = KeyServer::of(&pki, &[&good]);
    let mut rig = Rig::started(&pki, vec![market(TokenAlgorithm::Es256, &server)]);
    for (jwk, expected) in cases {
        server.answer(Answer::text(json!({ "keys": [jwk, good.jwk()] }).to_string()));
        rig.pass(HOUR);
        let status = rig.status();
        let left_out = status.left_out.as_deref().unwrap_or("nothing");
        assert!(left_out.contains(expected), "{expected}: {left_out}");
        assert_eq!(status.keys, ["ES256 \"good\""]);
        assert_eq!(rig.verdict(&good.token(&claims(rig.now))), "good");
    }
}

#[test]
fn of_two_keys_with_one_kid_for_one_algorithm_the_first_is_used() {
    let (first, second, other) = (TokenKey::p256("k1"), TokenKey::p256("k1"), TokenKey::rsa("k1"));
    let pki = Pki::new();
    let server = KeyServer::start(&pki, Answer::text(jwks(&[&first, &second, &other])));
    let mut rig = Rig::started(&pki, vec![market(TokenAlgorithm::Es256, &server)]);
    assert_eq!(rig.status().left_out.as_deref(), Some("the key \"k1\" has the \"kid\" of an earlier key"));
    assert_eq!(rig.status().keys, ["ES256 \"k1\"", "RS256 \"k1\""]);
    assert_eq!(rig.verdict(&first.token(&claims(rig.now))), "good");
    assert_eq!(rig.verdict(&second.token(&claims(rig.now))), "signature");
}
