//! Those on the path to a CRL, CAs that want more than their share, clocks that jump, and operators at the wrong moment.

use std::time::Duration;

use mantlet::config::{OnUnknown, Revocation, RevocationDepth};
use rcgen::{CertificateParams, CrlDistributionPoint, KeyPair, SerialNumber, date_time_ymd};

use super::crl_server::{Answer, CrlServer};
use super::made::{Made, point, tlv};
use super::rig::{DAY, HOUR, MINUTE, Rig, located, source};
use crate::cert::{Ca, Leaf};

const SERIAL: &[u8] = &[0x4f, 2, 3, 4];

fn numbered(ca: &Ca, serial: &[u8]) -> Leaf {
    ca.leaf_with("ads", |params| params.serial_number = Some(SerialNumber::from_slice(serial)))
}

fn at(urls: &[String]) -> impl FnOnce(&mut CertificateParams) + use<> {
    let points = urls.chunks(16).map(|uris| CrlDistributionPoint { uris: uris.to_vec() }).collect();
    move |params: &mut CertificateParams| params.crl_distribution_points = points
}

fn pem(crl: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(crl);
    format!("-----BEGIN X509 CRL-----\n{text}\n-----END X509 CRL-----\n")
}

/// What is said of an answer that holds no CRL of ours.
fn said_of(answer: Vec<u8>) -> String {
    let root = Ca::root("root");
    let server = CrlServer::start(Answer::Body(answer, String::new()));
    Rig::with(&[&root.cert], &[server.url("/")]).error()
}

#[test]
fn what_is_said_of_a_hostile_answer_stays_short() {
    let long = Ca::root(&"x".repeat(60_000));
    let blocks = |text: fn(u32) -> String, count| (0..count).map(text).collect::<String>().into_bytes();
    let labels = |number| format!("-----BEGIN {number}-----\n-----END {number}-----\n");
    let garbage = |_| "-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n".to_owned();
    let label = "y".repeat(60_000);
    let cases = [
        (blocks(labels, 20_000), "holds no CRL: found 1 x 0, 1 x 1"),
        (format!("-----BEGIN {label}-----\n-----END {label}-----\n").into_bytes(), "holds no CRL: found no PEM block"),
        (blocks(garbage, 2000), "holds 2000 CRLs, expected 1024 at most"),
        (blocks(garbage, 1000), "and 997 more like these"),
        (Made::numbered(1).signed_by(&long), "is issued by \"a name of 60021 octets\""),
        (
            Made::numbered(1).with_extension(&vec![0x2a; 60_000], true, &[5, 0]).signed_by(&long),
            "has the critical extension of 60000 octets",
        ),
    ];
    for (answer, message) in cases {
        let said = said_of(answer);
        assert!(said.contains(message), "{}: expected {message}", &said[..said.len().min(2000)]);
        assert!(said.len() < 1000, "{} octets: {message}", said.len());
    }
}

#[test]
fn a_ca_of_many_distribution_points_leaves_room_for_those_of_others() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let gone = CrlServer::start(Answer::Status("404 Not Found", String::new()));
    let good = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let settings = Revocation { distribution_points: true, ..Revocation::of([]) };
    let mut rig = Rig::new(&[&root.cert], settings);
    rig.start();
    let greedy =
        sub.leaf_with("greedy", at(&(0..256).map(|number| gone.url(&format!("/{number}"))).collect::<Vec<_>>()));
    let leaf = root.leaf_with("ads", at(&[good.url("/")]));
    assert_eq!(rig.verdict(&[&greedy.cert, &sub.cert]), "revocation_unknown");
    rig.hear();
    assert_eq!(rig.verdict(&[&leaf.cert]), "revocation_unknown");
    rig.hear();
    assert_eq!((rig.verdict(&[&leaf.cert]), rig.status().sources.len()), ("good", 129));
}

#[test]
fn distribution_points_that_never_answer_do_not_keep_others_from_being_asked() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let silent = CrlServer::start(Answer::Silence);
    let good = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let settings =
        Revocation { distribution_points: true, fetch_timeout: Duration::from_secs(5), ..Revocation::of([]) };
    let mut rig = Rig::new(&[&root.cert], settings);
    rig.start();
    let greedy =
        sub.leaf_with("greedy", at(&(0..8).map(|number| silent.url(&format!("/{number}"))).collect::<Vec<_>>()));
    let leaf = root.leaf_with("ads", at(&[good.url("/")]));
    assert_eq!(rig.verdict(&[&greedy.cert, &sub.cert]), "revocation_unknown");
    rig.hear_one();
    assert_eq!(rig.verdict(&[&leaf.cert]), "revocation_unknown");
    rig.hear_one();
    rig.hear_one();
    assert_eq!(rig.verdict(&[&leaf.cert]), "good", "the first answer is that of the good one");
}

