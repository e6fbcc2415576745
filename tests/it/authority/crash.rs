//! The authority dies at any moment, or has no room to write.

use std::collections::HashSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::rig::{Rig, openssl, text};
use crate::support::programs::{CURL, program};

const ROUNDS: u32 = 50;
const NAMES: usize = 4;

/// Kills the server at moments spread over what it does while names enrol and are revoked. Every moment must be harmless.
#[test]
fn a_server_killed_at_any_moment_forgets_nothing_that_it_handed_out() {
    let mut rig = Rig::with(&[], "", "[limits]\nname_per_minute = 100000\naddress_per_minute = 1000000\n");
    for n in 0..NAMES {
        rig.register(&format!("s{n}"), &[]);
        rig.ca(&["bootstrap", &format!("s{n}"), "--out", &rig.text_path(&format!("b{n}.pem"))]);
        rig.request(&format!("k{n}"), "/CN=x");
    }
    let mut received = HashSet::new();
    let mut revoked = HashSet::new();
    for round in 0..ROUNDS {
        let stop = AtomicBool::new(false);
        let answers: Vec<Vec<u8>> = thread::scope(|scope| {
            let callers: Vec<_> = (0..NAMES)
                .map(|n| {
                    scope.spawn({
                        let (rig, stop) = (&rig, &stop);
                        move || enrol_until(rig, n, stop)
                    })
                })
                .collect();
            let begun = Instant::now();
            let moment = Duration::from_millis(120) * (round + 1) / ROUNDS + Duration::from_millis(40);
            if let Some(serial) = received.iter().find(|serial| !revoked.contains(*serial)).cloned() {
                let serial: String = serial;
                rig.ca(&["revoke", "--serial", &serial]);
                revoked.insert(serial);
            }
            // The moment is the point of the test, and nothing is waited for.
            thread::sleep(moment.saturating_sub(begun.elapsed()));
            rig.server.signal("KILL");
            stop.store(true, Ordering::Relaxed);
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        });
        for (index, answer) in answers.into_iter().enumerate() {
            let (p7, pem) = (rig.path("answer.p7"), rig.path(&format!("r{round}-{index}.pem")));
            fs::write(&p7, format!("-----BEGIN PKCS7-----\n{}-----END PKCS7-----\n", text(&answer))).unwrap();
            openssl(&["pkcs7", "-in", p7.to_str().unwrap(), "-print_certs", "-out", pem.to_str().unwrap()]);
            let serial = openssl(&["x509", "-in", pem.to_str().unwrap(), "-noout", "-serial"]);
            let serial = serial.trim().trim_start_matches("serial=").to_ascii_lowercase();
            assert!(received.insert(serial), "a serial number twice");
        }
        rig.restart("", "[limits]\nname_per_minute = 100000\naddress_per_minute = 1000000\n");
    }
    assert!(received.len() > NAMES, "hardly anything was issued between the kills: {}", received.len());
    let listed = rig.list();
    let states: std::collections::HashMap<_, _> =
        listed.iter().map(|entry| (entry["serial"].as_str().unwrap(), entry["state"].as_str().unwrap())).collect();
    assert_eq!(states.len(), listed.len(), "no serial number twice");
    for serial in &received {
        let expected = if revoked.contains(serial) { "revoked" } else { "valid" };
        assert_eq!(states.get(serial.as_str()), Some(&expected), "{serial} was handed out");
    }
    let crl = rig.text_path("last.crl");
    rig.curl_plain("/ca.crl", &["--output", &crl, "--dump-header", "-", "--no-include"]);
    let shown = openssl(&["crl", "-inform", "DER", "-in", &crl, "-noout", "-text"]).to_ascii_lowercase();
    for serial in &revoked {
        assert!(shown.contains(serial.as_str()), "{serial} is not on the CRL: {shown}");
    }
    assert!(rig.ca(&["log", "--verify"]).contains("the log is whole"));
}

/// Enrols again and again with a bootstrap certificate, and gives the bodies of the good answers.
fn enrol_until(rig: &Rig, n: usize, stop: &AtomicBool) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    let url = rig.url("/.well-known/est/simpleenroll");
    while !stop.load(Ordering::Relaxed) {
        let output = Command::new(program("curl", CURL))
            .args(["--silent", "--fail", "--max-time", "10", "--cacert", &rig.text_path("ca/ca.pem")])
            .args(["--cert", &rig.text_path(&format!("b{n}.pem")), "-H", "content-type: application/pkcs10"])
            .args(["--data-binary", &format!("@{}", rig.text_path(&format!("k{n}.b64"))), &url])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if output.status.success() {
            answers.push(output.stdout);
        }
    }
    answers
}

#[test]
fn without_room_on_the_disk_nothing_is_issued_and_the_reason_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    // A file system of its own that is soon full; it ends with the shell.
    let script = "mount -t tmpfs -o size=1m none \"$1\" && cd \"$1\" && \"$2\" ca init --dir ca --trust-domain test.internal >/dev/null \
                  && dd if=/dev/zero of=fill bs=4k 2>/dev/null; \"$2\" ca issue --dir ca --name ads; echo \"exit $?\"; \
                  test ! -e ca/ads.pem || echo handed out; rm fill; \"$2\" ca issue --dir ca --name ads >/dev/null && echo works again";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(&small)
        .arg(env!("CARGO_BIN_EXE_mantlet"))
        .output()
        .unwrap();
    let (said, why) = (text(&output.stdout), text(&output.stderr));
    assert!(said.contains("exit 1") && !said.contains("handed out") && said.contains("works again"), "{said}{why}");
    assert!(why.contains("no room is left on the disk") || why.contains("No space left on device"), "{why}");
}

#[test]
fn a_backup_that_is_put_back_knows_all_that_was_issued_before_it() {
    let mut rig = Rig::new();
    let secret = rig.register("ads", &[]);
    rig.enrolled("ads", &secret);
    // As docs/authority.md has it: a copy that SQLite makes while the server runs.
    let backup = rig.text_path("backup.db");
    let copied = Command::new("python3")
        .args([
            "-c",
            "import sqlite3,sys\ns=sqlite3.connect(sys.argv[1]);d=sqlite3.connect(sys.argv[2]);s.backup(d);d.close()",
            &rig.text_path("ca/authority/authority.db"),
            &backup,
        ])
        .output()
        .unwrap();
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    let before = rig.list();
    rig.server.signal("TERM");
    rig.server.wait_for_exit();
    for name in ["authority.db", "authority.db-wal", "authority.db-shm"] {
        let _ = fs::remove_file(rig.path("ca/authority").join(name));
    }
    fs::copy(&backup, rig.path("ca/authority/authority.db")).unwrap();
    rig.server = crate::support::sidecar::Sidecar::start_authority(&super::rig::config(&rig.folder, "", ""));
    assert_eq!(rig.list(), before);
    let identity = rig.identity("ads");
    let options: Vec<&str> = identity.iter().map(String::as_str).collect();
    let request = rig.request("next", "/CN=x");
    assert_eq!(rig.enrol("simplereenroll", &request, &options).status, 200);
}
