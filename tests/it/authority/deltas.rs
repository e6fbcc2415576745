//! Revocations told by delta CRLs, with openssl as the reader.

use std::fs;
use std::process::Command;

use super::rig::{Answered, Rig, openssl, text};

const DELTAS: &str = "distribution_point = \"http://ca.internal:8480/ca.crl\"\ndelta_next_update = \"1h\"";

/// A rig with a certificate of each name.
fn rig(names: &[&str]) -> Rig {
    let rig = Rig::with(&[], DELTAS, "");
    for name in names {
        let secret = rig.register(name, &[]);
        rig.enrolled(name, &secret);
    }
    rig
}

/// What openssl reads in the CRL of a path, and how it was served.
fn served(rig: &Rig, path: &str) -> (String, Answered) {
    let file = rig.text_path("served.crl");
    let answered = rig.curl_plain(path, &["--output", &file, "--dump-header", "-", "--no-include"]);
    assert_eq!((answered.status, answered.header("content-type")), (200, Some("application/pkix-crl")), "{path}");
    (openssl(&["crl", "-inform", "DER", "-in", &file, "-noout", "-text", "-crlnumber"]), answered)
}

fn number(shown: &str) -> u64 {
    let number = shown.lines().find_map(|line| line.strip_prefix("crlNumber=0x")).unwrap();
    u64::from_str_radix(number, 16).unwrap()
}

fn entries(shown: &str) -> usize {
    shown.matches("Revocation Date").count()
}

/// Revokes a name and waits for the word that reaches the holder of another certificate.
fn revoke(rig: &Rig, name: &str, waiting: &str) {
    let tag = rig.events(waiting, "wait=0")["tag"].as_str().unwrap().to_owned();
    rig.ca(&["revoke", "--name", name, "--reason", "keyCompromise"]);
    let told = rig.events(waiting, &format!("since={tag}&wait=50"));
    assert_ne!(told["tag"].as_str(), Some(tag.as_str()), "nobody was told");
}

#[test]
fn a_revocation_is_on_the_delta_crl_alone_until_the_next_complete_one() {
    let rig = rig(&["ads", "users", "gateway", "watcher"]);
    let (complete, whole) = served(&rig, "/ca.crl");
    for part in ["X509v3 Freshest CRL", "URI:http://ca.internal:8480/ca-delta.crl"] {
        assert!(complete.contains(part), "{part:?} is missing from {complete}");
    }
    assert!(!complete.contains("Delta CRL Indicator"), "{complete}");
    let (delta, _) = served(&rig, "/ca-delta.crl");
    assert!(delta.contains("X509v3 Delta CRL Indicator: critical"), "{delta}");
    assert!(!delta.contains("Freshest CRL"), "RFC 5280 section 5.2.6: {delta}");
    assert_eq!([number(&complete), number(&delta)], [1, 1], "signed at once");

    for (name, number_then) in [("ads", 2), ("users", 3)] {
        revoke(&rig, name, "watcher");
        let (delta, answered) = served(&rig, "/ca-delta.crl");
        assert_eq!((number(&delta), entries(&delta)), (number_then, usize::try_from(number_then).unwrap() - 1));
        assert!(delta.contains("Key Compromise"), "{delta}");
        let sink = ["--output", "/dev/null", "--dump-header", "-", "--no-include"];
        let held = |path: &str, tag: &str| {
            rig.curl_plain(path, &[&sink[..], &["-H", &format!("if-none-match: {tag}")]].concat()).status
        };
        assert_eq!(held("/ca.crl", whole.header("etag").unwrap()), 304, "the complete one is not transferred again");
        assert_eq!(held("/ca-delta.crl", answered.header("etag").unwrap()), 304);
    }

    // The next complete one takes its number from the same sequence, and so does the delta CRL that is signed with it.
    rig.ca(&["crl"]);
    let tag = rig.events("watcher", "wait=0")["tag"].as_str().unwrap().to_owned();
    let complete = loop {
        let (complete, _) = served(&rig, "/ca.crl");
        if number(&complete) > 1 {
            break complete;
        }
        rig.events("watcher", &format!("since={tag}&wait=1"));
    };
    let (delta, _) = served(&rig, "/ca-delta.crl");
    assert_eq!((number(&complete), entries(&complete)), (4, 2));
    assert_eq!((number(&delta), entries(&delta)), (4, 2), "whoever holds the complete one before needs no other");
    revoke(&rig, "gateway", "watcher");
    let (delta, _) = served(&rig, "/ca-delta.crl");
    assert_eq!((number(&delta), entries(&delta)), (5, 3));
}

#[test]
fn openssl_applies_the_delta_crl_to_the_complete_one() {
    let rig = rig(&["ads", "users"]);
    revoke(&rig, "ads", "users");
    fs::write(rig.path("crls.pem"), rig.curl_plain("/crls.pem", &[]).body).unwrap();
    let judged = |name: &str, options: &[&str]| {
        let output = Command::new("openssl")
            .args(["verify", "-crl_check", "-extended_crl"])
            .args(options)
            .args(["-CAfile", &rig.text_path("ca/ca.pem"), "-CRLfile", &rig.text_path("crls.pem")])
            .arg(rig.path(&format!("{name}.pem")))
            .output()
            .unwrap();
        text(&output.stdout) + &text(&output.stderr)
    };
    assert!(judged("ads", &["-use_deltas"]).contains("certificate revoked"), "{}", judged("ads", &["-use_deltas"]));
    assert!(judged("users", &["-use_deltas"]).contains("OK"), "{}", judged("users", &["-use_deltas"]));
    assert!(judged("ads", &[]).contains("OK"), "the complete one alone does not list it");
}

#[test]
fn delta_crls_begin_and_end_with_the_setting() {
    let mut rig = Rig::new();
    for name in ["ads", "users"] {
        let secret = rig.register(name, &[]);
        rig.enrolled(name, &secret);
    }
    assert_eq!(rig.curl_plain("/ca-delta.crl", &[]).status, 404);
    rig.restart(DELTAS, "");
    let (complete, _) = served(&rig, "/ca.crl");
    assert!(number(&complete) == 2 && complete.contains("Freshest CRL"), "{complete}");
    served(&rig, "/ca-delta.crl");
    rig.restart("", "");
    let (complete, _) = served(&rig, "/ca.crl");
    assert!(number(&complete) == 3 && !complete.contains("Freshest CRL"), "{complete}");
    assert_eq!(rig.curl_plain("/ca-delta.crl", &[]).status, 404);
    // A revocation is on the complete one again.
    revoke(&rig, "ads", "users");
    let (complete, _) = served(&rig, "/ca.crl");
    assert_eq!((number(&complete), entries(&complete)), (4, 1));
}
