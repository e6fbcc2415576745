//! Files, folders and addresses: what they give, when they are asked again, and what happens when they fail.

use std::time::Duration;

use mantlet::config::{OnUnknown, Revocation};
use rcgen::SerialNumber;

use super::crl_server::{Answer, CrlServer};
use super::made::Made;
use super::rig::{DAY, HOUR, MINUTE, Rig, source};
use crate::cert::{Ca, Leaf};

const SERIAL: &[u8] = &[0x4f, 2, 3, 4];

fn numbered(ca: &Ca, serial: &[u8]) -> Leaf {
    ca.leaf_with("ads", |params| params.serial_number = Some(SerialNumber::from_slice(serial)))
}

/// An authority, its server, one certificate that will be revoked, and an engine that asks the server.
struct Scene {
    root: Ca,
    server: CrlServer,
    leaf: Leaf,
    rig: Rig,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Revocation)) -> Self {
        let root = Ca::root("root");
        let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
        let mut settings = Revocation::of([source(&server.url("/ca.crl"))]);
        change(&mut settings);
        let mut rig = Rig::new(&[&root.cert], settings);
        rig.start();
        let leaf = numbered(&root, SERIAL);
        Self { root, server, leaf, rig }
    }

    fn revoke(&self, number: u8) {
        let crl = Made::numbered(number).revoking(SERIAL, Some(1)).signed_by(&self.root);
        self.server.answer(Answer::crl(&crl));
    }

    fn verdict(&self) -> &'static str {
        self.rig.verdict(&[&self.leaf.cert])
    }
}

#[test]
fn a_revocation_arrives_when_max_age_is_over() {
    let mut scene = Scene::new();
    assert_eq!(scene.verdict(), "good");
    scene.revoke(2);
    scene.rig.pass(47 * MINUTE);
    assert_eq!(
        (scene.verdict(), scene.server.requests().len()),
        ("good", 1),
        "nothing is asked before four fifths of an hour"
    );
    scene.rig.pass(13 * MINUTE);
    assert_eq!((scene.verdict(), scene.server.requests().len()), ("revoked", 2));
}

#[test]
fn http_freshness_and_next_update_make_it_arrive_sooner() {
    let mut scene = Scene::new();
    let crl = Made::numbered(2).signed_by(&scene.root);
    scene.server.answer(Answer::Body(crl, "cache-control: max-age=60\r\n".to_owned()));
    scene.rig.pass(HOUR);
    scene.revoke(3);
    scene.rig.pass(MINUTE);
    assert_eq!(scene.verdict(), "revoked");
    let soon = Made::numbered(4).times(-3600, 2 * 3600 + 300).signed_by(&scene.root);
    scene.server.answer(Answer::crl(&soon));
    scene.rig.pass(HOUR);
    assert_eq!(scene.rig.numbers(), ["04"]);
    let next = scene.rig.source(0).next_attempt.expect("a time");
    assert!(next <= scene.rig.crl().serves_until, "the successor is looked for before the next update");
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let mut scene = Scene::new();
    let crl = Made::numbered(2).signed_by(&scene.root);
    scene.server.answer(Answer::Body(crl, "etag: \"two\"\r\ncache-control: max-age=600\r\n".to_owned()));
    scene.rig.pass(HOUR);
    let versions = scene.rig.versions();
    scene.rig.pass(10 * MINUTE);
    let requests = scene.server.requests();
    assert!(requests[2].contains("if-none-match: \"two\"\r\n"), "{requests:?}");
    assert_eq!(scene.rig.versions(), versions, "nothing in use has changed");
    let source = scene.rig.source(0);
    assert_eq!((source.successes, source.failures, source.last_success), (3, 0, Some(scene.rig.now)));
    scene.revoke(3);
    scene.rig.pass(10 * MINUTE);
    assert_eq!(scene.verdict(), "revoked");
}

