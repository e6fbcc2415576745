//! The root's key is kept elsewhere, and is needed again.

use std::collections::HashMap;
use std::fs;

use super::rig::{Rig, config, openssl, text};
use crate::support::service;
use crate::support::sidecar::Sidecar;

/// What `/readyz` says.
fn ready(rig: &Rig) -> (u16, String) {
    service::get(rig.server.address("admin"), "/readyz")
}

#[test]
fn a_revoked_intermediate_is_told_of_until_the_root_key_is_back_and_then_on_the_crl() {
    let mut rig = Rig::with(&["--intermediate"], "", "");
    let (key, away) = (rig.path("ca/authority/root.key"), rig.path("root.key"));
    fs::rename(&key, &away).unwrap();
    assert_eq!(ready(&rig), (200, "ready\n".to_owned()), "nothing is wrong with a root key that is elsewhere");

    let intermediate = rig.text_path("ca/authority/intermediate.pem");
    let revoked = rig.try_ca(&["revoke", "--cert", &intermediate, "--reason", "cACompromise"]);
    let (said, warned) = (text(&revoked.stdout), text(&revoked.stderr));
    assert!(revoked.status.success(), "{warned}");
    for part in ["warning: the root's CRL lacks serial", key.to_str().unwrap(), "ca serve", "mantlet ca crl"] {
        assert!(warned.contains(part), "{part:?} is missing from {warned}");
    }
    assert!(!said.contains("signs the CRL at once"), "{said}");
    rig.server.wait_for("the word of it", |event| {
        event["level"] == "ERROR"
            && event["message"].as_str().is_some_and(|message| message.starts_with("a revocation is on no CRL"))
            && event["issuer"] == "root"
    });
    rig.server.wait_for_status("reason", |status| status["ready"] == false);
    rig.server.wait_for_metric("mantlet_authority_unlisted_revocations", &HashMap::new(), 1.0);
    let (status, reasons) = ready(&rig);
    assert_eq!(status, 503);
    assert!(reasons.contains("the root's CRL lacks serial") && reasons.contains("root.key"), "{reasons}");

    // It starts all the same: without it nobody could fetch the CRL that will say so.
    rig.restart("", "");
    let (status, reasons) = ready(&rig);
    assert!(status == 503 && reasons.contains("the root's CRL lacks serial"), "{reasons}");
    assert!(reasons.contains("no service can enrol: the certificate that issues is revoked"), "{reasons}");

    fs::rename(&away, &key).unwrap();
    let of_root = HashMap::from([("issuer", "root")]);
    rig.server.wait_for_metric("mantlet_authority_crl_entries", &of_root, 1.0);
    let (_, reasons) = ready(&rig);
    assert!(!reasons.contains("lacks serial"), "{reasons}");
    let file = rig.text_path("root.crl");
    rig.curl_plain("/root.crl", &["--output", &file, "--dump-header", "-", "--no-include"]);
    let shown = openssl(&["crl", "-inform", "DER", "-in", &file, "-noout", "-text"]);
    assert!(shown.contains("CA Compromise"), "{shown}");

    // New keys issue, the server's own certificate among the first.
    for step in ["start", "switch"] {
        rig.ca(&["rotate", step]);
    }
    rig.server.wait_for_status("readiness", |status| status["ready"] == true);
    let secret = rig.register("ads", &[]);
    rig.enrolled("ads", &secret);
}

#[test]
fn a_root_key_that_does_not_open_is_told_of_and_hides_no_revocation_of_other_keys() {
    let mut rig = Rig::with(&["--intermediate"], "", "");
    let key = rig.path("ca/authority/root.key");
    let good = fs::read(&key).unwrap();
    let certificates = ["one", "two", "three"].map(|name| {
        let secret = rig.register(name, &[]);
        rig.enrolled(name, &secret)
    });
    fs::write(&key, "not a key").unwrap();
    let intermediate = rig.text_path("ca/authority/intermediate.pem");
    let revoked = rig.try_ca(&["revoke", "--cert", &intermediate]);
    let (said, warned) = (text(&revoked.stdout), text(&revoked.stderr));
    assert!(revoked.status.success() && !said.contains("next:"), "{said}");
    for part in ["the root's CRL lacks serial", "root.key: not a PKCS #8 private key"] {
        assert!(warned.contains(part), "{part:?} is missing from {warned}");
    }
    rig.server.wait_for_metric("mantlet_authority_unlisted_revocations", &HashMap::new(), 1.0);
    let (status, reasons) = ready(&rig);
    assert!(status == 503 && reasons.contains("root.key: not a PKCS #8 private key"), "{reasons}");

    // Neither server signs all; each publishes what the other signed, and starts.
    rig.restart("", "");
    let other = Sidecar::start_authority(&config(&rig.folder, "", ""));
    let of_intermediate = HashMap::from([("issuer", "intermediate")]);
    for (certificate, count) in certificates.iter().zip([1.0, 2.0, 3.0]) {
        rig.ca(&["revoke", "--cert", certificate.to_str().unwrap()]);
        for server in [&rig.server, &other] {
            server.wait_for_metric("mantlet_authority_crl_entries", &of_intermediate, count);
        }
    }
    for server in [&rig.server, &other] {
        server.wait_for("the fault", |event| {
            event["level"] == "ERROR" && event["message"].as_str().is_some_and(|said| said.contains("root.key: not a"))
        });
    }
    assert!(ready(&rig).1.contains("root.key: not a PKCS #8 private key"));

    fs::write(&key, good).unwrap();
    let of_root = HashMap::from([("issuer", "root")]);
    for server in [&rig.server, &other] {
        server.wait_for_metric("mantlet_authority_crl_entries", &of_root, 1.0);
    }
    rig.server.wait_for("the end of it", |event| event["message"] == "the store and the keys are usable again");
}
