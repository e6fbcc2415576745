//! Where the keys come from, how long they serve, and what a silent issuer means.

use std::time::{Duration, Instant};

use mantlet::config::TokenAlgorithm;
use serde_json::json;

use super::rig::{HOUR, MINUTE, Rig, market};
use crate::support::key_server::{Answer, KeyServer};
use crate::support::pki::Pki;
use crate::support::tokens::{TokenKey, claims};

/// A rig whose one issuer answers so, and its server.
fn answering(answer: Answer) -> (Rig, KeyServer) {
    let pki = Pki::new();
    let server = KeyServer::start(&pki, answer);
    (Rig::started(&pki, vec![market(TokenAlgorithm::Es256, &server)]), server)
}

#[test]
fn an_issuer_that_is_down_at_the_start_leaves_its_tokens_undecided_and_recovers_by_itself() {
    let key = TokenKey::p256("k1");
    let (mut rig, server) = answering(Answer::Status("500 Internal Server Error", String::new()));
    let token = key.token(&claims(rig.now));
    let error = rig.verify(&token).expect_err("unknown");
    assert_eq!(error.to_string(), "there are no keys of \"market\": answers 500 Internal Server Error, expected 200");
    assert_eq!((error.label(), rig.state()), ("unavailable", "missing"));
    assert_eq!(error.description(), "whether the token is good cannot be told for now");
    server.answer(Answer::keys(&[&key]));
    assert_eq!(rig.verdict(&token), "unavailable", "no request asks for keys");
    rig.pass(Duration::from_secs(2));
    assert_eq!((rig.verdict(&token), rig.state()), ("good", "fresh"));
}

#[test]
fn before_the_issuer_has_answered_a_token_is_undecided_at_once() {
    let pki = Pki::new();
    let server = KeyServer::start(&pki, Answer::Silence);
    let mut rig = Rig::new(&pki, vec![market(TokenAlgorithm::Es256, &server)]);
    rig.ask();
    let begun = Instant::now();
    let said = rig.said(&TokenKey::p256("k1").token(&claims(rig.now)));
    assert_eq!(said, "there are no keys of \"market\": the issuer has not answered yet");
    assert!(begun.elapsed() < Duration::from_secs(2), "it waits for nothing");
}

#[test]
fn an_issuer_that_is_down_is_asked_ever_more_seldom_and_at_least_twice_a_minute() {
    let (mut rig, server) = answering(Answer::Status("503 Service Unavailable", String::new()));
    for _ in 0..600 {
        rig.pass(Duration::from_secs(1));
    }
    let asked = server.requests().len();
    assert!((20..40).contains(&asked), "asked {asked} times in ten minutes");
}

#[test]
fn keys_serve_on_while_the_issuer_is_silent_and_not_for_ever() {
    let key = TokenKey::p256("k1");
    let (mut rig, server) = Rig::of_key(&key);
    let mut long = claims(rig.now);
    long["exp"] = 4_000_000_000_u64.into();
    let token = key.token(&long);
    server.answer(Answer::Status("404 Not Found", String::new()));
    rig.pass(Duration::from_secs(3600 - 1));
    assert_eq!((rig.verdict(&token), rig.state()), ("good", "fresh"));
    assert_eq!(rig.error(), "answers 404 Not Found, expected 200");
    rig.pass(Duration::from_secs(1));
    assert_eq!((rig.verdict(&token), rig.state()), ("good", "stale"));
    rig.pass(Duration::from_secs(86_400 - 1));
    assert_eq!((rig.verdict(&token), rig.state()), ("good", "stale"));
    rig.pass(Duration::from_secs(1));
    assert_eq!((rig.verdict(&token), rig.state()), ("unavailable", "expired"));
    assert!(rig.said(&token).ends_with(": answers 404 Not Found, expected 200"));
    server.answer(Answer::keys(&[&key]));
    rig.pass(MINUTE);
    assert_eq!((rig.verdict(&token), rig.state()), ("good", "fresh"));
}