#[test]
fn a_silent_ca_lets_its_crl_age_through_every_state() {
    let mut scene = Scene::new();
    scene.server.answer(Answer::Status("500 Internal Server Error", String::new()));
    assert_eq!((scene.rig.states(), scene.verdict()), (vec!["fresh"], "good"));
    scene.rig.pass(HOUR);
    assert_eq!((scene.rig.states(), scene.verdict()), (vec!["due"], "good"));
    scene.rig.pass(22 * HOUR + Duration::from_secs(1));
    assert_eq!((scene.rig.states(), scene.verdict()), (vec!["stale"], "good"), "it serves through its grace");
    scene.rig.now += HOUR;
    assert!(scene.rig.settle(), "that one expired is told, so that live connections are judged again");
    assert_eq!((scene.rig.states(), scene.verdict()), (vec!["expired"], "revocation_stale"));
    assert!(!scene.rig.settle(), "and told once");
    let back = Made::numbered(2).times(86_400, 2 * 86_400).signed_by(&scene.root);
    scene.server.answer(Answer::crl(&back));
    scene.rig.pass(5 * MINUTE);
    assert_eq!((scene.rig.states(), scene.verdict()), (vec!["fresh"], "good"));
    assert_eq!(scene.rig.source(0).last_error, None);
}

#[test]
fn on_stale_allow_lets_in_whom_an_expired_crl_does_not_list() {
    let mut scene = Scene::with(|settings| settings.on_stale = OnUnknown::Allow);
    scene.server.answer(Answer::Status("503 Service Unavailable", String::new()));
    scene.rig.pass(2 * DAY);
    assert_eq!((scene.rig.states(), scene.verdict()), (vec!["expired"], "good"));
}

#[test]
fn a_ca_that_never_answered_denies_unless_allowed() {
    for (on_missing, verdict) in [(OnUnknown::Deny, "revocation_unknown"), (OnUnknown::Allow, "good")] {
        let root = Ca::root("root");
        let server = CrlServer::start(Answer::Status("404 Not Found", String::new()));
        let settings = Revocation { on_missing, ..Revocation::of([source(&server.url("/ca.crl"))]) };
        let mut rig = Rig::new(&[&root.cert], settings);
        rig.start();
        assert_eq!(rig.verdict(&[&numbered(&root, SERIAL).cert]), verdict);
        server.answer(Answer::crl(&Made::numbered(1).revoking(SERIAL, None).signed_by(&root)));
        rig.pass(Duration::from_secs(2));
        assert_eq!(rig.verdict(&[&numbered(&root, SERIAL).cert]), "revoked", "it is asked again after two seconds");
    }
}