#[test]
fn a_ca_of_many_scopes_leaves_room_for_the_crls_of_others() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let scoped = |number: usize| Made::numbered(1).confined(&point(&format!("http://ca/{number}"))).signed_by(&sub);
    let many = |from: usize| (from..from + 600).map(|number| pem(&scoped(number))).collect::<String>().into_bytes();
    let urls = [many(0), many(600)].map(|body| CrlServer::start(Answer::Body(body, String::new())));
    let late = CrlServer::start(Answer::Status("404 Not Found", String::new()));
    let sources = [urls[0].url("/"), urls[1].url("/"), late.url("/")];
    let mut rig = Rig::with(&[&root.cert, &sub.cert], &sources);
    late.answer(Answer::crl(&Made::numbered(1).signed_by(&root)));
    rig.pass(MINUTE);
    assert_eq!((rig.numbers().len(), rig.verdict(&[&root.leaf("ads").cert])), (513, "good"));
}

#[test]
fn learnt_cas_whose_time_is_over_make_room_for_their_successors() {
    let root = Ca::root("root");
    let server = CrlServer::start(Answer::Status("404 Not Found", String::new()));
    let settings = Revocation { depth: RevocationDepth::EndEntity, ..Revocation::of([source(&server.url("/"))]) };
    let mut rig = Rig::new(&[&root.cert], settings);
    rig.start();
    for number in 0..256 {
        let sub = root.sub_with(&format!("sub {number}"), |params| params.not_after = date_time_ymd(2030, 1, 2));
        assert_eq!(rig.verdict(&[&sub.leaf("ads").cert, &sub.cert]), "revocation_unknown");
        rig.hear_one();
    }
    rig.pass(2 * DAY);
    let sub = root.sub("successor");
    let leaf = sub.leaf("ads");
    server.answer(Answer::crl(&Made::numbered(1).times(86_400, 3 * 86_400).signed_by(&sub)));
    rig.pass(HOUR);
    assert_eq!(rig.verdict(&[&leaf.cert, &sub.cert]), "revocation_unknown");
    rig.hear();
    rig.pass(HOUR);
    assert_eq!(rig.verdict(&[&leaf.cert, &sub.cert]), "good");
}

#[test]
fn a_ca_whose_certificate_was_renewed_under_the_same_key_signs_on() {
    let ended = Ca::root_with("root", |params| params.not_after = date_time_ymd(2029, 12, 1));
    let key = KeyPair::try_from(ended.key.serialize_der()).expect("key");
    let renewed = Ca::self_signed("root", key, |_| {});
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&renewed));
    let rig = Rig::with(&[&ended.cert, &renewed.cert], &[server.url("/")]);
    assert_eq!((rig.numbers(), rig.verdict(&[&renewed.leaf("ads").cert])), (vec!["01".to_owned()], "good"));
}

#[test]
fn a_clock_that_is_set_back_does_not_put_off_the_next_fetch() {
    let root = Ca::root("root");
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let mut rig = Rig::with(&[&root.cert], &[server.url("/")]);
    rig.pass(30 * DAY);
    server.answer(Answer::crl(&Made::numbered(2).revoking(SERIAL, None).signed_by(&root)));
    rig.now -= 30 * DAY;
    rig.settle();
    assert_eq!(rig.verdict(&[&numbered(&root, SERIAL).cert]), "revoked");
}

#[test]
fn a_shorter_max_age_counts_from_the_reload_on() {
    let root = Ca::root("root");
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let mut rig = Rig::with(&[&root.cert], &[server.url("/")]);
    server.answer(Answer::crl(&Made::numbered(2).revoking(SERIAL, None).signed_by(&root)));
    rig.settings.max_age = MINUTE;
    rig.prepare().expect("usable");
    rig.pass(MINUTE);
    assert_eq!(rig.verdict(&[&numbered(&root, SERIAL).cert]), "revoked");
}

#[test]
fn a_handshake_that_spans_the_end_of_a_crl_is_judged_again() {
    let root = Ca::root("root");
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let mut rig = Rig::with(&[&root.cert], &[server.url("/")]);
    server.answer(Answer::Status("503 Service Unavailable", String::new()));
    rig.pass(23 * HOUR);
    let before = rig.versions();
    rig.pass(HOUR + Duration::from_secs(1));
    assert_eq!(rig.states(), ["expired"]);
    assert_ne!(rig.versions(), before);
}

#[test]
fn a_link_in_the_folder_of_the_cache_is_not_written_through() {
    let root = Ca::root("root");
    let mut rig = Rig::new(&[&root.cert], Revocation::of([source("http://127.0.0.1:9/ca.crl")]));
    let (cache, key) = (rig.path().join("cache"), rig.path().join("key.pem"));
    std::fs::create_dir(&cache).unwrap();
    std::fs::write(&key, "a private key").unwrap();
    std::os::unix::fs::symlink(&key, cache.join(".probe")).unwrap();
    rig.settings.cache_dir = Some(located(cache));
    rig.prepare().expect("usable");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "a private key");
}

