//! What attackers try on the way to a certificate.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use super::rig::{Rig, text};

#[test]
fn a_secret_is_good_once_and_for_its_name_alone() {
    let rig = Rig::new();
    let secret = rig.register("ads", &[]);
    let other = rig.register("users", &[]);
    let request = rig.request("ads", "/CN=ads");
    let with = |name: &str, secret: &str| rig.enrol("simpleenroll", &request, &["-u", &format!("{name}:{secret}")]);
    let answers = [
        with("users", &secret),
        with("ads", &other),
        with("nobody", &secret),
        with("ads", "guess"),
        with("ads", ""),
        with("../etc", &secret),
    ];
    for answered in &answers {
        assert_eq!(answered.reason(), (401, "credential"), "{}", answered.body);
        assert!(answered.header("www-authenticate").is_some_and(|value| value.starts_with("Basic ")));
    }
    assert_eq!(with("ads", &secret).status, 200);
    let again = with("ads", &secret);
    assert_eq!(again.reason(), (401, "credential"), "a stolen secret");
    assert_eq!(again.body, answers[0].body, "whoever guesses is not told what was wrong");
    let log = rig.ca(&["log", "--subject", "ads"]);
    assert!(log.contains("refused     ads: secret used before"), "{log}");
    assert_eq!(rig.list().len(), 1);
}

#[test]
fn of_many_who_use_one_secret_at_once_one_enrols() {
    let rig = Rig::with(&[], "", "[limits]\nname_per_minute = 1000\n");
    let secret = rig.register("ads", &[]);
    let user = format!("ads:{secret}");
    let requests: Vec<_> = (0..8).map(|n| rig.request(&format!("k{n}"), "/CN=x")).collect();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let calls: Vec<_> = requests
            .iter()
            .map(|request| scope.spawn(|| rig.enrol("simpleenroll", request, &["-u", &user]).status))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(rig.list().len(), 1);
}

#[test]
fn another_secret_makes_the_unused_one_void_and_an_expired_one_is_refused() {
    let rig = Rig::new();
    let first = rig.register("ads", &[]);
    let second: serde_json::Value = serde_json::from_str(&rig.ca(&["secret", "ads", "--json"])).unwrap();
    let request = rig.request("ads", "/CN=ads");
    let with = |secret: &str| rig.enrol("simpleenroll", &request, &["-u", &format!("ads:{secret}")]);
    assert_eq!(with(&first).reason(), (401, "credential"));
    assert_eq!(with(second["secret"].as_str().unwrap()).status, 200);
    let on_disk = fs::read(rig.path("ca/authority/authority.db")).unwrap();
    let on_disk = [on_disk, fs::read(rig.path("ca/authority/authority.db-wal")).unwrap_or_default()].concat();
    assert!(
        !on_disk.windows(first.len()).any(|window| window == first.as_bytes()),
        "the secret itself is in the store"
    );
}

#[test]
fn a_revoked_certificate_renews_nothing_and_one_of_another_authority_is_unknown() {
    let rig = Rig::new();
    let secret = rig.register("ads", &[]);
    rig.enrolled("ads", &secret);
    let request = rig.request("next", "/CN=ads");
    let identity = rig.identity("ads");
    let options: Vec<&str> = identity.iter().map(String::as_str).collect();
    rig.ca(&["revoke", "--name", "ads", "--reason", "keyCompromise"]);
    assert_eq!(rig.enrol("simplereenroll", &request, &options).reason(), (403, "revoked"));
    assert_eq!(rig.events("ads", "wait=0")["certificate"]["state"], "revoked");

    let other = Rig::new();
    let secret = other.register("ads", &[]);
    other.enrolled("ads", &secret);
    let identity = other.identity("ads");
    let options: Vec<&str> = identity.iter().map(String::as_str).collect();
    assert_eq!(rig.enrol("simplereenroll", &request, &options).reason(), (401, "certificate"));
    assert_eq!(rig.enrol("simpleenroll", &request, &options).reason(), (401, "certificate"));
}

#[test]
fn a_current_certificate_enrols_under_no_other_name_and_nobody_renews_without_one() {
    let rig = Rig::new();
    let secret = rig.register("ads", &[]);
    rig.enrolled("ads", &secret);
    let request = rig.request("next", "/CN=users");
    let identity = rig.identity("ads");
    let options: Vec<&str> = identity.iter().map(String::as_str).collect();
    assert_eq!(rig.enrol("simpleenroll", &request, &options).reason(), (403, "wrong_certificate"));
    assert_eq!(rig.enrol("simplereenroll", &request, &[]).reason(), (401, "unauthenticated"));
    let secret = rig.register("users", &[]);
    assert_eq!(
        rig.enrol("simplereenroll", &request, &["-u", &format!("users:{secret}")]).reason(),
        (401, "unauthenticated")
    );
    assert_eq!(rig.list().len(), 1);
}

