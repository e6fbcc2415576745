//! `mantlet ca`: issuing, revoking and CRLs, with `openssl verify` as the judge.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const MANTLET: &str = env!("CARGO_BIN_EXE_mantlet");

struct Ca {
    folder: TempDir,
}

impl Ca {
    fn new(options: &[&str]) -> Self {
        let ca = Self { folder: tempfile::tempdir().expect("a folder") };
        ca.ok(&[&["init", "--trust-domain", "test.internal"], options].concat());
        ca
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("pki").join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(MANTLET);
        command.arg("ca").arg(args[0]).arg("--dir").arg(self.path("")).args(&args[1..]).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("runs")
    }

    /// The standard output of a command that must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The standard error of a command that must fail.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?} succeeded: {}", text(&output.stdout));
        text(&output.stderr)
    }

    fn list(&self) -> Vec<Value> {
        serde_json::from_str(&self.ok(&["list", "--json"])).expect("a JSON array")
    }

    fn ledger(&self) -> PathBuf {
        self.path("authority/ledger.jsonl")
    }

    /// What `openssl verify` says of a chain, its CRLs checked at every depth.
    fn judged(&self, name: &str, options: &[&str]) -> String {
        let (chain, anchors, crl) = (self.path(&format!("{name}.pem")), self.path("ca.pem"), self.path("ca.crl"));
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-crl_check_all"]).args(options);
        command.arg("-CAfile").arg(anchors).arg("-CRLfile").arg(crl).arg("-untrusted").arg(&chain).arg(&chain);
        let output = command.output().expect("openssl is installed");
        text(&output.stdout) + &text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn openssl(args: &[&str], file: &Path) -> String {
    let output = Command::new("openssl").args(args).arg("-in").arg(file).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {args:?} {}: {}", file.display(), text(&output.stderr));
    text(&output.stdout)
}

fn assert_pair_matches(folder: &Path, name: &str) {
    let of_certificate = openssl(&["x509", "-noout", "-pubkey"], &folder.join(format!("{name}.pem")));
    let of_key = openssl(&["pkey", "-pubout"], &folder.join(format!("{name}.key")));
    assert_eq!(of_certificate, of_key, "{name}: key and certificate");
}

fn serial_of(file: &Path) -> String {
    let line = openssl(&["x509", "-noout", "-serial"], file);
    line.trim().trim_start_matches("serial=").to_ascii_lowercase()
}

fn crl_numbers(file: &Path) -> Vec<u64> {
    let pem = fs::read_to_string(file).expect("a CRL");
    let each = pem.split_inclusive("-----END X509 CRL-----\n").map(|one| {
        let single = tempfile::NamedTempFile::new().expect("a file");
        fs::write(single.path(), one).expect("written");
        let number = openssl(&["crl", "-noout", "-crlnumber"], single.path());
        u64::from_str_radix(number.trim().trim_start_matches("crlNumber=0x"), 16).expect("a number")
    });
    each.collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing from: {message}");
    }
}

#[test]
fn a_certificate_is_good_until_it_is_revoked_and_the_next_crl_says_so() {
    for algorithm in ["p256", "p384", "ed25519"] {
        let ca = Ca::new(&["--algorithm", algorithm]);
        ca.ok(&["issue", "--name", "ads", "--dns", "Ads.Internal", "--ip", "::1", "--algorithm", algorithm]);
        ca.ok(&["issue", "--name", "users"]);
        ca.ok(&["crl"]);
        for purpose in ["sslclient", "sslserver"] {
            assert_says(&ca.judged("ads", &["-purpose", purpose]), &["ads.pem: OK"]);
        }
        assert_says(&ca.judged("ads", &["-verify_hostname", "ads.internal"]), &["ads.pem: OK"]);
        assert_says(&ca.judged("ads", &["-verify_ip", "::1"]), &["ads.pem: OK"]);
        assert_says(
            &openssl(&["x509", "-noout", "-text"], &ca.path("ads.pem")),
            &["URI:spiffe://test.internal/ads", "Digital Signature", "Authority Key Identifier", "CA:FALSE"],
        );

        let pem = ca.path("ads.pem");
        ca.ok(&["revoke", "--cert", pem.to_str().expect("UTF-8"), "--reason", "keyCompromise"]);
        ca.ok(&["crl"]);
        assert_says(&ca.judged("ads", &[]), &["error 23", "certificate revoked"]);
        assert_says(&ca.judged("users", &[]), &["users.pem: OK"]);
        let crl = openssl(&["crl", "-noout", "-text"], &ca.path("ca.crl"));
        assert_says(&crl, &["Version 2", "Authority Key Identifier", "Key Compromise"]);
        let states: Vec<_> = ca.list().iter().map(|entry| entry["state"].as_str().map(str::to_owned)).collect();
        assert_eq!(states, [Some("revoked".to_owned()), Some("valid".to_owned())]);
        assert_says(&ca.ok(&["list"]), &["SERIAL", "spiffe://test.internal/ads", "revoked (keyCompromise, "]);
    }
}

