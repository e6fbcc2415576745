//! Several authorities over one `PostgreSQL` database.

use std::collections::HashSet;
use std::process::Command;
use std::thread;

use super::rig::{Rig, config, openssl, text};
use crate::support::postgres::Postgres;
use crate::support::sidecar::Sidecar;

const ROUNDS: usize = 10;

/// A copy of an authority's folder, as the machine of another replica has it.
fn replica(rig: &Rig, name: &str) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(rig.path("ca")).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    folder
}

#[test]
fn replicas_on_postgres_issue_and_revoke_as_one_while_one_of_them_dies() {
    let postgres = Postgres::start();
    let socket = postgres.socket();
    let store =
        format!("store = \"postgres://postgres@localhost/postgres?host={}\"", socket.parent().unwrap().display());
    let limits = "[limits]\nname_per_minute = 100000\naddress_per_minute = 1000000\n";
    let mut rig = Rig::new();
    let early = rig.register("early", &[]);
    rig.enrolled("early", &early);
    let folders = [replica(&rig, "two"), replica(&rig, "three")];
    rig.server.signal("TERM");
    rig.server.wait_for_exit();
    // The first moves what is on record; the others find it there.
    rig.server = Sidecar::start_authority(&config(&rig.folder, &store, limits));
    let replicas: Vec<Sidecar> =
        folders.iter().map(|folder| Sidecar::start_authority(&config(folder, &store, limits))).collect();
    assert_eq!(rig.list().len(), 1, "the command line goes where the records are");

    rig.register("ads", &[]);
    rig.ca(&["bootstrap", "ads", "--out", &rig.text_path("b.pem")]);
    let request = rig.request("k", "/CN=x");
    let data = format!("@{}", request.body.display());
    let enrol = |port: u16| {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--fail",
                "--max-time",
                "20",
                "--cacert",
                &rig.text_path("ca/ca.pem"),
                "--cert",
                &rig.text_path("b.pem"),
            ])
            .args(["-H", "content-type: application/pkcs10", "--data-binary", &data])
            .arg(format!("https://localhost:{port}/.well-known/est/simpleenroll"))
            .output()
            .unwrap();
        output.status.success().then_some(output.stdout)
    };
    let ports = [&rig.server, &replicas[0], &replicas[1]].map(|replica| replica.address("est").port());
    let answers: Vec<Vec<u8>> = thread::scope(|scope| {
        let enrol = &enrol;
        let callers: Vec<_> = ports
            .into_iter()
            .map(|port| scope.spawn(move || (0..ROUNDS).filter_map(|_| enrol(port)).collect::<Vec<_>>()))
            .collect();
        // The first answer of the last replica is its death.
        while enrol(ports[2]).is_none() {}
        replicas[1].signal("KILL");
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert!(answers.len() >= 2 * ROUNDS, "the others go on: {}", answers.len());
    let mut serials = HashSet::new();
    for answer in &answers {
        let pem = rig.keep("answer", &super::rig::Answered { status: 200, headers: String::new(), body: text(answer) });
        let serial = openssl(&["x509", "-in", pem.to_str().unwrap(), "-noout", "-serial"]);
        assert!(
            serials.insert(serial.trim().trim_start_matches("serial=").to_ascii_lowercase()),
            "a serial number twice"
        );
    }
    let listed: HashSet<String> = rig.list().iter().map(|entry| entry["serial"].as_str().unwrap().to_owned()).collect();
    assert!(serials.is_subset(&listed));

    // Revocations by several commands at once: each replica serves one and the same CRL, with all of them.
    let revoked: Vec<&String> = serials.iter().take(6).collect();
    thread::scope(|scope| {
        let rig = &rig;
        for serial in &revoked {
            scope.spawn(move || rig.ca(&["revoke", "--serial", serial]));
        }
    });
    let deadline = std::time::Instant::now() + crate::support::sidecar::PATIENCE;
    for server in [&rig.server, &replicas[0]] {
        let file = rig.text_path("served.crl");
        let url = format!("http://{}/ca.crl", server.address("crl"));
        loop {
            super::rig::curl(&[&url, "--output", &file, "--dump-header", "-", "--no-include"]);
            let shown = openssl(&["crl", "-inform", "DER", "-in", &file, "-noout", "-text"]).to_ascii_lowercase();
            if revoked.iter().all(|serial| shown.contains(serial.as_str())) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{shown}");
        }
    }
    let signed = |server: &Sidecar| -> Vec<u64> {
        let events = server.events();
        events
            .iter()
            .filter(|event| event["message"] == "CRL signed")
            .map(|event| event["number"].as_u64().unwrap())
            .collect()
    };
    let mut numbers = [signed(&rig.server), signed(&replicas[0])].concat();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "a CRL number twice");
    assert!(rig.ca(&["log", "--verify"]).contains("the log is whole"));
}

