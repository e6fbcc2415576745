//! Enrolment and renewal with real programs.

use std::process::Command;

use super::rig::{Rig, openssl, text};

/// The subject, names, usages and dates of a certificate.
fn shown(file: &std::path::Path) -> String {
    openssl(&["x509", "-in", file.to_str().unwrap(), "-noout", "-text"])
}

#[test]
fn a_service_enrols_with_openssl_and_curl_by_the_lines_of_the_readme() {
    let rig = Rig::new();
    let secret = rig.register("adservice", &["--dns", "adservice"]);
    let readme = include_str!("../../../README.md");
    let begin = readme.find("openssl req -new -newkey ec").expect("the README shows an enrolment");
    let lines = &readme[begin..begin + readme[begin..].find("```").unwrap()];
    let script = lines
        .replace("https://ca:8444", &rig.url(""))
        .replace("$SECRET", &secret)
        .replace("ca/ca.pem", &rig.text_path("ca/ca.pem"));
    let output = Command::new("sh").args(["-ec", &script]).current_dir(rig.folder.path()).output().unwrap();
    assert!(output.status.success(), "{script}\n{}{}", text(&output.stdout), text(&output.stderr));
    let certificate = rig.path("adservice.pem");
    let verified =
        openssl(&["verify", "-x509_strict", "-CAfile", &rig.text_path("ca/ca.pem"), certificate.to_str().unwrap()]);
    assert!(verified.contains("OK"), "{verified}");
    let shown = shown(&certificate);
    for part in ["CN = adservice", "URI:spiffe://test.internal/adservice", "DNS:adservice"] {
        assert!(shown.contains(part) || shown.contains(&part.replace(" = ", "=")), "{part} is missing from {shown}");
    }
}

#[test]
fn what_a_certificate_says_is_what_was_registered_whatever_is_asked_for() {
    let rig = Rig::new();
    let secret =
        rig.register("ads", &["--dns", "ads.internal", "--ip", "10.0.0.7", "--max-ttl", "1h", "--usage", "client"]);
    let wanted = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-addext",
        "subjectAltName=DNS:bank.internal",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "extendedKeyUsage=codeSigning",
    ];
    let request = rig.request_with("ads", "/O=Bank/CN=bank", &wanted);
    let answered = rig.enrol("simpleenroll", &request, &["-u", &format!("ads:{secret}")]);
    assert_eq!(answered.status, 200, "{}", answered.body);
    assert_eq!(answered.header("content-type"), Some("application/pkcs7-mime; smime-type=certs-only"));
    let shown = shown(&rig.keep("ads", &answered));
    for part in [
        "URI:spiffe://test.internal/ads",
        "DNS:ads.internal",
        "IP Address:10.0.0.7",
        "CA:FALSE",
        "TLS Web Client Authentication",
    ] {
        assert!(shown.contains(part), "{part} is missing from {shown}");
    }
    for part in ["bank", "CA:TRUE", "Code Signing", "TLS Web Server"] {
        assert!(!shown.contains(part), "{part} is in {shown}");
    }
    let listed = &rig.list()[0];
    let time = |key: &str| humantime::parse_rfc3339(listed[key].as_str().unwrap()).unwrap();
    assert_eq!(time("not_after").duration_since(time("not_before")).unwrap().as_secs(), 3600 + 300);
}

#[test]
fn every_kind_of_key_that_peers_take_is_taken_and_no_other() {
    let rig = Rig::with(&[], "", "[limits]\nname_per_minute = 100\n");
    for (index, options) in [
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["-newkey", "ed25519"],
        &["-newkey", "rsa:2048"],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("s{index}");
        let secret = rig.register(&name, &[]);
        let request = rig.request_with(&name, "/CN=x", options);
        let answered = rig.enrol("simpleenroll", &request, &["-u", &format!("{name}:{secret}")]);
        assert_eq!(answered.status, 200, "{options:?}: {}", answered.body);
    }
    let secret = rig.register("weak", &[]);
    for options in [
        &["-newkey", "rsa:1024"][..],
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
    ] {
        let request = rig.request_with("weak", "/CN=x", options);
        let answered = rig.enrol("simpleenroll", &request, &["-u", &format!("weak:{secret}")]);
        assert_eq!(answered.reason(), (400, "weak_key"), "{options:?}: {}", answered.body);
    }
    // A request that is no good does not use the secret up.
    rig.enrolled("weak", &secret);
}