#[test]
fn a_clock_that_starts_too_early_does_not_lose_what_the_cache_knows() {
    let root = Ca::root("root");
    let server = CrlServer::of_crl(&Made::numbered(5).revoking(SERIAL, None).signed_by(&root));
    let mut rig = Rig::new(&[&root.cert], Revocation::of([source(&server.url("/"))]));
    let cache = rig.path().join("cache");
    rig.settings.cache_dir = Some(located(cache.clone()));
    rig.start();
    let is_kept =
        |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path().extension().is_some_and(|is| is == "crl");
    while !std::fs::read_dir(&cache).unwrap().any(is_kept) {
        rig.idle();
    }
    // Someone who sets the clock back also replays what was good then.
    server.answer(Answer::crl(&Made::numbered(4).times(-3 * 86_400, 86_400).signed_by(&root)));
    rig.now -= 2 * DAY;
    let mut rig = rig.restarted(&[&root.cert]);
    rig.start();
    let leaf = numbered(&root, SERIAL);
    assert_eq!((rig.numbers(), rig.verdict(&[&leaf.cert])), (vec!["05".to_owned()], "revoked"));
}

#[test]
fn a_delta_crl_that_comes_with_the_complete_one_of_its_number_is_no_rollback() {
    let root = Ca::root("root");
    let complete = CrlServer::of_crl(&Made::numbered(6).signed_by(&root));
    let delta = CrlServer::of_crl(&Made::numbered(6).since(5).signed_by(&root));
    let mut rig = Rig::with(&[&root.cert], &[complete.url("/"), delta.url("/")]);
    rig.pass(HOUR);
    let source = rig.source(1);
    assert_eq!((source.last_error, source.rollbacks), (None, 0), "RFC 5280 section 5.2.3 has them share it");
}

#[test]
fn a_source_that_gives_nonsense_is_still_that_of_the_crl_in_use() {
    let root = Ca::root("root");
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let mut rig = Rig::with(&[&root.cert], &[server.url("/")]);
    server.answer(Answer::Body(tlv(0x30, b"nonsense"), String::new()));
    rig.pass(HOUR);
    assert_eq!(rig.states(), ["due"]);
}

#[test]
fn an_answer_to_a_condition_that_a_reload_made_void_does_not_count() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let server = CrlServer::start(Answer::Body(Made::numbered(1).signed_by(&root), "etag: \"one\"\r\n".to_owned()));
    let mut rig = Rig::with(&[&root.cert], &[server.url("/")]);
    rig.now += HOUR;
    rig.ask();
    for anchor in [&other, &root] {
        rig.trust(&[&anchor.cert]);
        rig.prepare().expect("usable");
    }
    rig.settle();
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.numbers(), ["01"]);
}

#[test]
fn the_crl_of_a_ca_that_the_configuration_names_no_more_still_counts_where_peers_present_it() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let sub_server = CrlServer::of_crl(&Made::numbered(1).revoking(SERIAL, None).signed_by(&sub));
    let mut rig = Rig::with(&[&root.cert, &sub.cert], &[server.url("/"), sub_server.url("/")]);
    let (revoked, good) = (numbered(&sub, SERIAL), sub.leaf("ads"));
    let verdicts = |rig: &Rig| [&revoked, &good].map(|leaf| rig.verdict(&[&leaf.cert, &sub.cert]));
    assert_eq!(verdicts(&rig), ["revoked", "good"]);
    for _ in 0..2 {
        rig.settings.on_missing = OnUnknown::Allow;
        rig.trust(&[&root.cert]);
        rig.prepare().expect("usable");
        assert_eq!(verdicts(&rig), ["revoked", "good"]);
    }
    rig.settings.on_missing = OnUnknown::Deny;
    rig.trust(&[&root.cert]);
    rig.prepare().expect("usable");
    assert_eq!(verdicts(&rig), ["revoked", "good"]);
    let other = Ca::root("other");
    rig.trust(&[&other.cert]);
    rig.prepare().expect("usable");
    assert_eq!(rig.numbers(), Vec::<String>::new(), "they lead to no anchor");
}

#[test]
fn a_distribution_point_is_asked_once_a_minute_at_most() {
    let root = Ca::root("root");
    let server =
        CrlServer::start(Answer::Body(Made::numbered(1).signed_by(&root), "cache-control: no-store\r\n".to_owned()));
    let mut rig = Rig::new(&[&root.cert], Revocation { distribution_points: true, ..Revocation::of([]) });
    rig.start();
    assert_eq!(rig.verdict(&[&root.leaf_with("ads", at(&[server.url("/")])).cert]), "revocation_unknown");
    rig.hear();
    for _ in 0..59 {
        rig.pass(Duration::from_secs(1));
    }
    assert_eq!(server.requests().len(), 1);
    rig.pass(Duration::from_secs(1));
    assert_eq!(server.requests().len(), 2);
}