#[test]
fn every_wrong_answer_is_named_and_leaves_the_crl_in_use() {
    let mut scene = Scene::with(|settings| {
        settings.fetch_timeout = Duration::from_secs(1);
        settings.max_size = 100_000;
    });
    let stranger = Ca::root("stranger");
    let namesake = Ca::root("root");
    let good = Made::numbered(9).signed_by(&scene.root);
    let raw = |text: &str| Answer::Raw(text.as_bytes().to_vec());
    let elsewhere = scene.server.url("/elsewhere");
    let cases = [
        (Answer::Status("404 Not Found", String::new()), "answers 404 Not Found, expected 200"),
        (Answer::Status("500 Internal Server Error", String::new()), "answers 500 Internal Server Error, expected 200"),
        (Answer::Status("204 No Content", String::new()), "answers 204 No Content, expected 200"),
        (
            Answer::Status("304 Not Modified", String::new()),
            "answers \"304 Not Modified\" to a request without a condition",
        ),
        (Answer::Status("302 Found", format!("location: {elsewhere}\r\n")), "redirects: more than 3 times"),
        (
            Answer::Status("302 Found", "location: ftp://ca/ca.crl\r\n".to_owned()),
            "redirects: to ftp, which is less than it was asked over",
        ),
        (Answer::Silence, "did not answer in full within 1s"),
        (Answer::Drip, "did not answer in full within 1s"),
        (Answer::Endless, "is larger than 100000 bytes (revocation.max_size)"),
        (
            raw("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"),
            "is larger than 100000 bytes (revocation.max_size)",
        ),
        (raw("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n0"), "gives no whole answer: "),
        (raw("220 smtp.example ESMTP\r\n"), "gives no whole answer: "),
        (raw(""), "gives no whole answer: "),
        (Answer::Body(b"<html>sorry</html>".to_vec(), String::new()), "holds no CRL: found no PEM block"),
        (Answer::crl(&good[..good.len() - 1]), "holds no CRL: found no PEM block"),
        (Answer::crl(&Made::numbered(9).signed_by(&stranger)), "no certificate of that subject is among the anchors"),
        (
            Answer::crl(&Made::numbered(9).signed_by(&namesake)),
            "is signed by another key than that of \"CN=root\" known here",
        ),
        (
            Answer::crl(&Made::numbered(9).times(30 * 86_400, 31 * 86_400).signed_by(&scene.root)),
            "is issued 2030-01-31T00:00:00Z, which lies ahead",
        ),
    ];
    for (answer, message) in cases {
        scene.server.answer(answer);
        let failures = scene.rig.source(0).failures;
        // Well before its next update, and long enough after the last failure.
        scene.rig.pass(HOUR);
        assert!(scene.rig.error().contains(message), "{}: expected {message}", scene.rig.error());
        assert_eq!(scene.rig.source(0).failures, failures + 1, "{message}");
        assert_eq!((scene.rig.numbers(), scene.verdict()), (vec!["01".to_owned()], "good"), "{message}");
        scene.rig.now -= 50 * MINUTE;
        scene.server.answer(Answer::crl(&Made::numbered(1).signed_by(&scene.root)));
    }
}

#[test]
fn a_server_that_is_gone_is_named() {
    let root = Ca::root("root");
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/ca.crl", listener.local_addr().unwrap())
    };
    let rig = Rig::with(&[&root.cert], &[gone, "http://ca.invalid/ca.crl".to_owned()]);
    assert!(rig.error().starts_with("cannot be connected to: "), "{}", rig.error());
    let unknown = rig.source(1).last_error.expect("an error");
    assert!(unknown.starts_with("cannot be connected to: "), "{unknown}");
}

#[test]
fn a_redirect_is_followed() {
    let root = Ca::root("root");
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let front = CrlServer::start(Answer::Status("301 Moved Permanently", format!("location: {}\r\n", server.url("/"))));
    let rig = Rig::with(&[&root.cert], &[front.url("/ca.crl")]);
    assert_eq!(rig.numbers(), ["01"]);
}

#[test]
fn failures_are_tried_again_ever_more_slowly() {
    let mut scene = Scene::new();
    scene.server.answer(Answer::Status("500 Internal Server Error", String::new()));
    scene.rig.pass(HOUR);
    let before = scene.server.requests().len();
    for _ in 0..600 {
        scene.rig.pass(Duration::from_secs(1));
    }
    let tried = scene.server.requests().len() - before;
    assert!((8..=11).contains(&tried), "{tried} attempts in ten minutes: after 2, 4, 8, 16 ... seconds");
}

#[test]
fn an_older_crl_is_refused_and_counted_once() {
    let mut scene = Scene::new();
    scene.revoke(5);
    scene.rig.pass(HOUR);
    assert_eq!((scene.rig.numbers(), scene.verdict()), (vec!["05".to_owned()], "revoked"));
    let older = Made::numbered(4).signed_by(&scene.root);
    scene.server.answer(Answer::crl(&older));
    scene.rig.pass(HOUR);
    scene.rig.pass(HOUR);
    assert_eq!((scene.rig.numbers(), scene.verdict()), (vec!["05".to_owned()], "revoked"));
    assert_eq!(scene.rig.source(0).rollbacks, 1);
    let said = scene.rig.error();
    assert!(said.contains("a newer CRL of \"CN=root\" is loaded, so this one is not used: its number is 04"), "{said}");
    let of_older_date = Made::numbered(6).times(-7200, 7200).signed_by(&scene.root);
    scene.server.answer(Answer::crl(&of_older_date));
    scene.rig.pass(HOUR);
    let of_one_number = Made::numbered(5).signed_by(&scene.root);
    scene.server.answer(Answer::crl(&of_one_number));
    scene.rig.pass(HOUR);
    assert_eq!((scene.rig.source(0).rollbacks, scene.verdict()), (3, "revoked"));
}

