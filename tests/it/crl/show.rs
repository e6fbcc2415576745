//! `mantlet crl show`.

use serde_json::Value;

use super::ca::{Ca, Crl, KEY_COMPROMISE, SERIAL, pem};
use super::{mantlet, serving};
use crate::support::raw_service::{RawService, Then};

const HOLD: u8 = 6;

#[test]
fn a_crl_in_pem_or_der_is_shown_and_said_not_to_be_verified() {
    let ca = Ca::new("root");
    let der = ca.crl(&Crl { entries: &[(SERIAL, KEY_COMPROMISE), (&[0x2c], HOLD)], ..Crl::default() });
    for (name, content) in [("crl.der", der.clone()), ("crl.pem", pem(&der).into_bytes())] {
        let path = ca.write(name, content);
        let answer = mantlet(&["show", &path]);
        assert_eq!(answer.code, Some(0), "{}", answer.err);
        assert!(answer.out.starts_with("CRL 1 of 1\n"), "{}", answer.out);
        for (row, value) in [
            ("issuer", "CN=root"),
            ("number", "07"),
            ("kind", "complete"),
            ("covers", "all certificates"),
            ("entries", "2"),
            ("signature", "not verified (no --trust-anchors)"),
        ] {
            assert_eq!(answer.row(row), value);
        }
        assert!(answer.row("this update").ends_with("(1d 23h ago)"), "{}", answer.out);
        assert!(answer.row("next update").ends_with("(in 23h 59m)"), "{}", answer.out);
        assert_eq!(answer.row("SHA-256").len(), 64);
        let listed = answer.row("0a1b");
        assert!(listed.contains("keyCompromise") && listed.ends_with("2020-01-02T03:04:05Z"), "{listed}");
        let json = mantlet(&["show", &path, "--json"]).json();
        assert_eq!(json["crls"][0]["entries"][1]["reason"], "certificateHold");
        assert_eq!(json["crls"][0]["signature"]["verified"], Value::Null);
    }
}

#[test]
fn several_are_shown_in_their_order_a_delta_as_such_and_an_overdue_one_loudly() {
    let ca = Ca::new("root");
    let complete = ca.crl(&Crl { next_update: -2 * time::Duration::HOUR, ..Crl::default() });
    let delta = ca.crl(&Crl { number: 9, base: Some(7), ..Crl::default() });
    let path = ca.write("both.pem", pem(&complete) + &pem(&delta));
    let answer = mantlet(&["show", &path]);
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    assert!(answer.out.contains("CRL 2 of 2\n"));
    assert!(answer.row("next update").ends_with("(OVERDUE by 2h: its successor should be out)"), "{}", answer.out);
    assert!(
        answer.out.contains("  kind           delta: what has changed since the complete CRL 07\n"),
        "{}",
        answer.out
    );
    let json = mantlet(&["show", &path, "--json"]).json();
    assert_eq!((&json["crls"][0]["overdue"], &json["crls"][1]["overdue"]), (&true.into(), &false.into()));
    assert_eq!(json["crls"][1]["base_number"], "07");
}

#[test]
fn so_many_entries_are_shown_as_are_asked_for() {
    let ca = Ca::new("root");
    let serials: Vec<[u8; 1]> = (1..=20).map(|serial| [serial]).collect();
    let entries: Vec<(&[u8], u8)> = serials.iter().map(|serial| (&serial[..], HOLD)).collect();
    let path = ca.write("many.der", ca.crl(&Crl { entries: &entries, ..Crl::default() }));
    let shown = |more: &[&str]| {
        let answer = mantlet(&[&["show", &path][..], more].concat());
        (answer.out.matches("certificateHold").count(), answer.out.lines().last().unwrap().trim().to_owned())
    };
    assert_eq!(shown(&[]), (10, "and 10 more; --entries 20 shows them".to_owned()));
    assert_eq!(shown(&["--entries", "0"]), (0, "and 20 more; --entries 20 shows them".to_owned()));
    assert_eq!(shown(&["--entries", "20"]).0, 20);
}

#[test]
fn a_serial_number_is_looked_up_among_all_entries() {
    let ca = Ca::new("root");
    let der = ca.crl(&Crl { entries: &[(&[1], HOLD), (SERIAL, KEY_COMPROMISE)], ..Crl::default() });
    let path = ca.write("crl.der", der);
    let ask = |serial| mantlet(&["show", &path, "--entries", "1", "--serial", serial]);
    let listed = ask("0A:1B");
    assert_eq!(listed.code, Some(0));
    assert!(listed.row("serial").starts_with("0a1b IS LISTED since "), "{}", listed.out);
    assert!(
        listed.row("serial").contains("for keyCompromise, key unsafe since 2020-01-02T03:04:05Z"),
        "{}",
        listed.out
    );
    assert_eq!(ask("0c").row("serial"), "0c is not listed");
    let json = mantlet(&["show", &path, "--serial", "0a1b", "--json"]).json();
    assert_eq!(
        (&json["crls"][0]["listed"]["is_listed"], &json["crls"][0]["listed"]["serial"]),
        (&true.into(), &"0a1b".into())
    );
    assert_eq!(ask("xyz").code, Some(2));
}

