//! `mantlet crl fetch`.

use std::path::Path;

use serde_json::Value;

use super::ca::{Ca, Crl, KEY_COMPROMISE, SERIAL};
use super::{Answer, mantlet, serving};

/// A configuration with this table of revocation.
fn configured(ca: &Ca, revocation: &str) -> String {
    let text = format!(
        "[identity]\ncertificate = \"own.pem\"\nprivate_key = \"own.key\"\n[trust]\nanchors = [\"ca.pem\"]\n{revocation}\n\
         [[inbound]]\nname = \"ads\"\nlisten = \"127.0.0.1:0\"\nforward_to = \"127.0.0.1:1\"\nprotocol = \"tcp\"\nallow = []\n"
    );
    ca.write("mantlet.toml", text)
}

fn sources(ca: &Ca, sources: &[&str], more: &str) -> String {
    configured(
        ca,
        &format!("[revocation]\ncache_dir = \"cache\"\nfetch_timeout = \"2s\"\nsources = {sources:?}\n{more}"),
    )
}

fn fetch_json(file: &str) -> (Option<i32>, Value) {
    let answer: Answer = mantlet(&["fetch", file, "--json"]);
    (answer.code, answer.json())
}

#[test]
fn good_sources_are_shown_with_the_file_that_each_crl_would_be_kept_in() {
    let ca = Ca::new("root");
    ca.issue(&[]);
    let server =
        serving(vec![("/ca.crl", ca.crl(&Crl { number: 8, entries: &[(&[1], KEY_COMPROMISE)], ..Crl::default() }))]);
    let url = format!("http://{}/ca.crl", server.address);
    ca.write("ca.crl", ca.crl(&Crl::default()));
    let file = sources(&ca, &[&url], "");
    let answer = mantlet(&["fetch", &file]);
    assert_eq!(answer.code, Some(0), "{}{}", answer.out, answer.err);
    assert!(answer.out.starts_with(&format!("{url}\n")), "{}", answer.out);
    assert_eq!(answer.row("kind"), "url");
    assert!(answer.row("result").starts_with("ok in ") && answer.row("result").ends_with(" ms"), "{}", answer.out);
    assert_eq!(answer.row("CRL"), "CN=root");
    assert_eq!((answer.row("  number"), answer.row("  entries")), ("08", "1"));
    assert!(answer.row("  serves").ends_with(", fresh"), "{}", answer.out);
    assert!(answer.row("  cache").starts_with(&format!("would be kept as {}", ca.path("cache/"))), "{}", answer.out);
    assert!(answer.row("  cache").ends_with("-complete.crl"), "{}", answer.out);
    assert!(answer.out.contains("\nour own certificate is good\n"), "{}", answer.out);
    assert!(answer.out.ends_with("mantlet.toml: 1 of 1 sources are good\n"), "{}", answer.out);
    assert!(answer.err.is_empty(), "{}", answer.err);
    assert!(!Path::new(&ca.path("cache")).exists(), "nothing is written");
    let (code, json) = fetch_json(&sources(&ca, &["ca.crl", &url], ""));
    assert_eq!((code, &json["ok"]), (Some(0), &true.into()), "{json:#}");
    assert_eq!((&json["sources"][0]["kind"], &json["sources"][1]["kind"]), (&"file".into(), &"url".into()));
    assert!(json["sources"][1]["took_seconds"].as_f64().unwrap() < 60.0);
}

