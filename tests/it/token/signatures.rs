//! Tokens that are forged, or made to be read in two ways.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use mantlet::config::TokenAlgorithm;
use serde_json::{Value, json};

use super::rig::{Rig, market};
use crate::support::key_server::{Answer, KeyServer};
use crate::support::pki::Pki;
use crate::support::tokens::{ISS, TokenKey, base64url, claims, jwks};

/// A header like the key's own, with one member changed.
fn header_with(key: &TokenKey, member: &str, value: Value) -> Value {
    let mut header = key.header();
    header[member] = value;
    header
}

/// A token with the HMAC of a secret for a signature.
fn hmac_token(alg: &str, kid: &str, secret: &[u8], claims: &Value) -> String {
    let header = json!({ "alg": alg, "typ": "JWT", "kid": kid }).to_string();
    let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.to_string().as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", base64url(tag.as_ref()))
}

#[test]
fn tokens_of_every_algorithm_are_verified() {
    for key in [TokenKey::rsa("k1"), TokenKey::p256("k1"), TokenKey::ed25519("k1")] {
        let (mut rig, _server) = Rig::of_key(&key);
        let token = key.token(&claims(rig.now));
        assert_eq!(rig.said(&token), "good", "{}", key.alg());
        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
        for place in [0, signature.len() / 2, signature.len() - 1] {
            signature[place] ^= 1;
            assert_eq!(rig.verdict(&format!("{message}.{}", base64url(&signature))), "signature", "{}", key.alg());
            signature[place] ^= 1;
        }
        for cut in [&signature[..0], &signature[..signature.len() - 1], &[&signature[..], &[0]].concat()] {
            assert_eq!(rig.verdict(&format!("{message}.{}", base64url(cut))), "signature", "{}", key.alg());
        }
        let mut others = claims(rig.now);
        others["sub"] = "user-8".into();
        let (_, forged) = token.split_once('.').unwrap();
        let forged = forged.split_once('.').unwrap().1;
        let message =
            format!("{}.{}", base64url(key.header().to_string().as_bytes()), base64url(others.to_string().as_bytes()));
        assert_eq!(rig.verdict(&format!("{message}.{forged}")), "signature", "{}", key.alg());
    }
}

#[test]
fn a_signature_of_ecdsa_in_der_or_of_zeros_is_refused() {
    let key = TokenKey::p256("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    let token = key.token(&claims(rig.now));
    let message = token.rsplit_once('.').unwrap().0;
    let asn1 = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        &key.pkcs8(),
    );
    let der = asn1.unwrap().sign(&aws_lc_rs::rand::SystemRandom::new(), message.as_bytes()).unwrap();
    for signature in [der.as_ref(), &[0; 64]] {
        assert_eq!(rig.verdict(&format!("{message}.{}", base64url(signature))), "signature");
    }
}

#[test]
fn none_is_refused_in_all_spellings_whatever_stands_for_a_signature() {
    let key = TokenKey::rsa("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    for alg in ["none", "None", "NONE", "nOnE", "", " none", "none\0", "null"] {
        let message = key.token_of(&header_with(&key, "alg", json!(alg)), &claims(rig.now));
        let (message, signature) = message.rsplit_once('.').unwrap();
        for token in [format!("{message}."), format!("{message}.{signature}"), format!("{message}.AA")] {
            assert_eq!(rig.said(&token), format!("the token is signed by {alg:?}: expected RS256, ES256 or EdDSA"));
        }
        assert!(rig.said(message).starts_with("the token is no JWT in compact form"));
    }
    for (alg, said) in [
        (json!(null), "the token is signed by no text but null: expected"),
        (json!(["RS256"]), "the token is signed by no text but a list: expected"),
        (json!({ "alg": "RS256" }), "the token is signed by no text but an object: expected"),
    ] {
        assert!(rig.said(&key.token_of(&header_with(&key, "alg", alg), &claims(rig.now))).starts_with(said));
    }
    let token = key.token_of(&json!({ "kid": "k1" }), &claims(rig.now));
    assert_eq!(rig.said(&token), "the header of the token has no \"alg\"");
}

