//! `mantlet check` and `mantlet completions`: the program, its output and its exit code.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use serde_json::Value;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

const CONFIG: &str = r#"[identity]
certificate = "ads.pem"
private_key = "ads.key"

[trust]
anchors = ["ca.pem"]

[revocation]
sources = ["ca.crl"]

[[inbound]]
name = "ads"
listen = "0.0.0.0:8443"
forward_to = "127.0.0.1:8080"
allow = ["spiffe://fm/gateway"]

[[outbound]]
name = "users"
listen = "127.0.0.1:9001"
connect_to = "userservice:8443"

[admin]
listen = "127.0.0.1:9900"
"#;

/// A folder with a CA, a certificate for `spiffe://fm/ads`, a CRL and a configuration file.
struct Folder {
    folder: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Folder {
    fn new() -> Self {
        let folder = Self { folder: tempfile::tempdir().expect("a folder"), ca: authority("fm CA") };
        folder.write("ca.pem", &folder.ca.pem());
        folder.issue("ads", Duration::days(2));
        folder.publish_crl(Duration::days(20));
        folder.write("ads.toml", CONFIG);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("written");
    }

    /// The configuration with a part replaced.
    fn configure(&self, old: &str, new: &str) {
        assert_eq!(CONFIG.matches(old).count(), 1, "{old}");
        self.write("ads.toml", &CONFIG.replace(old, new));
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str, lifetime: Duration) {
        let service = Path::new(name).file_name().and_then(|name| name.to_str()).expect("a name");
        let spiffe_id = format!("spiffe://fm/{service}");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().expect("ASCII"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = OffsetDateTime::now_utc() - Duration::days(30);
        params.not_after = OffsetDateTime::now_utc() + lifetime;
        let key = KeyPair::generate().expect("a key");
        self.write(&format!("{name}.pem"), &params.signed_by(&key, &self.ca).expect("signed").pem());
        self.write_key(&format!("{name}.key"), &key);
    }

    fn write_key(&self, name: &str, key: &KeyPair) {
        use std::os::unix::fs::PermissionsExt;
        self.write(name, &key.serialize_pem());
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.folder.path().join(name), mode).expect("changed");
    }

    fn publish_crl(&self, lifetime: Duration) {
        let crl = CertificateRevocationListParams {
            this_update: OffsetDateTime::now_utc() - Duration::hours(1),
            next_update: OffsetDateTime::now_utc() + lifetime,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("ca.crl", &crl.signed_by(&self.ca).expect("signed").pem().expect("PEM"));
    }

    /// Runs `mantlet check ads.toml` in the folder.
    fn check(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = mantlet(self.folder.path(), &[&["check", "ads.toml"], arguments].concat());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    }

    fn check_json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let (code, text) = self.check(&[&["--json"], arguments].concat());
        (code, serde_json::from_str(&text).expect("JSON"))
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = OffsetDateTime::now_utc() - Duration::days(60);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(100);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

fn mantlet(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mantlet"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("CERTS")
        .output()
        .expect("started")
}

/// The messages of a JSON report with the texts they point to.
fn problems(report: &Value) -> Vec<(String, String)> {
    let text = |problem: &Value, key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let list = report["problems"].as_array().expect("a list");
    list.iter().map(|problem| (text(problem, "message"), text(problem, "text"))).collect()
}

#[test]
fn a_good_file_is_summed_up() {
    let (code, text) = Folder::new().check(&[]);
    assert_eq!(code, Some(0), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("identity  spiffe://fm/ads, ends on 20"), "{text}");
    assert!(lines[0].ends_with("Z, in 1d 23h"), "{text}");
    assert!(text.contains("\nanchor    CN=fm CA,"), "{text}");
    assert!(text.contains("\nCRL       CN=fm CA,"), "{text}");
    let rest = "\
inbound   ads: 0.0.0.0:8443 -> 127.0.0.1:8080, http, client certificate required, allows spiffe://fm/gateway
outbound  users: 127.0.0.1:9001 -> userservice:8443, http, expects userservice
admin     127.0.0.1:9900
ads.toml: good
";
    assert!(text.ends_with(rest), "{text}");
}

#[test]
fn a_good_file_is_summed_up_in_json() {
    let (code, report) = Folder::new().check_json(&[]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!((&report["ok"], &report["file"]), (&Value::Bool(true), &Value::from("ads.toml")));
    assert_eq!(report["problems"], Value::Array(Vec::new()));
    assert_eq!(report["identity"]["name"], "spiffe://fm/ads");
    let kinds: Vec<&Value> = report["listeners"].as_array().expect("a list").iter().map(|one| &one["kind"]).collect();
    assert_eq!(kinds, ["inbound", "outbound", "admin"]);
    assert_eq!(report["listeners"][0]["allow"][0], "spiffe://fm/gateway");
}

#[test]
fn a_problem_is_shown_with_its_place_underlined() {
    let folder = Folder::new();
    folder.configure("allow =", "alow =");
    let (code, text) = folder.check(&[]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(text);
}

#[test]
fn a_problem_in_json_has_file_line_column_text_and_remedy() {
    let folder = Folder::new();
    folder.configure("\"userservice:8443\"", "\"userservice\"");
    let (code, report) = folder.check_json(&[]);
    assert_eq!(code, Some(1));
    assert_eq!(report["ok"], false);
    insta::assert_snapshot!(format!("{:#}", report["problems"]));
    assert_eq!(report["identity"]["name"], "spiffe://fm/ads", "the certificates are judged all the same");
}

#[test]
fn certificates_are_judged_although_a_listener_is_wrong() {
    let folder = Folder::new();
    folder.configure("\"127.0.0.1:9900\"", "\"nowhere\"");
    folder.issue("ads", -Duration::days(1));
    let (code, report) = folder.check_json(&[]);
    assert_eq!(code, Some(1));
    let found = problems(&report);
    assert!(found.iter().any(|(message, text)| message.contains("expired") && text == "\"ads.pem\""), "{found:?}");
    assert!(found.iter().any(|(message, text)| message.contains("admin.listen") && text == "\"nowhere\""), "{found:?}");
}

#[test]
fn a_missing_certificate_and_a_missing_key_are_both_told_of() {
    let folder = Folder::new();
    folder.configure("\"ads.pem\"\nprivate_key = \"ads.key\"", "\"no.pem\"\nprivate_key = \"no.key\"");
    let (code, report) = folder.check_json(&[]);
    assert_eq!(code, Some(1));
    let found: Vec<String> = problems(&report).into_iter().map(|(_, text)| text).collect();
    assert_eq!(found, ["\"no.pem\"", "\"no.key\""]);
}

#[test]
fn a_key_of_another_certificate_is_refused_at_its_place() {
    let folder = Folder::new();
    folder.write_key("ads.key", &KeyPair::generate().expect("a key"));
    let (code, report) = folder.check_json(&[]);
    assert_eq!(code, Some(1));
    let found = problems(&report);
    assert!(matches!(&found[..], [(_, text)] if text == "\"ads.key\""), "{found:?}");
}

#[test]
fn an_anchor_that_did_not_issue_our_certificate_is_refused() {
    let folder = Folder::new();
    folder.write("ca.pem", &authority("another CA").pem());
    let (code, report) = folder.check_json(&[]);
    assert_eq!(code, Some(1));
    let found = problems(&report);
    assert!(found.iter().any(|(_, text)| text == "\"ads.pem\""), "{found:?}");
    assert!(found.iter().any(|(_, text)| text == "\"ca.crl\""), "{found:?}");
}

#[test]
fn missing_files_are_each_a_problem() {
    let folder = Folder::new();
    for name in ["ads.pem", "ca.pem", "ca.crl"] {
        fs::remove_file(folder.folder.path().join(name)).expect("removed");
    }
    let (code, report) = folder.check_json(&[]);
    assert_eq!(code, Some(1));
    let found = problems(&report);
    for name in ["ads.pem", "ca.pem", "ca.crl"] {
        assert!(
            found.iter().any(|(message, text)| message.contains(name) && *text == format!("{name:?}")),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn a_readable_key_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let key = folder.folder.path().join("ads.key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).expect("changed");
    let (code, text) = folder.check(&[]);
    assert_eq!(code, Some(0));
    assert!(text.contains("chmod 600"), "{text}");
    assert!(text.ends_with("ads.toml: good, 1 warning\n"), "{text}");
}

#[test]
fn what_ends_within_the_time_given_fails_the_check() {
    let folder = Folder::new();
    for (within, expected) in [
        ("1d", vec![]),
        ("7d", vec!["\"ads.pem\""]),
        ("30d", vec!["\"ads.pem\"", "\"ca.crl\""]),
        ("200d", vec!["\"ads.pem\"", "\"ca.pem\"", "\"ca.crl\""]),
    ] {
        let (code, report) = folder.check_json(&["--fail-within", within]);
        let found = problems(&report);
        assert_eq!(code, Some(i32::from(!expected.is_empty())), "{within}: {found:?}");
        assert_eq!(found.iter().map(|(_, text)| text).collect::<Vec<_>>(), expected, "{within}");
        assert!(found.iter().all(|(message, _)| message.contains(" ends on 20")), "{found:?}");
    }
}

#[test]
fn the_shipped_examples_pass_with_certificates_beside_them() {
    let folder = Folder::new();
    let root = folder.folder.path();
    for name in ["config", "certs"] {
        fs::create_dir(root.join(name)).expect("made");
    }
    for name in ["ca.pem", "ca.crl"] {
        fs::copy(root.join(name), root.join("certs").join(name)).expect("copied");
    }
    for name in ["service", "adservice", "userservice", "users-db", "gateway", "public"] {
        folder.issue(&format!("certs/{name}"), Duration::days(2));
    }
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).expect("the folder") {
        let entry = entry.expect("an entry");
        if entry.path().is_dir() {
            continue;
        }
        let copy = root.join("config").join(entry.file_name());
        fs::copy(entry.path(), &copy).expect("copied");
        let output = mantlet(root, &["check", copy.to_str().expect("UTF-8")]);
        // The reference allows nobody, which is its default and a warning.
        let verdict = if copy.ends_with("mantlet.reference.toml") { "good, 1 warning\n" } else { "good\n" };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.ends_with(verdict), "{text}");
    }
}

#[test]
fn a_missing_file_is_a_problem_of_the_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = mantlet(folder.path(), &["check", "none.toml"]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
    let output = mantlet(folder.path(), &["check", "none.toml", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["ok"], &report["problems"][0]["line"]), (&Value::Bool(false), &Value::Null));
}

#[test]
fn every_shell_has_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = mantlet(Path::new("/"), &["completions", shell]);
        assert!(output.status.success(), "{shell}");
        let script = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(script.contains("fail-within") && script.contains("completions"), "{shell}");
    }
}