#[test]
fn replicas_number_complete_and_delta_crls_in_one_sequence() {
    let postgres = Postgres::start();
    let socket = postgres.socket();
    let keys = format!(
        "store = \"postgres://postgres@localhost/postgres?host={}\"\ndelta_next_update = \"1h\"\n\
         distribution_point = \"http://ca.internal/ca.crl\"",
        socket.parent().unwrap().display()
    );
    let mut rig = Rig::new();
    let folder = replica(&rig, "two");
    rig.server.signal("TERM");
    rig.server.wait_for_exit();
    rig.server = Sidecar::start_authority(&config(&rig.folder, &keys, ""));
    let second = Sidecar::start_authority(&config(&folder, &keys, ""));
    let names: Vec<String> = (0..6).map(|n| format!("s{n}")).collect();
    for name in &names {
        rig.ca(&["issue", "--name", name]);
    }
    thread::scope(|scope| {
        let rig = &rig;
        for (n, name) in names.iter().enumerate() {
            scope.spawn(move || rig.ca(&["revoke", "--name", name]));
            // Now and then the command line signs complete ones.
            if n % 3 == 0 {
                scope.spawn(|| rig.ca(&["crl"]));
            }
        }
    });
    let deadline = std::time::Instant::now() + crate::support::sidecar::PATIENCE;
    let serials: Vec<String> = rig.list().iter().map(|entry| entry["serial"].as_str().unwrap().to_owned()).collect();
    let served = |server: &Sidecar| {
        ["/ca.crl", "/ca-delta.crl"].map(|path| {
            let file = rig.text_path("served.crl");
            let url = format!("http://{}{path}", server.address("crl"));
            super::rig::curl(&[&url, "--output", &file, "--dump-header", "-", "--no-include"]);
            openssl(&["crl", "-inform", "DER", "-in", &file, "-noout", "-text"]).to_ascii_lowercase()
        })
    };
    // Whoever applies the delta CRL to the complete one has all of them, and from either replica the same.
    loop {
        let (one, other) = (served(&rig.server), served(&second));
        if one == other && serials.iter().all(|serial| one.concat().contains(serial.as_str())) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{one:?} and {other:?}");
    }
    let log = rig.ca(&["log", "--subject", "root", "--json"]);
    let entries = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let details =
        entries.filter(|entry| entry["action"] == "crl").map(|entry| entry["detail"].as_str().unwrap().to_owned());
    let (mut last, mut deltas) = (0, 0);
    for detail in details {
        let is_delta = detail.contains(", delta since ");
        let number: u64 = detail.trim_start_matches("number ").split([',', ' ']).next().unwrap().parse().unwrap();
        // A delta CRL that is signed with a complete one has its number; every other is the next.
        assert!(number == last + 1 || (is_delta && number == last), "{number} after {last}: {detail}");
        (last, deltas) = (number, deltas + u64::from(is_delta));
    }
    assert!(deltas > 1 && last > 3, "{log}");
}

#[test]
fn a_row_that_was_altered_by_hand_is_named_and_refused() {
    let postgres = Postgres::start();
    let socket = postgres.socket();
    let store =
        format!("store = \"postgres://postgres@localhost/postgres?host={}\"", socket.parent().unwrap().display());
    let mut rig = Rig::new();
    let secret = rig.register("ads", &[]);
    rig.enrolled("ads", &secret);
    rig.server.signal("TERM");
    rig.server.wait_for_exit();
    rig.server = Sidecar::start_authority(&config(&rig.folder, &store, ""));
    let serial = rig.list()[0]["serial"].as_str().unwrap().to_owned();
    // Each alteration, a command that meets it, and how it is named.
    let of_certificate = format!("of certificates, serial \"{serial}\": \"");
    for (table, alteration, command, named) in [
        (
            "certificates",
            "spiffe = 'nonsense' WHERE name = 'ads'",
            &["list"][..],
            &["the column spiffe", &of_certificate[..], "nonsense"][..],
        ),
        (
            "certificates",
            "issuer = 'king' WHERE name = 'ads'",
            &["list"],
            &["the column issuer", &of_certificate, "king"],
        ),
        ("certificates", "ip = '10.0.0' WHERE name = 'ads'", &["list"], &["the column ip", &of_certificate, "10.0.0"]),
        ("entities", "state = 'asleep'", &["show", "ads"], &["the column state of entities, name \"ads\": \"asleep\""]),
        ("state", "trust_domain = 'No Domain'", &["list"], &["the column trust_domain", "No Domain"]),
        ("state", "newest_generation = -1", &["list"], &["the column newest_generation", "-1"]),
        ("issuers", "der = '***'", &["issue", "--name", "x"], &["the column der"]),
        ("log", "detail = 'nothing' WHERE entry = 2", &["log", "--verify"], &["entry 2"]),
    ] {
        postgres.script(&format!("CREATE TABLE saved AS SELECT * FROM {table}; UPDATE {table} SET {alteration}"));
        let said = rig.refused(command);
        assert!(named.iter().all(|part| said.contains(part)), "{table} {alteration}: {said}");
        if table != "log" {
            assert!(said.contains("the store is corrupt") && said.contains("restore it from a backup"), "{said}");
        }
        postgres.script(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM saved; DROP TABLE saved"));
    }
    // A server does not start over it either, and does again once it is mended.
    rig.server.signal("TERM");
    rig.server.wait_for_exit();
    postgres.script("UPDATE state SET trust_domain = 'No Domain'");
    let (status, said) = Sidecar::start_authority_and_fail(&config(&rig.folder, &store, ""));
    assert!(!status.success() && said.contains("the column trust_domain") && said.contains("No Domain"), "{said}");
    postgres.script("UPDATE state SET trust_domain = 'test.internal'");
    rig.server = Sidecar::start_authority(&config(&rig.folder, &store, ""));
    assert_eq!(rig.list().len(), 1);
}

#[test]
fn the_store_of_another_authority_is_refused() {
    let postgres = Postgres::start();
    let socket = postgres.socket();
    let store =
        format!("store = \"postgres://postgres@localhost/postgres?host={}\"", socket.parent().unwrap().display());
    let mut first = Rig::new();
    first.server.signal("TERM");
    first.server.wait_for_exit();
    first.server = Sidecar::start_authority(&config(&first.folder, &store, ""));
    let second = Rig::new();
    let (status, said) = Sidecar::start_authority_and_fail(&config(&second.folder, &store, ""));
    assert!(!status.success() && said.contains("holds the store of another authority"), "{said}");
    let (status, said) = Sidecar::start_authority_and_fail(&config(&first.folder, "store = \"sqlite\"", ""));
    assert!(!status.success() && said.contains("write store = "), "{said}");
}