#[test]
fn a_public_key_is_no_secret_of_hmac_in_any_form() {
    let key = TokenKey::rsa("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    let jwk = key.jwk();
    let text = |member: &str| jwk[member].as_str().unwrap().as_bytes().to_vec();
    let n = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text("n")).unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&n));
    let secrets = [n, text("n"), jwk.to_string().into_bytes(), jwks(&[&key]).into_bytes(), pem.into_bytes(), vec![0]];
    for secret in secrets {
        for alg in ["HS256", "HS384", "HS512", "hs256", "RS384", "PS256", "ES384", "rs256", "RS256 "] {
            assert_eq!(rig.verdict(&hmac_token(alg, "k1", &secret, &claims(rig.now))), "algorithm", "{alg}");
        }
        assert_eq!(rig.verdict(&hmac_token("RS256", "k1", &secret, &claims(rig.now))), "signature");
    }
}

#[test]
fn an_algorithm_that_the_issuer_does_not_use_is_refused_before_its_key_is_looked_for() {
    let (rsa, p256) = (TokenKey::rsa("k1"), TokenKey::p256("k2"));
    let pki = Pki::new();
    let server = KeyServer::of(&pki, &[&rsa, &p256]);
    let mut rig = Rig::started(&pki, vec![market(TokenAlgorithm::Rs256, &server)]);
    let said = "the token is signed by ES256, which is not among the algorithms of \"market\"";
    assert_eq!(rig.said(&p256.token(&claims(rig.now))), said);
    let mut header = p256.header();
    header["kid"] = "unknown".into();
    assert_eq!(rig.said(&p256.token_of(&header, &claims(rig.now))), said);
    assert_eq!(server.requests().len(), 1, "a key that does not matter is not asked for");
    // The kid of a key of another kind.
    let token = rsa.token_of(&json!({ "alg": "RS256", "kid": "k2" }), &claims(rig.now));
    assert_eq!(rig.said(&token), "\"market\" has no key \"k2\" for RS256");
}

#[test]
fn a_kid_is_a_name_and_nothing_else() {
    let key = TokenKey::p256("k1");
    let (mut rig, server) = Rig::of_key(&key);
    rig.now += Duration::from_secs(1);
    let names = [
        "../../../../dev/null",
        "/etc/passwd",
        "k1' OR '1'='1",
        "k1\0",
        "k1 ",
        "K1",
        "k1,k2",
        "*",
        "https://attacker.example/key",
        "$(touch /tmp/x)",
        "\u{202e}1k",
    ];
    for name in names {
        let token = key.token_of(&header_with(&key, "kid", json!(name)), &claims(rig.now));
        assert_eq!(rig.said(&token), format!("\"market\" has no key {name:?} for ES256"));
    }
    for kid in [json!(""), json!(null), json!(1), json!(["k1"]), json!({ "kid": "k1" }), json!("k".repeat(257))] {
        let token = key.token_of(&header_with(&key, "kid", kid), &claims(rig.now));
        assert_eq!(rig.said(&token), "the \"kid\" of the token is not a text of 1 to 256 octets");
    }
    let long = "k".repeat(256);
    let token = key.token_of(&header_with(&key, "kid", json!(long)), &claims(rig.now));
    assert_eq!(rig.said(&token), format!("\"market\" has no key {:?}... for ES256", "k".repeat(128)));
    assert_eq!(server.requests().len(), 1, "all of it within the interval in which nothing is asked for");
}