#[test]
fn usage_limits_what_a_certificate_is_good_for() {
    let ca = Ca::new(&[]);
    ca.ok(&["issue", "--name", "caller", "--usage", "client"]);
    ca.ok(&["crl"]);
    assert_says(&ca.judged("caller", &["-purpose", "sslclient"]), &["caller.pem: OK"]);
    assert_says(&ca.judged("caller", &["-purpose", "sslserver"]), &["error 26"]);
}

#[test]
fn validity_begins_a_little_early_and_ends_with_the_ttl_or_the_issuer() {
    let ca = Ca::new(&["--ttl", "2h"]);
    let issued: Value =
        serde_json::from_str(&ca.ok(&["issue", "--name", "ads", "--ttl", "1h", "--json"])).expect("JSON");
    let time =
        |key: &str| humantime::parse_rfc3339(issued["certificate"][key].as_str().expect("text")).expect("a time");
    assert_eq!(time("not_after"), time("not_before") + Duration::from_secs(3600 + 300));

    let output = ca.run(&["issue", "--name", "users", "--ttl", "24h"]);
    assert!(output.status.success());
    assert_says(&text(&output.stderr), &["warning: the root certificate ends at", "and so does this one"]);
    let dates = |name: &str| openssl(&["x509", "-noout", "-enddate"], &ca.path(name));
    assert_eq!(dates("users.pem"), dates("ca.pem"));
    assert_says(&ca.refused(&["issue", "--name", "users", "--ttl", "398d"]), &["--ttl 1year", "longer than the 397d"]);
    assert_says(
        &ca.refused(&["issue", "--name", "users", "--ttl", "10ms"]),
        &["--ttl 10ms", "shorter than one second"],
    );
}

#[test]
fn an_intermediate_issues_while_the_root_key_is_away() {
    let ca = Ca::new(&["--intermediate"]);
    let (key, away) = (ca.path("authority/root.key"), ca.folder.path().join("root.key"));
    fs::rename(&key, &away).expect("moved");
    ca.ok(&["issue", "--name", "ads"]);
    ca.ok(&["issue", "--name", "gateway"]);
    assert_says(&ca.ok(&["crl"]), &["signed the intermediate's CRL number 1", "kept the root's CRL number 1"]);
    assert_says(&ca.judged("ads", &[]), &["ads.pem: OK"]);
    ca.ok(&["revoke", "--cert", ca.path("ads.pem").to_str().expect("UTF-8")]);
    ca.ok(&["crl"]);
    assert_says(&ca.judged("ads", &[]), &["error 23 at 0 depth"]);

    // The intermediate itself: revoked at once in the ledger, and on the CRL only with the root key.
    let intermediate = ca.path("authority/intermediate.pem");
    ca.ok(&["revoke", "--cert", intermediate.to_str().expect("UTF-8"), "--reason", "cACompromise"]);
    assert_says(&ca.refused(&["issue", "--name", "users"]), &["the intermediate certificate was revoked at"]);
    assert_says(&ca.refused(&["crl"]), &["lacks serial", "bring the root key back to", "root.key"]);
    fs::rename(&away, &key).expect("moved back");
    ca.ok(&["crl"]);
    assert_eq!(crl_numbers(&ca.path("ca.crl")), [3, 2]);
    assert_says(&ca.judged("gateway", &[]), &["error 23 at 1 depth"]);
}

#[test]
fn twenty_concurrent_issues_give_twenty_serials_and_a_whole_ledger() {
    let ca = Ca::new(&[]);
    let children: Vec<_> = (0..20)
        .map(|n| ca.command(&["issue", "--name", &format!("s{n}")]).stdout(Stdio::null()).spawn().expect("spawned"))
        .collect();
    for mut child in children {
        assert!(child.wait().expect("ended").success());
    }
    let listed = ca.list();
    let serials: HashSet<_> = listed.iter().map(|entry| entry["serial"].as_str().expect("text")).collect();
    assert_eq!((listed.len(), serials.len()), (20, 20));
    for n in 0..20 {
        assert!(serials.contains(&*serial_of(&ca.path(&format!("s{n}.pem")))), "s{n}");
    }
}