#[test]
fn a_current_certificate_renews_itself_with_another_key() {
    let rig = Rig::with(&["--intermediate"], "", "");
    let secret = rig.register("ads", &["--dns", "ads.internal"]);
    rig.enrolled("ads", &secret);
    let request = rig.request("ads-next", "/CN=x");
    let identity = rig.identity("ads");
    let options: Vec<&str> = identity.iter().map(String::as_str).collect();
    let answered = rig.enrol("simplereenroll", &request, &options);
    assert_eq!(answered.status, 200, "{}", answered.body);
    let renewed = rig.keep("ads-next", &answered);
    // The intermediate comes with the other certificates of the authority.
    let authority = rig.curl("/.well-known/est/cacerts", &[]);
    let bundle = rig.keep("bundle", &authority);
    let verified = openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        &rig.text_path("ca/ca.pem"),
        "-untrusted",
        bundle.to_str().unwrap(),
        renewed.to_str().unwrap(),
    ]);
    assert!(verified.contains("OK"), "{verified}");
    let log = rig.ca(&["log", "--subject", "ads"]);
    for part in ["registered", "enrolled", "renewed", "by one-time secret", "by current certificate"] {
        assert!(log.contains(part), "{part} is missing from {log}");
    }
    assert!(rig.ca(&["log", "--verify"]).contains("the log is whole"));
}

#[test]
fn a_bootstrap_certificate_enrols_again_and_again_and_is_good_for_nothing_else() {
    let rig = Rig::new();
    rig.register("ads", &["--dns", "ads.internal"]);
    let bootstrap = rig.text_path("bootstrap.pem");
    rig.ca(&["bootstrap", "ads", "--out", &bootstrap]);
    for round in ["one", "two"] {
        let request = rig.request(round, "/CN=x");
        let answered = rig.enrol("simpleenroll", &request, &["--cert", &bootstrap]);
        assert_eq!(answered.status, 200, "{}", answered.body);
    }
    let request = rig.request("three", "/CN=x");
    assert_eq!(rig.enrol("simplereenroll", &request, &["--cert", &bootstrap]).reason(), (403, "wrong_certificate"));
    assert_eq!(rig.curl("/.well-known/mantlet/events", &["--cert", &bootstrap]).reason(), (403, "wrong_certificate"));
    for purpose in ["client", "server"] {
        let verified = super::rig::mantlet(&[
            "cert",
            "verify",
            &bootstrap,
            "--trust-anchors",
            &rig.text_path("ca/ca.pem"),
            "--usage",
            purpose,
        ]);
        let said = text(&verified.stdout) + &text(&verified.stderr);
        assert!(!verified.status.success(), "{said}");
    }
    let revoked = rig.ca(&["revoke", "--cert", &bootstrap]);
    assert!(revoked.contains("revoked"), "{revoked}");
    assert_eq!(rig.enrol("simpleenroll", &request, &["--cert", &bootstrap]).reason(), (403, "revoked"));
}