#[test]
fn huge_malformed_and_forged_requests_are_refused_and_use_no_secret_up() {
    let rig = Rig::with(&[], "", "[limits]\nname_per_minute = 1000\n");
    let secret = rig.register("ads", &[]);
    let user = format!("ads:{secret}");
    let good = rig.request("ads", "/CN=ads");
    let encoded = fs::read_to_string(&good.body).unwrap();
    let send = |content: &[u8], options: &[&str]| {
        let body = rig.path("body");
        fs::write(&body, content).unwrap();
        let data = format!("@{}", body.display());
        let with = ["-u", &user, "-H", "content-type: application/pkcs10", "--data-binary", &data];
        rig.curl("/.well-known/est/simpleenroll", &[&with, options].concat())
    };
    for content in [&b""[..], b"!!!!", b"AAAA", b"MIIB", &[0xff; 100], encoded.as_bytes().split_at(200).0] {
        assert_eq!(send(content, &[]).reason(), (400, "malformed"), "{content:?}");
    }
    assert_eq!(send(&vec![b'A'; 100_000], &[]).reason(), (413, "too_large"));
    assert_eq!(send(&vec![b'A'; 100_000], &["-H", "transfer-encoding: chunked"]).reason(), (413, "too_large"));
    assert_eq!(send(encoded.as_bytes(), &["-H", "content-type: text/plain"]).status, 415);
    // One bit of the signature.
    let mut der = fs::read(rig.path("ads.csr")).unwrap();
    *der.last_mut().unwrap() ^= 1;
    fs::write(rig.path("forged.csr"), der).unwrap();
    super::rig::openssl(&["base64", "-in", &rig.text_path("forged.csr"), "-out", &rig.text_path("forged.b64")]);
    let forged = fs::read(rig.path("forged.b64")).unwrap();
    assert_eq!(send(&forged, &[]).reason(), (400, "proof_of_possession"));
    // As PEM, with the lines of Windows, and without any line break: all are taken for what they are.
    let pem = format!(
        "-----BEGIN CERTIFICATE REQUEST-----\r\n{}-----END CERTIFICATE REQUEST-----\r\n",
        encoded.replace('\n', "\r\n")
    );
    assert_eq!(send(pem.as_bytes(), &[]).status, 200);
    assert_eq!(rig.list().len(), 1);
}

#[test]
fn nothing_is_found_by_tricks_with_paths_and_methods() {
    let rig = Rig::new();
    for path in [
        "/",
        "/.well-known/est",
        "/.well-known/est/",
        "/.well-known/est/simpleenroll/",
        "/.well-known/est/../est/cacerts",
        "/.well-known/est/%63acerts",
        "/.well-known//est/cacerts",
        "/.well-known/est/cacerts/..",
        "/.well-known/est/other/cacerts",
        "/.well-known/est/CACERTS",
        "/.well-known/est/serverkeygen",
        "/ca.crl",
        "/authority/root.key",
        "/../../etc/passwd",
    ] {
        let answered = rig.curl(path, &["--path-as-is"]);
        assert_eq!(answered.reason(), (404, "not_found"), "{path}: {}", answered.body);
    }
    for path in [
        "/authority/root.key",
        "/../authority/root.key",
        "/ca.crl/",
        "/%63a.crl",
        "/status",
        "/.well-known/est/cacerts",
    ] {
        assert_eq!(rig.curl_plain(path, &["--path-as-is"]).status, 404, "{path}");
    }
    for (path, method) in
        [("simpleenroll", "GET"), ("simpleenroll", "PUT"), ("simplereenroll", "DELETE"), ("cacerts", "POST")]
    {
        let answered = rig.curl(&format!("/.well-known/est/{path}"), &["-X", method]);
        assert_eq!(answered.status, 405, "{method} {path}");
        assert!(answered.header("allow").is_some());
    }
    assert_eq!(rig.curl_plain("/ca.crl", &["-X", "POST"]).status, 405);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let rig = Rig::with(&[], "", "[limits]\nname_per_minute = 3\naddress_per_minute = 5\n");
    let secret = rig.register("ads", &[]);
    let request = rig.request("ads", "/CN=ads");
    let with = |name: &str| rig.enrol("simpleenroll", &request, &["-u", &format!("{name}:wrong{secret}")]);
    for _ in 0..3 {
        assert_eq!(with("ads").status, 401);
    }
    let answered = with("ads");
    assert_eq!(answered.reason(), (429, "rate_limited"));
    let wait: u64 = answered.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(with("users").status, 401, "another name has its own bound");
    assert_eq!(with("users").reason(), (429, "rate_limited"), "and the address has one for all names");
}

#[test]
fn who_asks_for_news_too_often_is_told_when_to_come_back() {
    let rig = Rig::with(&[], "", "[limits]\ncertificate_events_per_minute = 3\naddress_events_per_minute = 5\n");
    for name in ["ads", "users"] {
        let secret = rig.register(name, &[]);
        rig.enrolled(name, &secret);
    }
    let ask = |name: &str| {
        let identity = rig.identity(name);
        let options: Vec<&str> = identity.iter().map(String::as_str).collect();
        rig.curl("/.well-known/mantlet/events?wait=0", &options)
    };
    for _ in 0..3 {
        assert_eq!(ask("ads").status, 200);
    }
    let answered = ask("ads");
    assert_eq!(answered.reason(), (429, "rate_limited"));
    let wait: u64 = answered.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(ask("users").status, 200, "another certificate has its own bound");
    assert_eq!(ask("users").reason(), (429, "rate_limited"), "and the address has one for all certificates");
}

#[test]
fn plaintext_on_the_enrolment_port_gets_a_readable_answer_and_a_silent_caller_costs_nobody_else() {
    let rig = Rig::new();
    let address = rig.server.address("est");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: ca\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let silent: Vec<_> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(rig.curl("/.well-known/est/cacerts", &[]).status, 200);
    drop(silent);
}

#[test]
fn an_old_log_entry_that_was_changed_is_found() {
    let rig = Rig::new();
    rig.register("ads", &[]);
    rig.register("users", &[]);
    assert!(rig.ca(&["log", "--verify"]).contains("the log is whole"));
    let database = rig.text_path("ca/authority/authority.db");
    let python = Command::new("python3")
        .args(["-c", "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute(\"UPDATE log SET actor='somebody else' WHERE subject='ads'\")\nc.commit()", &database])
        .output()
        .unwrap();
    assert!(python.status.success(), "{}", text(&python.stderr));
    let refusal = rig.refused(&["log", "--verify"]);
    assert!(refusal.contains("of the log is not what was written"), "{refusal}");
}
