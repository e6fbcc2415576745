//! The authority's keys are encrypted, with openssl as their other reader.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::rig::{config, openssl, text};
use crate::support::pki::write_private;
use crate::support::sidecar::Sidecar;

const MANTLET: &str = env!("CARGO_BIN_EXE_mantlet");
const VARIABLE: &str = "MANTLET_CA_PASSPHRASE_FILE";

/// An authority whose keys are encrypted, and the files of its passphrase and of another.
struct Sealed {
    folder: TempDir,
}

impl Sealed {
    fn new(options: &[&str]) -> Self {
        let sealed = Self { folder: tempfile::tempdir().unwrap() };
        write_private(&sealed.path("passphrase"), "correct horse: battery staple\n");
        write_private(&sealed.path("other"), "incorrect\n");
        let passphrase = sealed.text_path("passphrase");
        let made = sealed.ca(&[
            &["init", "--trust-domain", "test.internal", "--passphrase-file", &passphrase],
            options,
        ]
        .concat());
        assert!(made.status.success(), "{}", text(&made.stderr));
        sealed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(MANTLET);
        command.arg("ca").args(args).args(["--dir", &self.text_path("ca")]).env_remove(VARIABLE);
        command
    }

    fn ca(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The standard error of a command that must fail.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.ca(args);
        assert!(!output.status.success(), "{args:?} succeeded: {}", text(&output.stdout));
        text(&output.stderr)
    }
}

#[test]
fn keys_made_with_a_passphrase_open_with_it_alone_and_openssl_agrees() {
    for algorithm in ["p256", "ed25519"] {
        let sealed = Sealed::new(&["--intermediate", "--algorithm", algorithm]);
        for name in ["root", "intermediate"] {
            let key = sealed.text_path(&format!("ca/authority/{name}.key"));
            assert!(fs::read_to_string(&key).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{name}");
            let passphrase = |file: &str| format!("file:{}", sealed.text_path(file));
            let of_key = openssl(&["pkey", "-in", &key, "-passin", &passphrase("passphrase"), "-pubout"]);
            let certificate = sealed.text_path(&format!("ca/authority/{name}.pem"));
            assert_eq!(of_key, openssl(&["x509", "-in", &certificate, "-noout", "-pubkey"]), "{name}");
            let other = ["pkey", "-in", &key, "-passin", &passphrase("other"), "-noout"];
            assert!(
                !Command::new("openssl").args(other).output().unwrap().status.success(),
                "{name}: another opens it"
            );
        }
    }
}

#[test]
fn a_missing_or_wrong_passphrase_is_named_and_the_right_one_is_taken_from_option_and_environment() {
    let sealed = Sealed::new(&[]);
    let missing = sealed.refused(&["issue", "--name", "ads"]);
    for part in
        ["authority/root.key: the key is encrypted", "--passphrase-file", "passphrase_file under [authority]", VARIABLE]
    {
        assert!(missing.contains(part), "{part:?} is missing from {missing}");
    }
    let (other, right) = (sealed.text_path("other"), sealed.text_path("passphrase"));
    let wrong = sealed.refused(&["issue", "--name", "ads", "--passphrase-file", &other]);
    assert!(wrong.contains("authority/root.key: the passphrase in") && wrong.contains(&other), "{wrong}");
    fs::write(sealed.path("empty"), "\n").unwrap();
    let empty = sealed.refused(&["crl", "--passphrase-file", &sealed.text_path("empty")]);
    assert!(empty.contains("empty: holds no passphrase"), "{empty}");
    for secret in ["correct", "incorrect"] {
        assert!(![&missing, &wrong, &empty].iter().any(|said| said.contains(secret)), "a passphrase is told");
    }

    let issued = sealed.ca(&["issue", "--name", "ads", "--passphrase-file", &right]);
    assert!(issued.status.success(), "{}", text(&issued.stderr));
    let signed = sealed.command(&["crl"]).env(VARIABLE, &right).output().unwrap();
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    let listed = sealed.ca(&["list"]);
    assert!(listed.status.success(), "what needs no key needs no passphrase: {}", text(&listed.stderr));
}

#[test]
fn the_server_issues_with_the_passphrase_of_its_file_and_says_so_without_it() {
    let sealed = Sealed::new(&["--intermediate"]);
    let (status, said) = Sidecar::start_authority_and_fail(&config(&sealed.folder, "", ""));
    assert!(!status.success() && said.contains("authority/intermediate.key: the key is encrypted"), "{said}");
    let key = |file: &str| format!("passphrase_file = \"{}\"", sealed.text_path(file));
    let (status, said) = Sidecar::start_authority_and_fail(&config(&sealed.folder, &key("other"), ""));
    assert!(!status.success() && said.contains("authority/intermediate.key: the passphrase in"), "{said}");
    let server = Sidecar::start_authority(&config(&sealed.folder, &key("passphrase"), ""));
    assert_eq!(server.status()["ready"], true);
}

#[test]
fn a_rotation_makes_no_key_in_plaintext_beside_encrypted_ones() {
    let sealed = Sealed::new(&[]);
    let refusal = sealed.refused(&["rotate", "start"]);
    assert!(refusal.contains("authority/root.key: the key is encrypted"), "{refusal}");
    assert!(!sealed.path("ca/authority/root-2.key").exists());
    let started = sealed.ca(&["rotate", "start", "--passphrase-file", &sealed.text_path("passphrase")]);
    assert!(started.status.success(), "{}", text(&started.stderr));
    let key = fs::read_to_string(sealed.path("ca/authority/root-2.key")).unwrap();
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
}

#[test]
fn a_rotation_goes_on_with_the_passphrase_that_opens_the_keys_alone() {
    let sealed = Sealed::new(&[]);
    let (other, right) = (sealed.text_path("other"), sealed.text_path("passphrase"));
    let wrong = sealed.refused(&["rotate", "start", "--passphrase-file", &other]);
    assert!(wrong.contains("authority/root.key: the passphrase in"), "{wrong}");

    let (key, away) = (sealed.path("ca/authority/root.key"), sealed.path("root.key"));
    fs::rename(&key, &away).unwrap();
    let missing = sealed.refused(&["rotate", "start"]);
    assert!(missing.contains("root.key: the root key is missing, and rotating the authority needs it"), "{missing}");
    assert!(!sealed.path("ca/authority/root-2.key").exists());
    fs::rename(&away, &key).unwrap();

    let started = sealed.ca(&["rotate", "start", "--passphrase-file", &right]);
    assert!(started.status.success(), "{}", text(&started.stderr));
    let sealed_out = sealed.refused(&["rotate", "switch"]);
    assert!(sealed_out.contains("root-2.key: the key is encrypted"), "{sealed_out}");
    let wrong = sealed.refused(&["rotate", "switch", "--passphrase-file", &other]);
    assert!(wrong.contains("root-2.key: the passphrase in"), "{wrong}");
    for args in [&["rotate", "switch"][..], &["issue", "--name", "ads"]] {
        let done = sealed.ca(&[args, &["--passphrase-file", &right]].concat());
        assert!(done.status.success(), "{args:?}: {}", text(&done.stderr));
    }
}