#[test]
fn each_bad_source_has_its_reason_and_the_others_are_asked_all_the_same() {
    let (ca, stranger) = (Ca::new("root"), Ca::new("stranger"));
    ca.issue(&[]);
    let server = serving(vec![("/good", ca.crl(&Crl::default())), ("/foreign", stranger.crl(&Crl::default()))]);
    let at = |path: &str| format!("http://{}{path}", server.address);
    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    ca.write("page.crl", "<html>");
    let named = ["page.crl", &at("/good"), &at("/gone"), &at("/foreign"), &format!("http://{down}/ca.crl")];
    let (code, json) = fetch_json(&sources(&ca, &named, ""));
    assert_eq!(code, Some(1), "{json:#}");
    let expected = [
        "page.crl: holds no CRL: found no PEM block, expected X509 CRL in PEM or DER; check that it exists",
        "",
        "answers 404 Not Found, expected 200",
        "is issued by \"CN=stranger\", and no certificate of that subject",
        "cannot be connected to",
    ];
    for (position, message) in expected.into_iter().enumerate() {
        let source = &json["sources"][position];
        let error = source["error"].as_str().unwrap_or_default();
        assert!(source["source"].as_str().unwrap().ends_with(named[position]), "{source:#}");
        assert!(error.contains(message) && error.is_empty() == message.is_empty(), "{message}: {source:#}");
    }
    assert_eq!(json["own_certificate"]["status"], "good");
    let answer = mantlet(&["fetch", &sources(&ca, &[&at("/gone")], "")]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.row("result").starts_with("FAILED in "), "{}", answer.out);
    assert!(answer.row("result").ends_with("answers 404 Not Found, expected 200"), "{}", answer.out);
    assert!(answer.row("remedy").ends_with("look at it with \"mantlet crl show\""), "{}", answer.out);
    assert!(answer.out.contains("\nour own certificate is REFUSED (revocation_unknown): "), "{}", answer.out);
}

#[test]
fn a_revoked_certificate_of_our_own_fails_and_so_does_an_overdue_file() {
    let ca = Ca::new("root");
    ca.issue(&[]);
    ca.write("ca.crl", ca.crl(&Crl { entries: &[(SERIAL, KEY_COMPROMISE)], ..Crl::default() }));
    let (code, json) = fetch_json(&sources(&ca, &["ca.crl"], ""));
    assert_eq!(
        (code, &json["sources"][0]["ok"], &json["own_certificate"]["status"]),
        (Some(1), &true.into(), &"revoked".into())
    );
    ca.write("ca.crl", ca.crl(&Crl { next_update: -time::Duration::MINUTE, ..Crl::default() }));
    let (code, json) = fetch_json(&sources(&ca, &["ca.crl"], ""));
    assert_eq!((code, &json["own_certificate"]["status"]), (Some(1), &"good".into()), "{json:#}");
    assert!(
        json["sources"][0]["error"]
            .as_str()
            .unwrap()
            .starts_with("gives a CRL of \"CN=root\" whose next update was due")
    );
    assert_eq!(json["sources"][0]["crls"][0]["state"], "stale");
}

#[test]
fn the_distribution_points_of_our_own_certificate_are_asked() {
    let ca = Ca::new("root");
    let server = serving(vec![("/ca.crl", ca.crl(&Crl::default()))]);
    let url = format!("http://{}/ca.crl", server.address);
    ca.issue(&[url.clone(), "http://elsewhere.invalid/ca.crl".to_owned()]);
    let table =
        "[revocation]\ndistribution_points = true\nfetch_timeout = \"2s\"\ndistribution_point_hosts = [\"127.0.0.1\"]";
    let file = configured(&ca, table);
    let (code, json) = fetch_json(&file);
    assert_eq!(code, Some(0), "{json:#}");
    assert_eq!(json["sources"][0]["kind"], "distribution_point");
    assert_eq!(json["sources"][0]["source"], url);
    assert_eq!(json["sources"][0]["crls"][0]["kept_as"], Value::Null);
    assert_eq!(json["not_asked"][0]["source"], "http://elsewhere.invalid/ca.crl");
    let reason = json["not_asked"][0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("its host \"elsewhere.invalid\" is not among revocation.distribution_point_hosts"),
        "{reason}"
    );
}

#[test]
fn a_configuration_that_cannot_be_used_exits_2() {
    let ca = Ca::new("root");
    ca.issue(&[]);
    let refused = |file: &str, message: &str| {
        let answer = mantlet(&["fetch", file]);
        assert_eq!(answer.code, Some(2), "{}{}", answer.out, answer.err);
        assert!(answer.err.contains(message), "{message}\n{}", answer.err);
    };
    refused(&configured(&ca, ""), "mantlet.toml: has no [revocation], so nothing is checked");
    refused(&configured(&ca, "[revocation]\nsources = []"), "sources is empty: expected one entry or more");
    refused(&ca.path("absent.toml"), "absent.toml: 1 error");
    ca.write("own.pem", "");
    refused(&sources(&ca, &["ca.crl"], ""), "own.pem: holds no certificate");
}
