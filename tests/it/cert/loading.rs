//! What is said about files that cannot be used, and about those that can.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use mantlet::x509::MaterialPart;
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

use super::pki::{Ca, Folder, refused, verdict};

fn good() -> (Ca, Folder) {
    let root = Ca::root("root");
    let mut folder = Folder::trusting(&[&root.cert]);
    folder.own(&root.leaf("ads"), &[]);
    (root, folder)
}

#[test]
fn good_material_loads_without_a_word() {
    let (_, folder) = good();
    let (material, notes) = folder.load().expect("usable");
    assert_eq!(notes, []);
    assert_eq!(material.own.as_ref().map(|own| own.subject.as_str()), Some("CN=ads"));
    assert_eq!(material.credential.as_ref().map(|credential| credential.cert.len()), Some(1));
    assert!(!format!("{material:?}").contains("PRIVATE"));
}

#[test]
fn a_combined_file_may_hold_chain_and_key_in_any_order() {
    let root = Ca::root("root");
    let leaf = root.leaf("ads");
    let mut folder = Folder::trusting(&[&root.cert]);
    let text = format!("\u{feff}key\r\n{}\r\n{}", leaf.key.serialize_pem().replace('\n', "\r\n"), leaf.cert.pem());
    folder.sources.certificate = Some(folder.write_key("both.pem", &text));
    assert!(folder.material().credential.is_some());
}

#[test]
fn keys_of_every_encoding_are_read() {
    let (_, mut folder) = good();
    for (format, label) in [(vec!["ec"], "EC PRIVATE KEY"), (vec!["pkcs8", "-topk8", "-nocrypt"], "PRIVATE KEY")] {
        let key = folder.path().join("own.key");
        let output = Command::new("openssl").args(&format).arg("-in").arg(&key).output().expect("openssl");
        let text = String::from_utf8(output.stdout).expect("PEM");
        assert!(text.contains(&format!("BEGIN {label}")), "{text}");
        folder.sources.private_key = Some(folder.write_key("other.key", &text));
        assert!(folder.material().credential.is_some());
    }
}

#[test]
fn an_encrypted_key_says_so() {
    let (_, mut folder) = good();
    let output = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-passout", "pass:secret", "-in"])
        .arg(folder.path().join("own.key"))
        .output()
        .expect("openssl");
    folder.sources.private_key = Some(folder.write_key("enc.key", &String::from_utf8(output.stdout).expect("PEM")));
    assert!(
        folder
            .fatal()
            .ends_with("enc.key: the private key is encrypted, and there is nobody to ask for the passphrase")
    );
}

#[test]
fn a_key_that_others_can_read_is_reported_and_used() {
    let (_, folder) = good();
    let key = folder.path().join("own.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("mode");
    let (_, notes) = folder.load().expect("usable");
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].part, MaterialPart::PrivateKey);
    assert!(notes[0].message.ends_with("its mode is 0640"), "{}", notes[0].message);
    assert_eq!(notes[0].remedy, format!("chmod 600 {}", key.display()));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (root, mut folder) = good();
    folder.sources.private_key = Some(folder.write_key("other.key", &root.leaf("x").key.serialize_pem()));
    let message = folder.fatal();
    assert!(message.contains("other.key: the private key is not that of the certificate \"CN=ads\""), "{message}");
}

#[test]
fn our_own_expired_certificate_stops_the_start_with_the_remedy() {
    let (root, mut folder) = good();
    folder.own(&root.leaf_with("ads", |params| params.not_after = date_time_ymd(2029, 12, 1)), &[]);
    let problems = folder.load().expect_err("fatal");
    assert!(problems[0].message.ends_with("own.pem: the certificate of \"CN=ads\" expired 2029-12-01T00:00:00Z"));
    assert!(problems[0].remedy.contains("mantlet ca issue"));
}

#[test]
fn our_own_chain_must_lead_to_an_anchor_and_begin_with_the_end_entity() {
    let (root, mut folder) = good();
    folder.own(&Ca::root("stranger").leaf("ads"), &[]);
    assert!(folder.fatal().contains("the issuer \"CN=stranger\" is neither a trust anchor"));
    let sub = root.sub("sub");
    let leaf = sub.leaf("ads");
    folder.own(&leaf, &[&sub.cert]);
    assert!(folder.load().is_ok());
    folder.sources.certificate = Some(folder.write("swapped.pem", sub.cert.pem() + &leaf.cert.pem()));
    folder.sources.private_key = Some(folder.write_key("sub.key", &sub.key.serialize_pem()));
    assert!(folder.fatal().ends_with("the first certificate, \"CN=sub\", is a CA"));
}

#[test]
fn a_usage_that_our_own_certificate_lacks_is_told() {
    let (root, mut folder) = good();
    folder.own(
        &root.leaf_with("ads", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        &[],
    );
    let (_, notes) = folder.load().expect("usable");
    assert!(notes[0].message.contains("peers will refuse it on outbound connections"), "{notes:?}");
}

#[test]
fn anchors_must_be_cas_and_one_of_them_valid() {
    let root = Ca::root("root");
    let leaf = root.leaf("ads");
    assert!(Folder::trusting(&[&leaf.cert]).fatal().ends_with("\"CN=ads\" is not a CA (basic constraints)"));
    let expired = Ca::root_with("old", |params| params.not_after = date_time_ymd(2029, 12, 1));
    let mut only_expired = Folder::trusting(&[&expired.cert]);
    assert_eq!(refused(verdict(&only_expired.material(), &expired.leaf("x").cert, &[])).0, "anchor_expired");
    only_expired.own(&expired.leaf("ads"), &[]);
    assert!(only_expired.fatal().contains("the trust anchor \"CN=old\" is valid from"));
    let (_, notes) = Folder::trusting(&[&expired.cert, &root.cert, &root.cert]).load().expect("usable");
    let messages: Vec<_> = notes.iter().map(|note| note.message.as_str()).collect();
    assert!(
        messages
            .iter()
            .any(|message| message
                .ends_with("\"CN=old\" is valid from 2029-01-01T00:00:00Z to 2029-12-01T00:00:00Z only")),
        "{messages:?}"
    );
    assert!(messages.iter().any(|message| message.ends_with("\"CN=root\" is listed twice")), "{messages:?}");
    assert!(Folder::new().fatal().contains("there is no trust anchor"));
}

#[test]
fn every_problem_is_found_in_one_run() {
    let mut folder = Folder::new();
    folder.sources.anchors = vec![folder.write("a.pem", "nothing"), folder.path().join("absent.pem")];
    folder.sources.intermediates =
        vec![folder.write("i.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")];
    folder.sources.certificate = Some(folder.write("c.pem", "-----BEGIN CERTIFICATE-----\n"));
    folder.sources.private_key = Some(
        folder.write_key("k.pem", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"),
    );
    let problems = folder.load().expect_err("fatal");
    let parts: Vec<_> = problems.iter().map(|problem| problem.part).collect();
    assert!(parts.contains(&MaterialPart::Anchor(0)), "{problems:#?}");
    assert!(parts.contains(&MaterialPart::Anchor(1)), "{problems:#?}");
    assert!(parts.contains(&MaterialPart::Intermediate(0)), "{problems:#?}");
    assert!(parts.contains(&MaterialPart::Certificate), "{problems:#?}");
    assert!(problems[0].message.ends_with("a.pem: holds no certificate: found no PEM block, expected CERTIFICATE"));
}