#[test]
fn keys_that_a_token_brings_or_points_to_are_never_looked_at() {
    let (key, attacker) = (TokenKey::p256("k1"), TokenKey::p256("evil"));
    let pki = Pki::new();
    let server = KeyServer::of(&pki, &[&key]);
    let elsewhere = KeyServer::of(&pki, &[&attacker]);
    let mut rig = Rig::started(&pki, vec![market(TokenAlgorithm::Es256, &server)]);
    rig.now += Duration::from_secs(60);
    let url = elsewhere.url("/jwks.json");
    let certificate = STANDARD.encode(&pki.issue("attacker").der);
    for (member, value) in [
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("jwk", attacker.jwk()),
        ("x5c", json!([certificate])),
        ("x5t", json!("AAAA")),
        ("jku", json!(["not", "a", { "text": 1 }])),
    ] {
        for kid in ["evil", "k1"] {
            let mut header = header_with(&attacker, member, value.clone());
            header["kid"] = kid.into();
            let verdict = rig.verdict(&attacker.token_of(&header, &claims(rig.now)));
            assert_eq!(verdict, if kid == "k1" { "signature" } else { "unknown_key" }, "{member}");
        }
        // It changes nothing for a token that is good without it.
        assert_eq!(rig.verdict(&key.token_of(&header_with(&key, member, value), &claims(rig.now))), "good");
    }
    let mut nameless = attacker.header();
    nameless.as_object_mut().unwrap().remove("kid");
    nameless["jwk"] = attacker.jwk();
    assert_eq!(rig.verdict(&attacker.token_of(&nameless, &claims(rig.now))), "signature");
    assert_eq!(elsewhere.connections(), 0, "nobody connects to where a token points");
}