#[test]
fn two_sources_of_one_ca_serve_the_newer_crl() {
    let root = Ca::root("root");
    let leaf = numbered(&root, SERIAL);
    let old = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let new = CrlServer::of_crl(&Made::numbered(2).revoking(SERIAL, None).signed_by(&root));
    for urls in [[old.url("/"), new.url("/")], [new.url("/"), old.url("/")]] {
        let mut rig = Rig::with(&[&root.cert], &urls);
        rig.pass(HOUR);
        assert_eq!((rig.numbers(), rig.verdict(&[&leaf.cert])), (vec!["02".to_owned()], "revoked"));
    }
}

#[test]
fn several_cas_in_one_answer_are_each_taken_and_a_stranger_among_them_is_named() {
    let (one, other, stranger) = (Ca::root("one"), Ca::root("other"), Ca::root("stranger"));
    let pem = |crl: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(crl);
        format!("-----BEGIN X509 CRL-----\n{text}\n-----END X509 CRL-----\n")
    };
    let all: String = [&one, &stranger, &other].map(|ca| pem(&Made::numbered(1).signed_by(ca))).concat();
    let server = CrlServer::start(Answer::Body(all.into_bytes(), String::new()));
    let rig = Rig::with(&[&one.cert, &other.cert], &[server.url("/")]);
    assert_eq!(rig.numbers(), ["01", "01"]);
    assert!(rig.error().contains("is issued by \"CN=stranger\""), "{}", rig.error());
}

#[test]
fn a_folder_gives_what_is_put_into_it_and_may_hold_crls_of_others() {
    let (root, stranger) = (Ca::root("root"), Ca::root("stranger"));
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, crl: &[u8]| std::fs::write(folder.path().join(name), crl).unwrap();
    write("stranger.crl", &Made::numbered(1).signed_by(&stranger));
    write("notes.txt", b"not a CRL");
    write(".hidden.crl", b"not a CRL");
    let mut rig = Rig::with(&[&root.cert], &[folder.path().display().to_string()]);
    assert_eq!((rig.numbers(), rig.source(0).kind), (Vec::new(), "directory"));
    write("root.crl", &Made::numbered(1).revoking(SERIAL, None).signed_by(&root));
    rig.prepare().expect("usable");
    assert_eq!(rig.verdict(&[&numbered(&root, SERIAL).cert]), "revoked");
    write("spoiled.pem", b"garbage");
    rig.prepare().expect("what gave CRLs before may fail");
    assert!(rig.error().contains("holds no CRL"), "{}", rig.error());
    assert_eq!(rig.verdict(&[&numbered(&root, SERIAL).cert]), "revoked");
}

#[test]
fn a_file_of_a_ca_whose_trust_ends_is_dropped_with_it_and_comes_back_with_it() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let server = CrlServer::start(Answer::Body(Made::numbered(1).signed_by(&root), "etag: \"one\"\r\n".to_owned()));
    let mut rig = Rig::with(&[&root.cert], &[server.url("/")]);
    assert_eq!(rig.numbers(), ["01"]);
    rig.trust(&[&other.cert]);
    rig.prepare().expect("usable");
    assert_eq!(rig.numbers(), Vec::<String>::new());
    rig.trust(&[&root.cert]);
    rig.prepare().expect("usable");
    rig.pass(HOUR);
    assert_eq!(rig.numbers(), ["01"], "it is asked for without a condition, for it is here no more");
}