#[test]
fn concurrent_issues_of_one_name_leave_a_key_and_certificate_that_match() {
    let ca = Ca::new(&[]);
    let spawn = || ca.command(&["issue", "--name", "ads"]).stdout(Stdio::null()).spawn().expect("spawned");
    for mut child in [(); 8].map(|()| spawn()) {
        assert!(child.wait().expect("ended").success());
    }
    assert_pair_matches(&ca.path(""), "ads");
}

#[test]
fn of_concurrent_inits_one_makes_the_authority_and_the_others_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Ca { folder };
    let spawn = || {
        let mut command = ca.command(&["init", "--trust-domain", "test.internal"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("spawned")
    };
    let outputs = [(); 8].map(|()| spawn()).map(|child| child.wait_with_output().expect("ended"));
    assert_eq!(outputs.iter().filter(|output| output.status.success()).count(), 1);
    for output in outputs.iter().filter(|output| !output.status.success()) {
        assert_says(&text(&output.stderr), &["exists already, and an authority is never overwritten"]);
    }
    ca.ok(&["issue", "--name", "ads"]);
    ca.ok(&["crl"]);
    assert_says(&ca.judged("ads", &[]), &["ads.pem: OK"]);
    let hidden = fs::read_dir(ca.path(""))
        .expect("a folder")
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with('.')));
    assert_eq!(hidden.count(), 0, "nothing is left behind");
}

