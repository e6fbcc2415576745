//! The commands `mantlet cert show` and `mantlet cert verify`, run as processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rcgen::{
    Certificate, CertificateRevocationList, ExtendedKeyUsagePurpose, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use serde_json::Value;

use super::pki::{Ca, Folder, Leaf, dns};

const NOW: &str = "2030-01-01T00:00:00Z";

struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

fn mantlet(arguments: &[&str]) -> Answer {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_mantlet")).arg("cert").args(arguments).output().expect("run");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Answer { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder with `root.pem` and `chain.pem`.
struct Case {
    folder: Folder,
}

impl Case {
    fn new(root: &Ca, chain: &[&Certificate]) -> Self {
        let folder = Folder::new();
        folder.write("root.pem", root.cert.pem());
        folder.write("chain.pem", chain.iter().map(|certificate| certificate.pem()).collect::<String>());
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        text(&self.folder.path().join(name))
    }

    fn verify(&self, more: &[&str]) -> Answer {
        let (root, chain) = (self.path("root.pem"), self.path("chain.pem"));
        let fixed = ["verify", "--trust-anchors", &root, "--time", NOW, &chain];
        mantlet(&[&fixed[..], more].concat())
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_trusted_chain_exits_0_with_its_path() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let case = Case::new(&root, &[&sub.leaf("ads").cert, &sub.cert]);
    let answer = case.verify(&["--name", "spiffe://fm/ads"]);
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    let first_words: Vec<&str> = answer.out.lines().map(|line| line.get(..15).unwrap_or(line).trim()).collect();
    assert_eq!(
        first_words,
        ["trusted", "usage", "revocation", "proves", "as of", "end entity", "intermediate", "trust anchor"]
    );
    assert!(answer.out.contains("usage         client, server\n"), "{}", answer.out);
    assert!(answer.out.contains("revocation    not checked (no --crl)\n"), "{}", answer.out);
    let json: Value = serde_json::from_str(&case.verify(&["--json"]).out).expect("JSON");
    assert_eq!(json["trusted"], true);
    assert_eq!(json["path"][0]["spiffe_id"], "spiffe://fm/ads");
    assert_eq!(json["path"][2]["subject"], "CN=root");
}

#[test]
fn a_refused_chain_exits_1_with_the_reason_and_a_hint() {
    let root = Ca::root("root");
    let leaf = root.leaf_with("ads", |params| params.not_after = date_time_ymd(2029, 12, 1));
    let case = Case::new(&root, &[&leaf.cert]);
    let answer = case.verify(&[]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.out.starts_with("refused: expired\n"), "{}", answer.out);
    assert!(answer.out.contains("expired 2029-12-01T00:00:00Z"), "{}", answer.out);
    assert!(answer.out.contains("hint          issue a new certificate"), "{}", answer.out);
    let json: Value = serde_json::from_str(&case.verify(&["--json"]).out).expect("JSON");
    assert_eq!((&json["trusted"], &json["reason"]), (&Value::from(false), &Value::from("expired")));
    let past = mantlet(&[
        "verify",
        "--trust-anchors",
        &case.path("root.pem"),
        "--time",
        "2029-11-30T23:00:00-01:00",
        &case.path("chain.pem"),
    ]);
    assert_eq!(past.code, Some(0), "{}{}", past.out, past.err);
}

#[test]
fn unusable_input_exits_2_and_names_the_file() {
    let root = Ca::root("root");
    let case = Case::new(&root, &[&root.leaf("ads").cert]);
    case.folder.write("empty.pem", "");
    let (root_path, empty) = (case.path("root.pem"), case.path("empty.pem"));
    for arguments in [
        vec!["verify", "--trust-anchors", &root_path, &empty],
        vec!["verify", "--trust-anchors", &empty, &root_path],
        vec!["verify", "--trust-anchors", &root_path, "--crl", &empty, &root_path],
        vec!["verify", "--trust-anchors", &root_path, "absent.pem"],
        vec!["show", &empty],
    ] {
        let answer = mantlet(&arguments);
        assert_eq!(answer.code, Some(2), "{arguments:?}: {}{}", answer.out, answer.err);
        assert!(
            answer.err.contains("empty.pem: holds no") || answer.err.contains("absent.pem: cannot"),
            "{}",
            answer.err
        );
    }
    for wrong in [["--time", "yesterday"], ["--name", "anonymous"], ["--max-depth", "7"], ["--usage", "ca"]] {
        assert_eq!(case.verify(&wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn the_usage_asked_for_decides_and_without_one_the_output_says_which() {
    let root = Ca::root("root");
    let leaf = root.leaf_with("ads", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let case = Case::new(&root, &[&leaf.cert]);
    assert_eq!(case.verify(&["--usage", "server"]).code, Some(0));
    let refused = case.verify(&["--usage", "client"]);
    assert_eq!((refused.code, refused.out.lines().next()), (Some(1), Some("refused: wrong_usage")));
    assert!(case.verify(&[]).out.contains("usage         server\n"));
}

#[test]
fn names_are_matched_as_an_outbound_connection_matches_them() {
    let root = Ca::root("root");
    let leaf = root.leaf_with("ads", |params| {
        let address = rcgen::SanType::IpAddress("10.0.0.7".parse().expect("IP"));
        params.subject_alt_names = vec![dns("*.mesh.internal"), dns("Ads.local"), address];
    });
    let case = Case::new(&root, &[&leaf.cert]);
    for (name, code) in [
        ("ads.mesh.internal", 0),
        ("ads.local", 0),
        ("10.0.0.7", 0),
        ("mesh.internal", 1),
        ("a.ads.mesh.internal", 1),
        ("10.0.0.8", 1),
        ("spiffe://fm/ads", 1),
        ("ads", 1),
    ] {
        let answer = case.verify(&["--name", name]);
        assert_eq!(answer.code, Some(code), "{name}: {}", answer.out);
    }
    let answer = case.verify(&["--name", "users.local"]);
    assert!(
        answer.out.contains("the peer is DNS:*.mesh.internal, DNS:Ads.local, IP:10.0.0.7, expected users.local"),
        "{}",
        answer.out
    );
}

#[test]
fn crls_make_every_certificate_below_the_anchor_be_looked_up() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let leaf = sub.leaf_with("ads", |params| params.serial_number = Some(SerialNumber::from_slice(&[9])));
    let case = Case::new(&root, &[&leaf.cert, &sub.cert]);
    let write = |name: &str, crl: &CertificateRevocationList| text(&case.folder.write(name, crl.pem().expect("PEM")));
    let (of_root, of_sub) = (write("root.crl", &root.crl(&[])), write("sub.crl", &sub.crl(&[])));
    let revoking = write("revoking.crl", &sub.crl(&[&[9]]));
    case.folder.write("sub.pem", sub.cert.pem());
    let sub_path = case.path("sub.pem");
    let verify = |crls: &[&str]| {
        let mut more = vec!["--intermediates", &sub_path];
        more.extend(crls.iter().flat_map(|crl| ["--crl", *crl]));
        case.verify(&more)
    };
    let good = verify(&[&of_root, &of_sub]);
    assert_eq!(good.code, Some(0), "{}{}", good.out, good.err);
    assert!(good.out.contains("checked against 2 CRLs"));
    assert!(verify(&[&of_root]).out.starts_with("refused: revocation_unknown\n"));
    let revoked = verify(&[&of_root, &revoking]);
    assert_eq!(revoked.code, Some(1));
    assert!(revoked.out.contains("revoked since 2029-06-01T00:00:00Z (keyCompromise)"), "{}", revoked.out);
}

#[test]
fn show_prints_every_certificate_and_never_the_key() {
    let root = Ca::root("root");
    let leaf = root.leaf_with("ads", |params| params.subject_alt_names.push(dns("*.internal")));
    let folder = Folder::new();
    let key = leaf.key.serialize_pem();
    let path = text(&folder.write("all.pem", leaf.cert.pem() + &root.cert.pem() + &key));
    let answer = mantlet(&["show", &path]);
    assert_eq!(answer.code, Some(0));
    for expected in [
        "certificate 1 of 2\n",
        "  subject                CN=ads\n",
        "  issuer                 CN=root\n",
        "  name                   URI:spiffe://fm/ads\n",
        "  name                   DNS:*.internal\n",
        "  not after              2031-01-01T00:00:00Z (",
        "  key                    ECDSA P-256\n",
        "  key usage              digitalSignature\n",
        "  extended key usage     serverAuth, clientAuth\n",
        "  basic constraints      CA\n",
        "private key present (PRIVATE KEY), not shown\n",
    ] {
        assert!(answer.out.contains(expected), "{expected}\n{}", answer.out);
    }
    let secret = key.lines().nth(1).expect("base64");
    assert!(!answer.out.contains(secret));
    let json: Value = serde_json::from_str(&mantlet(&["show", "--json", &path]).out).expect("JSON");
    assert_eq!(json["certificates"][1]["is_ca"], true);
    assert_eq!(json["private_keys"][0], "PRIVATE KEY");
    let der = text(&folder.write("leaf.der", leaf.cert.der()));
    assert!(mantlet(&["show", &der]).out.contains("certificate 1 of 1\n"));
}

/// `openssl verify` with the same files; true where it trusts the chain.
fn openssl_trusts(root: &Path, leaf: &Path, sub: &Path) -> bool {
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslclient", "-attime", "1893456000", "-CAfile"])
        .arg(root)
        .arg("-untrusted")
        .arg(sub)
        .arg(leaf)
        .output()
        .expect("openssl");
    output.status.success()
}

#[test]
fn verdicts_agree_with_openssl_where_the_rules_do() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let stranger = Ca::root("root");
    let narrow = root.sub_with("narrow", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    let servers =
        root.sub_with("servers", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let late = |params: &mut rcgen::CertificateParams| params.not_before = date_time_ymd(2030, 6, 1);
    let server =
        |params: &mut rcgen::CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let cases: Vec<(&str, Leaf, &Ca)> = vec![
        ("good", sub.leaf("ads"), &sub),
        ("not yet valid", sub.leaf_with("ads", late), &sub),
        ("server only", sub.leaf_with("ads", server), &sub),
        ("another key", stranger.leaf("ads"), &sub),
        ("no keyCertSign", narrow.leaf("ads"), &narrow),
        ("CA for servers", servers.leaf("ads"), &servers),
        ("unrelated intermediate", sub.leaf("ads"), &narrow),
    ];
    for (name, leaf, issuer) in cases {
        let case = Case::new(&root, &[&leaf.cert, &issuer.cert]);
        let leaf_path: PathBuf = case.folder.write("leaf.pem", leaf.cert.pem());
        let sub_path = case.folder.write("sub.pem", issuer.cert.pem());
        let ours = case.verify(&["--usage", "client"]);
        let theirs = openssl_trusts(&case.folder.path().join("root.pem"), &leaf_path, &sub_path);
        assert_eq!(ours.code == Some(0), theirs, "{name}: {}{}", ours.out, ours.err);
        assert_eq!(theirs, name == "good", "{name}");
    }
}
