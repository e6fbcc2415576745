//! The root's key is kept elsewhere, and is needed again.

use std::collections::HashMap;
use std::fs;

use super::rig::{Rig, openssl, text};
use crate::support::service;

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
    assert!(!said.contains("has signed the CRL"), "{said}");
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