/// Kills `issue` at moments spread over its whole run. Every moment must be harmless, so none need be hit exactly.
#[test]
fn issue_killed_at_any_moment_leaves_no_certificate_without_a_record() {
    const ROUNDS: u32 = 40;
    let ca = Ca::new(&[]);
    let begun = Instant::now();
    ca.ok(&["issue", "--name", "warm"]);
    let whole_run = begun.elapsed();
    for round in 0..ROUNDS {
        let mut child =
            ca.command(&["issue", "--name", &format!("s{round}")]).stdout(Stdio::null()).spawn().expect("spawned");
        let (begun, moment) = (Instant::now(), whole_run * round / ROUNDS);
        while begun.elapsed() < moment && child.try_wait().expect("a child").is_none() {
            thread::yield_now();
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
    let listed = ca.list();
    let serials: HashSet<_> = listed.iter().map(|entry| entry["serial"].as_str().expect("text")).collect();
    assert_eq!(serials.len(), listed.len(), "no serial twice");
    for name in (0..ROUNDS).map(|round| format!("s{round}")).filter(|name| ca.path(&format!("{name}.pem")).exists()) {
        assert!(serials.contains(&*serial_of(&ca.path(&format!("{name}.pem")))), "{name} was handed out unrecorded");
        assert_pair_matches(&ca.path(""), &name);
    }
    for round in 0..ROUNDS {
        ca.ok(&["issue", "--name", &format!("s{round}")]);
    }
    ca.ok(&["crl"]);
    assert_says(&ca.judged("s0", &[]), &["s0.pem: OK"]);
    assert_eq!(ca.list().len(), listed.len() + ROUNDS as usize);
}

/// Puts the store of an authority back into the form that it had before there was a database.
fn as_ledger(ca: &Ca) {
    let mut lines = vec![
        r#"{"event":"created","version":1,"trust_domain":"test.internal","at":"2026-01-01T00:00:00Z"}"#.to_owned(),
    ];
    let listed: Vec<Value> = serde_json::from_str(&ca.ok(&["list", "--all", "--json"])).expect("a JSON array");
    for mut entry in listed {
        let fields = entry.as_object_mut().expect("an object");
        let revoked = [fields.remove("revoked_at"), fields.remove("reason")];
        fields.remove("state");
        fields.insert("event".into(), "issued".into());
        lines.push(entry.to_string());
        if let [Some(at), Some(reason)] = revoked {
            let serial = &entry["serial"];
            lines.push(format!(r#"{{"event":"revoked","serial":{serial},"at":{at},"reason":{reason}}}"#));
        }
    }
    lines.push(
        r#"{"event":"crl","issuer":"root","number":41,"this_update":"2026-01-01T00:00:00Z","next_update":"2026-01-02T00:00:00Z"}"#
            .into(),
    );
    fs::write(ca.ledger(), lines.join("\n") + "\n").expect("written");
    for name in ["authority.db", "authority.db-wal", "authority.db-shm"] {
        let file = ca.path("authority").join(name);
        assert!(!file.exists() || fs::remove_file(file).is_ok());
    }
}

#[test]
fn a_ledger_of_an_earlier_version_is_taken_over_once_with_all_that_it_says() {
    let ca = Ca::new(&[]);
    ca.ok(&["issue", "--name", "ads", "--dns", "ads.internal", "--ip", "::1"]);
    ca.ok(&["issue", "--name", "users"]);
    ca.ok(&["revoke", "--cert", ca.path("ads.pem").to_str().expect("UTF-8"), "--reason", "superseded"]);
    let before = ca.ok(&["list", "--all", "--json"]);
    as_ledger(&ca);
    assert_eq!(ca.ok(&["list", "--all", "--json"]), before);
    assert!(!ca.ledger().exists() && ca.path("authority/ledger.jsonl.imported").exists());
    ca.ok(&["crl"]);
    assert_eq!(crl_numbers(&ca.path("ca.crl")), [42], "numbers go on");
    assert_says(&ca.judged("ads", &[]), &["error 23"]);
    assert_says(&ca.judged("users", &[]), &["users.pem: OK"]);
}

#[test]
fn a_store_of_an_earlier_version_is_brought_up_to_date_and_loses_nothing() {
    let ca = Ca::new(&[]);
    for name in ["ads", "users", "gateway"] {
        ca.ok(&["issue", "--name", name]);
    }
    ca.ok(&["revoke", "--name", "ads"]);
    ca.ok(&["crl"]);
    ca.ok(&["revoke", "--name", "users"]);
    let before = ca.ok(&["list", "--all", "--json"]);
    // As the first version of the schema was.
    let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nfor s in ['DROP TABLE delta_crls','DROP INDEX \
         certificates_by_revocation','ALTER TABLE certificates DROP COLUMN revoked_version','UPDATE schema_version SET version=1']: \
         c.execute(s)\nc.commit()";
    let undone = Command::new("python3").args(["-c", script]).arg(ca.path("authority/authority.db")).output();
    let undone = undone.expect("python3 is installed");
    assert!(undone.status.success(), "{}", text(&undone.stderr));
    assert_eq!(ca.ok(&["list", "--all", "--json"]), before);
    ca.ok(&["crl"]);
    assert_eq!(crl_numbers(&ca.path("ca.crl")), [2], "numbers go on");
    assert_says(&ca.judged("ads", &[]), &["error 23"]);
    assert_says(&ca.judged("users", &[]), &["error 23"]);
    assert_says(&ca.judged("gateway", &[]), &["gateway.pem: OK"]);
}

#[test]
fn of_commands_that_find_a_ledger_at_once_one_takes_it_over() {
    let ca = Ca::new(&[]);
    as_ledger(&ca);
    let spawn = |n: usize| {
        ca.command(&["issue", "--name", &format!("s{n}")]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
    };
    let children: Vec<_> = (0..6).map(|n| spawn(n).expect("spawned")).collect();
    for child in children {
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert_eq!(ca.list().len(), 6);
}

#[test]
fn a_torn_last_line_of_a_ledger_is_dropped_with_a_warning_and_a_corrupt_one_stops_everything() {
    let ca = Ca::new(&[]);
    ca.ok(&["issue", "--name", "ads"]);
    let append = |line: &str| {
        let mut file = fs::OpenOptions::new().append(true).open(ca.ledger()).expect("a ledger");
        file.write_all(line.as_bytes()).expect("appended");
    };
    as_ledger(&ca);
    append("{\"event\":\"issued\",\"serial\":\"4f");
    let output = ca.run(&["issue", "--name", "users"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_says(&text(&output.stderr), &["ledger.jsonl: the last line was torn by a crash and is dropped"]);
    assert_eq!(ca.list().len(), 2);

    as_ledger(&ca);
    append("nonsense\n");
    for args in [&["issue", "--name", "x"][..], &["list"], &["crl"], &["revoke", "--serial", "01"]] {
        assert_says(
            &ca.refused(args),
            &["authority/ledger.jsonl: line 6 is corrupt", "restore the file from a backup"],
        );
    }
    assert!(!ca.path("x.pem").exists());
}

#[test]
fn a_missing_or_corrupt_store_stops_everything() {
    let ca = Ca::new(&[]);
    ca.ok(&["issue", "--name", "ads"]);
    let store = ca.path("authority/authority.db");
    let whole = fs::read(&store).expect("a store");
    let refused = |contents: &[u8], says: &[&str]| {
        fs::write(&store, contents).expect("written");
        for args in [&["issue", "--name", "x"][..], &["list"], &["crl"], &["revoke", "--serial", "01"]] {
            assert_says(&ca.refused(args), says);
        }
    };
    refused(
        b"nonsense that is no database at all, and longer than its header would be",
        &["authority.db", "is corrupt"],
    );
    let mut damaged = whole.clone();
    damaged[4096..].fill(0x55);
    refused(&damaged, &["authority.db", "is corrupt", "restore it from a backup"]);
    refused(&whole[..whole.len() / 2], &["authority.db", "is corrupt", "restore it from a backup"]);
    fs::remove_file(&store).expect("removed");
    assert_says(&ca.refused(&["issue", "--name", "x"]), &["the store is missing", "restore it from a backup"]);
    assert!(!ca.path("x.pem").exists());
}

#[test]
fn keys_and_the_authority_are_private_and_what_is_handed_out_is_not() {
    let ca = Ca::new(&["--intermediate"]);
    let out = ca.folder.path().join("elsewhere");
    ca.ok(&["issue", "--name", "ads", "--out", out.to_str().expect("UTF-8")]);
    ca.ok(&["crl"]);
    for name in ["authority/root.key", "authority/intermediate.key", "authority/authority.db"] {
        assert_eq!(mode(&ca.path(name)), 0o600, "{name}");
    }
    assert_eq!((mode(&ca.path("authority")), mode(&out.join("ads.key"))), (0o700, 0o600));
    assert_eq!((mode(&ca.path("ca.pem")), mode(&ca.path("ca.crl")), mode(&out.join("ads.pem"))), (0o644, 0o644, 0o644));
    assert!(!ca.path("ads.pem").exists());

    fs::set_permissions(ca.path("authority/intermediate.key"), fs::Permissions::from_mode(0o644)).expect("changed");
    let output = ca.run(&["issue", "--name", "users"]);
    assert!(output.status.success());
    assert_says(&text(&output.stderr), &["intermediate.key: mode 644 lets others in", "run \"chmod 600"]);
}

#[test]
fn init_never_overwrites_and_restores_a_lost_trust_anchor() {
    let ca = Ca::new(&[]);
    let root = fs::read(ca.path("authority/root.key")).expect("a key");
    let again = ["init", "--trust-domain", "other.internal"];
    assert_says(&ca.refused(&again), &["pki/authority: exists already"]);
    let anchor = fs::read(ca.path("ca.pem")).expect("an anchor");
    fs::remove_file(ca.path("ca.pem")).expect("removed");
    assert_says(&ca.refused(&again), &["pki/authority: exists already"]);
    ca.ok(&["issue", "--name", "ads"]);
    assert_eq!(fs::read(ca.path("ca.pem")).expect("an anchor"), anchor);
    assert_eq!(fs::read(ca.path("authority/root.key")).expect("a key"), root);

    let foreign = Ca { folder: tempfile::tempdir().expect("a folder") };
    fs::create_dir(foreign.path("")).expect("made");
    fs::write(foreign.path("ca.pem"), "another authority's").expect("written");
    assert_says(&foreign.refused(&again), &["ca.pem: exists already"]);
}

#[test]
fn refusals_name_the_value_and_the_remedy() {
    let ca = Ca::new(&[]);
    for (args, parts) in [
        (&["issue", "--name", "../ads"][..], &["\"../ads\"", "is not 1 to 64 of"][..]),
        (&["issue", "--name", "ca"], &["the authority's own"]),
        (&["issue", "--name", "ads", "--dns", "a..b"], &["\"a..b\" is not a DNS name"]),
        (&["issue", "--name", "ads", "--dns", "10.0.0.7"], &["use --ip 10.0.0.7"]),
        (&["issue", "--name", "ads", "--spiffe", "spiffe://evil/ads"], &["spiffe://evil/ads", "\"test.internal\""]),
        (&["issue", "--name", "ads", "--spiffe", "spiffe://test.internal"], &["names the trust domain and no member"]),
        (&["revoke", "--serial", "abcd"], &["serial abcd was not issued by this authority", "mantlet ca list"]),
        (&["revoke", "--serial", "abcd", "--reason", "mood"], &["'mood'", "keyCompromise"]),
        (&["revoke"], &["--cert <FILE>|--serial <HEX>"]),
        (&["crl", "--next-update", "0s"], &["--next-update 0s is shorter than one second"]),
    ] {
        assert_says(&ca.refused(args), parts);
    }
    assert_eq!(ca.list().len(), 0);
    assert_eq!(fs::read_dir(ca.path("")).expect("a folder").count(), 2, "nothing but authority and ca.pem");

    let nothing = Ca { folder: tempfile::tempdir().expect("a folder") };
    assert_says(&nothing.refused(&["list"]), &["no certificate authority in this directory", "mantlet ca init --dir"]);
    fs::rename(ca.path("authority/root.key"), ca.folder.path().join("root.key")).expect("moved");
    assert_says(&ca.refused(&["issue", "--name", "ads"]), &["authority/root.key: the root key is missing"]);
    fs::write(ca.path("authority/root.key"), "no key").expect("written");
    assert_says(&ca.refused(&["issue", "--name", "ads"]), &["authority/root.key: not a PKCS #8 private key"]);
}

#[test]
fn certificates_of_others_cannot_be_revoked_here() {
    let (ca, other) = (Ca::new(&[]), Ca::new(&[]));
    ca.ok(&["issue", "--name", "ads"]);
    other.ok(&["issue", "--name", "ads"]);
    let foreign = other.path("ads.pem");
    let foreign = foreign.to_str().expect("UTF-8");
    assert_says(&ca.refused(&["revoke", "--cert", foreign]), &["was issued by \"mantlet root ", "revoke it there"]);

    // A certificate of another authority that claims a serial number of ours.
    let serial = serial_of(&ca.path("ads.pem"));
    let forged = ca.folder.path().join("forged.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ads"])
        .args(["-set_serial", &format!("0x{serial}"), "-keyout", "/dev/null", "-out"])
        .arg(&forged)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let forged = forged.to_str().expect("UTF-8");
    assert_says(&ca.refused(&["revoke", "--cert", forged]), &["is not the certificate issued under it"]);
    let root = ca.path("ca.pem");
    let refusal = ca.refused(&["revoke", "--cert", root.to_str().expect("UTF-8")]);
    assert_says(&refusal, &["is the root, which no CRL can revoke"]);
    assert_eq!(ca.list()[0]["state"], "valid");
}

#[test]
fn revoking_twice_succeeds_and_keeps_the_first_date_and_reason() {
    let ca = Ca::new(&[]);
    ca.ok(&["issue", "--name", "ads"]);
    let serial = serial_of(&ca.path("ads.pem")).to_uppercase();
    ca.ok(&["revoke", "--serial", &serial, "--reason", "superseded"]);
    let before = ca.list();
    let again = ca.ok(&["revoke", "--serial", &serial, "--reason", "keyCompromise"]);
    assert_says(&again, &["is revoked already, since ", "(superseded); nothing changed"]);
    assert_eq!(ca.list(), before);
}

#[test]
fn crl_numbers_rise_by_one_also_from_concurrent_commands() {
    let ca = Ca::new(&[]);
    let out = |n: usize| ca.folder.path().join(format!("{n}.crl"));
    let children: Vec<_> = (0..8)
        .map(|n| {
            let path = out(n);
            let mut command = ca.command(&["crl", "--out", path.to_str().expect("UTF-8")]);
            command.stdout(Stdio::null()).spawn().expect("spawned")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("ended").success());
    }
    let mut numbers: Vec<_> = (0..8).flat_map(|n| crl_numbers(&out(n))).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    ca.ok(&["crl"]);
    assert_eq!(crl_numbers(&ca.path("ca.crl")), [9]);
}

#[test]
fn a_reader_of_the_output_that_has_gone_away_is_no_failure() {
    let ca = Ca::new(&[]);
    for args in [
        &["issue", "--name", "ads"][..],
        &["issue", "--name", "users", "--json"],
        &["crl"],
        &["register", "carts"],
        &["suspend", "carts"],
        &["log"],
        &["revoke", "--name", "ads"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = ca.command(args).stdout(writer).stderr(Stdio::piped()).output().expect("runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {}", text(&output.stderr));
    }
    let states: Vec<_> = ca.list().iter().map(|entry| entry["state"].clone()).collect();
    assert_eq!(states, ["revoked", "valid"], "it is done all the same");
}