#[test]
fn keys_are_fetched_again_before_they_are_stale_as_the_answer_says_and_the_settings_bound() {
    let key = TokenKey::p256("k1");
    for (lines, first, last) in [
        ("", 48 * 60, 57 * 60),
        ("cache-control: public, max-age=600\r\n", 480, 570),
        ("cache-control: max-age=86400\r\n", 48 * 60, 57 * 60),
        ("cache-control: no-store\r\n", 24, 29),
        ("expires: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 24, 29),
    ] {
        let (mut rig, server) = answering(Answer::keys(&[&key]).saying(lines));
        rig.pass(Duration::from_secs(first - 1));
        assert_eq!(server.requests().len(), 1, "{lines:?}: too early");
        rig.pass(Duration::from_secs(last - first + 2));
        assert_eq!(server.requests().len(), 2, "{lines:?}: too late");
        assert_eq!(rig.state(), "fresh");
    }
}

#[test]
fn an_answer_that_is_not_modified_confirms_the_keys_and_keeps_what_they_verified() {
    let key = TokenKey::p256("k1");
    let (mut rig, server) = answering(Answer::keys(&[&key]).saying("etag: \"v1\"\r\n"));
    let mut long = claims(rig.now);
    long["exp"] = 4_000_000_000_u64.into();
    assert_eq!(rig.verdict(&key.token(&long)), "good");
    rig.pass(HOUR);
    assert!(server.requests()[1].contains("if-none-match: \"v1\""));
    assert_eq!((rig.verdict(&key.token(&long)), rig.state()), ("good", "fresh"));
    let status = rig.status();
    assert_eq!((status.successes, status.failures), (2, 0));
    assert_eq!(status.fetched_at, Some(rig.now));
}

#[test]
fn a_new_key_is_asked_for_by_the_first_token_that_needs_it() {
    let (old, new) = (TokenKey::p256("k1"), TokenKey::p256("k2"));
    let (mut rig, server) = Rig::of_key(&old);
    server.answer(Answer::keys(&[&old, &new]));
    rig.now += Duration::from_secs(10);
    assert_eq!(rig.verdict(&new.token(&claims(rig.now))), "good");
    assert_eq!(rig.verdict(&old.token(&claims(rig.now))), "good");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_withdrawn_key_verifies_nothing_from_the_next_fetch_on_seen_before_or_not() {
    let (old, new) = (TokenKey::p256("k1"), TokenKey::p256("k2"));
    let (mut rig, server) = Rig::of_key(&old);
    let mut long = claims(rig.now);
    long["exp"] = 4_000_000_000_u64.into();
    let (seen, unseen) = (old.token(&long), old.token(&long));
    assert_eq!(rig.verdict(&seen), "good");
    server.answer(Answer::keys(&[&new]));
    rig.pass(HOUR);
    assert_eq!((rig.verdict(&seen), rig.verdict(&unseen)), ("unknown_key", "unknown_key"));
}

#[test]
fn a_key_replaced_under_the_same_kid_verifies_nothing_any_more() {
    let (old, new) = (TokenKey::p256("k1"), TokenKey::p256("k1"));
    let (mut rig, server) = Rig::of_key(&old);
    let mut long = claims(rig.now);
    long["exp"] = 4_000_000_000_u64.into();
    let token = old.token(&long);
    assert_eq!(rig.verdict(&token), "good");
    server.answer(Answer::keys(&[&new]));
    rig.pass(HOUR);
    assert_eq!((rig.verdict(&token), rig.verdict(&new.token(&long))), ("signature", "good"));
}

#[test]
fn an_issuer_that_has_withdrawn_all_its_keys_has_none() {
    let key = TokenKey::p256("k1");
    let (mut rig, server) = Rig::of_key(&key);
    let mut long = claims(rig.now);
    long["exp"] = 4_000_000_000_u64.into();
    let token = key.token(&long);
    assert_eq!(rig.verdict(&token), "good");
    server.answer(Answer::text("{\"keys\":[]}"));
    rig.pass(HOUR);
    assert_eq!(rig.said(&token), "there are no keys of \"market\": gives no key that can be used");
}

#[test]
fn a_flood_of_unknown_keys_leads_to_one_fetch_an_interval() {
    let key = TokenKey::p256("k1");
    let (mut rig, server) = Rig::of_key(&key);
    for second in 0..31 {
        for number in 0..20 {
            let mut header = key.header();
            header["kid"] = format!("unknown-{second}-{number}").into();
            assert_eq!(rig.verdict(&key.token_of(&header, &claims(rig.now))), "unknown_key");
        }
        rig.now += Duration::from_secs(1);
    }
    assert_eq!(server.requests().len(), 4, "one at the start, and one for each ten seconds");
    assert_eq!(rig.verdict(&key.token(&claims(rig.now))), "good");
}

#[test]
fn those_who_need_one_new_key_share_one_fetch() {
    let (old, new) = (TokenKey::p256("k1"), TokenKey::p256("k2"));
    let (mut rig, server) = Rig::of_key(&old);
    server.answer(Answer::keys(&[&old, &new]));
    rig.now += MINUTE;
    let tokens: Vec<String> = (0..50).map(|_| new.token(&claims(rig.now))).collect();
    let verdicts = rig.verify_all(&tokens);
    assert!(verdicts.iter().all(Result::is_ok), "{verdicts:?}");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn an_unknown_key_of_an_issuer_that_fails_is_undecided_and_asks_for_nothing_more() {
    let (key, new) = (TokenKey::p256("k1"), TokenKey::p256("k2"));
    let (mut rig, server) = Rig::of_key(&key);
    server.answer(Answer::Status("500 Internal Server Error", String::new()));
    rig.now += MINUTE;
    let said = "the key \"k2\" of \"market\" is not known, and the issuer cannot be asked: answers 500 Internal Server Error, expected 200";
    for _ in 0..50 {
        assert_eq!(rig.said(&new.token(&claims(rig.now))), said);
    }
    assert_eq!(server.requests().len(), 2);
    assert_eq!(rig.verdict(&key.token(&claims(rig.now))), "good", "those that are known verify on");
}

#[test]
fn answers_that_hold_no_keys_are_named_and_leave_what_is_in_use() {
    let key = TokenKey::p256("k1");
    let (mut rig, server) = Rig::of_key(&key);
    rig.settings[0].max_size = 10_000;
    rig.settings[0].fetch_timeout = Duration::from_secs(1);
    rig.prepare().expect("usable");
    let many = json!({ "keys": (0..65).map(|_| key.jwk()).collect::<Vec<_>>() }).to_string();
    let small = |count: usize| json!({ "keys": vec![json!({}); count] }).to_string();
    assert!(many.len() > 10_000 && small(65).len() < 10_000);
    let mut cases = vec![
        (Answer::text(""), "gives no keys: the answer is no JSON: EOF while parsing a value"),
        (Answer::text("<html>"), "gives no keys: the answer is no JSON: expected value"),
        (Answer::text("[]"), "gives no keys: the answer is JSON, but no object"),
        (Answer::text("{}"), "gives no keys: the answer is no JWK set: expected an object with a list \"keys\""),
        (Answer::text("{\"keys\":{}}"), "is no JWK set"),
        (Answer::text("{\"keys\":[],\"keys\":[]}"), "gives no keys: the answer holds a member twice"),
        (Answer::text(small(65)), "gives no keys: the answer holds 65 keys: expected 64 at most"),
        (Answer::text(many), "is larger than 10000 bytes (issuer.max_size)"),
        (Answer::text(format!("{{\"keys\":{}{}}}", "[".repeat(4000), "]".repeat(4000))), "is nested too deeply"),
        (Answer::Endless, "is larger than 10000 bytes (issuer.max_size)"),
        (Answer::Silence, "did not answer in full within 1s"),
        (Answer::Half, "did not answer in full within 1s"),
        (Answer::Raw(b"garbage\r\n\r\n".to_vec()), "gives no whole answer"),
        (Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}".to_vec()), "gives no whole answer"),
        (
            Answer::Status("304 Not Modified", String::new()),
            "answers \"304 Not Modified\" to a request without a condition",
        ),
        (Answer::Status("204 No Content", String::new()), "answers 204 No Content, expected 200"),
    ];
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let redirect = format!("location: http://{}/\r\n", plain.local_addr().unwrap());
    cases.push((Answer::Status("302 Found", redirect), "redirects: to http, which is less than it was asked over"));
    for (answer, expected) in cases {
        server.answer(answer);
        rig.pass(HOUR);
        let said = rig.error();
        assert!(said.contains(expected), "expected {expected}: {said}");
        assert!(said.len() < 400, "{} octets: {expected}", said.len());
        server.answer(Answer::keys(&[&key]));
        rig.pass(HOUR);
        assert_eq!(rig.verdict(&key.token(&claims(rig.now))), "good");
    }
    plain.set_nonblocking(true).unwrap();
    assert!(plain.accept().is_err(), "nobody connects to where less than HTTPS is spoken");
}