#[test]
fn a_sidecar_refuses_a_bootstrap_certificate() {
    use crate::support::sidecar::Sidecar;

    let rig = Rig::new();
    rig.register("ads", &[]);
    let (bootstrap, out) = (rig.text_path("bootstrap.pem"), rig.text_path("issued"));
    rig.ca(&["bootstrap", "ads", "--out", &bootstrap]);
    rig.ca(&["issue", "--name", "users", "--dns", "localhost", "--out", &out]);
    let sidecar = Sidecar::start(&format!(
        "[identity]\ncertificate = \"{out}/users.pem\"\nprivate_key = \"{out}/users.key\"\n[trust]\nanchors = [\"{}\"]\n\
         [[inbound]]\nname = \"users\"\nlisten = \"127.0.0.1:0\"\nforward_to = \"127.0.0.1:1\"\nallow = [\"spiffe://test.internal/*\"]\n\
         [log]\nformat = \"json\"\nlevel = \"debug\"\n",
        rig.text_path("ca/ca.pem")
    ));
    let url = format!("https://localhost:{}/", sidecar.address("users").port());
    let output = Command::new("curl")
        .args(["--silent", "--cacert", &rig.text_path("ca/ca.pem"), "--cert", &bootstrap, &url])
        .output()
        .unwrap();
    assert!(!output.status.success(), "{}", text(&output.stdout));
    let wrong_purpose = |event: &serde_json::Value| event.to_string().contains("clientAuth");
    sidecar.wait_for("a refusal for the purpose", wrong_purpose);
}

#[test]
fn who_is_suspended_removed_or_over_enrols_no_more_and_a_resumed_one_does() {
    let rig = Rig::new();
    let secret = rig.register("ads", &[]);
    rig.enrolled("ads", &secret);
    let identity = rig.identity("ads");
    let options: Vec<&str> = identity.iter().map(String::as_str).collect();
    let request = rig.request("next", "/CN=x");
    let renewed = || rig.enrol("simplereenroll", &request, &options);
    rig.ca(&["suspend", "ads", "--reason", "under investigation"]);
    assert_eq!(renewed().reason(), (403, "suspended"));
    assert_eq!(rig.events("ads", "wait=0")["registration"]["state"], "suspended");
    rig.ca(&["resume", "ads"]);
    assert_eq!(renewed().status, 200);
    rig.ca(&["remove", "ads"]);
    assert_eq!(renewed().reason(), (403, "removed"));
    assert!(rig.refused(&["secret", "ads"]).contains("\"mantlet ca register\" registers it anew"));
    assert!(rig.ca(&["log", "--subject", "ads"]).contains("suspended   ads: under investigation"));

    let secret = rig.register("short", &["--expires", "1s"]);
    let request = rig.request("short", "/CN=x");
    let answered = || rig.enrol("simpleenroll", &request, &["-u", &format!("short:{secret}")]);
    let deadline = std::time::Instant::now() + crate::support::sidecar::PATIENCE;
    // The secret ends with the registration, whichever is found first.
    while answered().status == 200 {
        assert!(std::time::Instant::now() < deadline);
    }
    assert_eq!(answered().reason(), (401, "credential"));
}

#[test]
fn certificates_carry_the_distribution_point_or_say_that_nobody_will_revoke_them() {
    let keys = "distribution_point = \"http://ca.internal:8480/ca.crl\"\nno_revocation_below = \"1m\"";
    let rig = Rig::with(&[], keys, "");
    let secret = rig.register("ads", &[]);
    let shown_ads = shown(&rig.enrolled("ads", &secret));
    assert!(shown_ads.contains("URI:http://ca.internal:8480/ca.crl"), "{shown_ads}");
    let secret = rig.register("brief", &["--max-ttl", "30s"]);
    let shown_brief = shown(&rig.enrolled("brief", &secret));
    assert!(
        !shown_brief.contains("ca.crl") && (shown_brief.contains("2.5.29.56") || shown_brief.contains("No Revocation")),
        "{shown_brief}"
    );
    rig.ca(&["issue", "--name", "offline", "--out", &rig.text_path("out")]);
    assert!(shown(&rig.path("out/offline.pem")).contains("URI:http://ca.internal:8480/ca.crl"));
}