#[test]
fn extensions_that_have_to_be_understood_and_other_types_are_refused() {
    let key = TokenKey::p256("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!("b64")] {
        let token = key.token_of(&header_with(&key, "crit", crit), &claims(rig.now));
        assert_eq!(rig.said(&token), "the header of the token has \"crit\": no extension is understood");
    }
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "application/at+jwt"] {
        assert_eq!(rig.said(&key.token_of(&header_with(&key, "typ", json!(typ)), &claims(rig.now))), "good", "{typ}");
    }
    let untyped = key.token_of(&json!({ "alg": "ES256", "kid": "k1" }), &claims(rig.now));
    assert_eq!(rig.said(&untyped), "good");
    for typ in ["dpop+jwt", "logout+jwt", "secevent+jwt", "JOSE", ""] {
        let token = key.token_of(&header_with(&key, "typ", json!(typ)), &claims(rig.now));
        assert_eq!(rig.said(&token), format!("the token is of the type {typ:?}: expected \"JWT\", \"at+jwt\" or none"));
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let key = TokenKey::p256("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    let (header, good) = (key.header().to_string(), claims(rig.now).to_string());
    let twice = |text: &str, member: &str| format!("{{{member},{}", &text[1..]);
    for (header, claims, said) in [
        (twice(&header, "\"alg\":\"none\""), good.clone(), "the header of the token holds a member twice"),
        (twice(&header, "\"\\u0061lg\":\"none\""), good.clone(), "the header of the token holds a member twice"),
        (header.clone(), twice(&good, "\"sub\":\"admin\""), "the claims of the token holds a member twice"),
        (header.clone(), twice(&good, "\"a\":{\"b\":1,\"b\":2}"), "the claims of the token holds a member twice"),
        (header.clone(), format!("[{good}]"), "the claims of the token is JSON, but no object"),
        (header.clone(), format!("{good}{good}"), "the claims of the token is no JSON: trailing characters"),
        (header.clone(), good.replace('}', ",}"), "the claims of the token is no JSON: trailing comma"),
        (header.clone(), String::new(), "the claims of the token is no JSON: EOF"),
        (header.clone(), twice(&good, &format!("\"a\":{}{}", "[".repeat(40), "]".repeat(40))), "is nested too deeply"),
        (header.clone(), twice(&good, &format!("\"a\":[{}0]", "0,".repeat(2000))), "holds too many values"),
        (String::new(), good.clone(), "the header of the token is no JSON: EOF"),
    ] {
        let token = key.sign(&header, &claims);
        assert!(rig.said(&token).contains(said), "{said}: {}", rig.said(&token));
    }
}

#[test]
fn only_the_compact_form_in_its_one_spelling_is_read() {
    let key = TokenKey::p256("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    let good = key.token(&claims(rig.now));
    let [header, claims, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let padded = URL_SAFE.encode(base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap());
    let last = signature.chars().last().unwrap();
    let other_bits = char::from(u8::try_from(last).unwrap() + 1);
    let cases = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        good.clone() + ".",
        good.clone() + "." + signature,
        format!("{header}.{claims}"),
        format!("{header}.{claims}.{padded}"),
        format!("{header}.{claims}.{}{other_bits}", &signature[..signature.len() - 1]),
        format!("{header}=.{claims}.{signature}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("Bearer {good}"),
        good.replacen('.', "..", 1),
        json!({ "payload": claims, "protected": header, "signature": signature }).to_string(),
        format!("{header}.{claims}.{signature}.{signature}.{signature}"),
        format!("{header}.{claims}\u{e9}.{signature}"),
    ];
    for token in cases {
        assert_eq!(rig.verdict(&token), "malformed", "{token}");
    }
    assert_eq!(rig.verdict(&"a".repeat(8193)), "too_large");
    assert_eq!(rig.verdict(&good), "good");
}

#[test]
fn without_a_kid_the_only_key_of_the_algorithm_is_meant() {
    let (one, two, other) = (TokenKey::p256("k1"), TokenKey::p256("k2"), TokenKey::rsa("k3"));
    let (mut rig, server) = Rig::of_key(&one);
    let nameless = |key: &TokenKey| json!({ "alg": key.alg() });
    let token = one.token_of(&nameless(&one), &claims(rig.now));
    assert_eq!(rig.verdict(&token), "good");
    assert_eq!(rig.verdict(&two.token_of(&nameless(&two), &claims(rig.now))), "signature");
    server.answer(Answer::keys(&[&one, &other]));
    rig.pass(super::rig::HOUR);
    assert_eq!(rig.verdict(&one.token_of(&nameless(&one), &claims(rig.now))), "good", "the other is for RS256");
    server.answer(Answer::keys(&[&one, &two]));
    rig.pass(super::rig::HOUR);
    let said = "the token names no key, and \"market\" has 2 for ES256: expected exactly one";
    assert_eq!(rig.said(&one.token_of(&nameless(&one), &claims(rig.now))), said);
}

#[test]
fn what_is_said_to_a_caller_repeats_nothing() {
    let key = TokenKey::p256("k1");
    let (mut rig, _server) = Rig::of_key(&key);
    let secret = "secret-of-the-caller";
    let mut marked = claims(rig.now);
    marked["aud"] = secret.into();
    let tokens = [
        key.token(&marked),
        key.token_of(&header_with(&key, "kid", json!(secret)), &claims(rig.now)),
        key.token_of(&header_with(&key, "alg", json!(secret)), &claims(rig.now)),
        key.token_of(&header_with(&key, "typ", json!(secret)), &claims(rig.now)),
        key.sign(secret, secret),
        secret.repeat(1000),
    ];
    for token in tokens {
        let error = rig.verify(&token).expect_err("refused");
        let description = error.description();
        assert!(!description.contains(secret) && !description.contains("market") && !description.contains(ISS));
        assert!(description.bytes().all(|octet| matches!(octet, 0x20..=0x7e) && octet != b'"' && octet != b'\\'));
        let said = format!("{error} {error:?}");
        let parts: Vec<&str> = token.split('.').filter(|part| part.len() > 20).collect();
        assert!(parts.iter().all(|part| !said.contains(part)), "a message holds a part of the token: {said}");
    }
}