#[test]
fn with_anchors_a_crl_is_verified_and_the_signer_named() {
    let (ca, other, same_name) = (Ca::new("root"), Ca::new("other"), Ca::new("root"));
    let path = ca.write("crl.der", ca.crl(&Crl::default()));
    let verify = |anchors: &Ca, more: &[&str]| {
        mantlet(&[&["show", &path, "--trust-anchors", &anchors.anchors()][..], more].concat())
    };
    let good = verify(&ca, &[]);
    assert_eq!(good.code, Some(0), "{}{}", good.out, good.err);
    assert!(good.row("signature").starts_with("verified: by CN=root, serial "), "{}", good.out);
    assert_eq!(verify(&ca, &["--json"]).json()["crls"][0]["signature"]["signer"]["subject"], "CN=root");

    let unknown = verify(&other, &[]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.row("signature").starts_with("NOT VERIFIED: it is issued by \"CN=root\", and no certificate"),
        "{}",
        unknown.out
    );
    assert_eq!(unknown.row("remedy"), "give the issuer's certificate by --trust-anchors or --intermediates");
    assert_eq!(verify(&other, &["--intermediates", &ca.anchors()]).code, Some(0));

    let forged = verify(&same_name, &["--json"]);
    assert_eq!(forged.code, Some(1));
    let signature = &forged.json()["crls"][0]["signature"];
    assert_eq!(signature["verified"], false);
    assert_eq!(signature["message"], "is signed by another key than that of \"CN=root\" known here");
    assert!(signature["remedy"].as_str().unwrap().starts_with("fetch the CRL of this very CA"));
}

#[test]
fn what_is_no_crl_exits_2_with_place_and_remedy() {
    let ca = Ca::new("root");
    let good = ca.crl(&Crl::default());
    let cut = &good[..good.len() - 1];
    // What is signed begins behind the outermost header.
    let damaged: Vec<u8> = good.iter().enumerate().map(|(at, octet)| if at == 4 { 0x31 } else { *octet }).collect();
    let html = ca.write("page.html", "<html>");
    let cases = [
        (html.clone(), "page.html: holds no CRL: found no PEM block, expected X509 CRL in PEM or DER; check that"),
        (ca.anchors(), "ca.pem: holds no CRL: found 1 x CERTIFICATE, expected X509 CRL in PEM or DER; check that"),
        (ca.path("absent.crl"), "absent.crl: cannot be read"),
        (ca.write("cut.der", cut), "cut.der: holds no CRL"),
        (ca.write("damaged.der", damaged), "damaged.der: CRL 1: is not a CRL in DER"),
        ("ftp://ca/x".to_owned(), "\"ftp://ca/x\" is of the scheme \"ftp\": expected http or https; give"),
        (
            "https://localhost:1/x".to_owned(),
            "https://localhost:1/x: a server of https is verified against the trust anchors",
        ),
    ];
    for (input, message) in cases {
        let answer = mantlet(&["show", &input]);
        assert_eq!(answer.code, Some(2), "{input}: {}", answer.out);
        assert!(answer.err.contains(message), "{message}\n{}", answer.err);
    }
    let both = ca.write("both.pem", pem(&good) + &pem(cut));
    let answer = mantlet(&["show", &both]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.out.starts_with("CRL 1 of 2\n"), "the good one is shown: {}", answer.out);
    assert!(answer.err.contains("both.pem: CRL 2: is not a CRL in DER"), "{}", answer.err);
    let crl = ca.write("crl.der", good);
    let answer = mantlet(&["show", &crl, "--trust-anchors", &html]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.err.contains("page.html: holds no certificate"), "{}", answer.err);
}

#[test]
fn an_address_is_asked_within_bounds() {
    let ca = Ca::new("root");
    let der = ca.crl(&Crl::default());
    let size = der.len();
    let server = serving(vec![("/ca.crl", der), ("/page", b"<html>".to_vec())]);
    let at = |path: &str| format!("http://{}{path}", server.address);
    let good = mantlet(&["show", &at("/ca.crl"), "--trust-anchors", &ca.anchors()]);
    assert_eq!(good.code, Some(0), "{}", good.err);
    assert!(good.row("signature").starts_with("verified: by CN=root"));
    let refused = |path: &str, more: &[&str], message: &str| {
        let answer = mantlet(&[&["show", &at(path)][..], more].concat());
        assert_eq!(answer.code, Some(2), "{path}: {}", answer.out);
        assert!(answer.err.contains(&format!("{}{message}", at(path))), "{message}\n{}", answer.err);
    };
    refused("/absent", &[], " answers 404 Not Found, expected 200; check the address");
    refused("/page", &[], ": holds no CRL: found no PEM block");
    let less = (size - 1).to_string();
    let message = format!(" is larger than {less} bytes, the most that is read of an answer; check the address");
    refused("/ca.crl", &["--max-size", &less], &message);
    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let answer = mantlet(&["show", &format!("http://{down}/ca.crl")]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.err.contains("cannot be connected to"), "{}", answer.err);
}

#[test]
fn a_server_that_is_silent_is_not_waited_for() {
    let endless = RawService::answering(|_| Then::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec()));
    let answer = mantlet(&["show", &format!("http://{}/ca.crl", endless.address), "--timeout", "1s"]);
    assert_eq!(answer.code, Some(2), "{}", answer.out);
    assert!(answer.err.contains("did not answer in full within 1s"), "{}", answer.err);
}
