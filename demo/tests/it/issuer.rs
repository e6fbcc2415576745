//! The token issuer as a process, asked by curl; its tokens are verified with the keys that it publishes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::support::Service;

const PAGE: &str = "https://market.example:8443";

struct Issuer {
    service: Service,
    folder: TempDir,
    control: String,
}

impl Issuer {
    fn start(more: &[&str]) -> Self {
        Self::start_in(tempdir().unwrap(), more)
    }

    fn start_in(folder: TempDir, more: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        fs::write(file("tls.pem"), certificate.pem()).unwrap();
        fs::write(file("tls.key"), key.serialize_pem()).unwrap();
        let (certificate, private_key, keys) = (file("tls.pem"), file("tls.key"), file("keys"));
        let files = ["--certificate", &certificate, "--private-key", &private_key, "--keys", &keys];
        let control = ["--control", "127.0.0.1:0", "--allow-origin", PAGE];
        let (mut service, listening) = Service::spawn("issuer", &[&files[..], &control, more].concat());
        service.url = format!("https://{}", listening["address"].as_str().unwrap());
        let control = listening["control"].as_str().unwrap().to_owned();
        Self { service, folder, control }
    }

    /// The head and the body of curl's answer.
    fn curl(&self, path: &str, arguments: &[&str]) -> (String, String) {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--include", "--noproxy", "*", "--cacert"])
            .arg(self.folder.path().join("tls.pem"))
            .args(arguments)
            .arg(format!("{}{path}", self.service.url))
            .output()
            .expect("curl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer = String::from_utf8(output.stdout).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }

    fn sign_in(&self, user: &str, password: &str) -> (String, Value) {
        let body = json!({ "user": user, "password": password }).to_string();
        let (head, body) = self.curl("/token", &["--json", &body]);
        (head, serde_json::from_str(&body).unwrap())
    }

    fn token(&self) -> String {
        self.sign_in("anneke@example.org", "market-anneke").1["access_token"].as_str().unwrap().to_owned()
    }

    fn jwks(&self) -> Vec<Value> {
        let (_, body) = self.curl("/.well-known/jwks.json", &[]);
        serde_json::from_str::<Value>(&body).unwrap()["keys"].as_array().unwrap().clone()
    }

    fn forge(&self, fault: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_flea-market"))
            .args(["forge", fault, "--keys"])
            .arg(self.folder.path().join("keys"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{fault}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn health(&self) -> Option<i32> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flea-market"));
        command.args(["issuer", "--health", "--certificate", "-", "--private-key", "-", "--keys", "-"]);
        command.env("CONTROL", &self.control).status().unwrap().code()
    }
}

/// The header and the claims of a token.
fn decoded(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut json = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (json(), json())
}

/// Whether the signature is that of the published key which the token names.
fn is_signed(token: &str, keys: &[Value]) -> bool {
    let kid = decoded(token).0["kid"].clone();
    let Some(key) = keys.iter().find(|key| key["kid"] == kid) else { return false };
    let number = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = RsaPublicKeyComponents { n: number("n"), e: number("e") };
    key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).is_ok()
}

#[test]
fn a_user_who_signs_in_gets_a_token_that_the_published_keys_verify() {
    let issuer = Issuer::start(&["--token-ttl", "10m"]);

    let (head, answer) = issuer.sign_in("dmitri@example.org", "market-dmitri");

    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(600)));
    let token = answer["access_token"].as_str().unwrap();
    let (header, claims) = decoded(token);
    assert_eq!(header["alg"], "RS256");
    assert_eq!(claims["iss"], "https://issuer.fleamarket.example");
    assert_eq!(claims["aud"], "flea-market");
    assert_eq!(claims["sub"], "dmitri");
    assert_eq!(claims["email_verified"], false);
    assert_eq!(claims["role"], "seller");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 600);
    assert!(is_signed(token, &issuer.jwks()));
}

#[test]
fn a_form_is_as_good_as_json_and_everything_else_is_refused_with_the_reason() {
    let issuer = Issuer::start(&[]);

    let form = ["--data-urlencode", "user=ida@example.org", "--data-urlencode", "password=market-ida"];
    assert!(issuer.curl("/token", &form).0.starts_with("http/1.1 200"));
    for (arguments, error) in [
        (&["--json", r#"{"user": "ida@example.org", "password": "wrong"}"#][..], "invalid_grant"),
        (&["--json", r#"{"user": "nobody@example.org", "password": "market-ida"}"#], "invalid_grant"),
        (&["--json", "{}"], "invalid_request"),
        (&["--data", "user=ida@example.org"], "invalid_request"),
        (&["--data", "x", "--header", "content-type: text/plain"], "invalid_request"),
    ] {
        let (head, body) = issuer.curl("/token", arguments);
        assert!(head.starts_with("http/1.1 400"), "{head}");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error"], error, "{arguments:?}");
    }
}

#[test]
fn only_the_page_of_an_allowed_origin_may_read_a_token() {
    let issuer = Issuer::start(&[]);
    for (origin, is_allowed) in [(PAGE, true), ("https://evil.example", false), ("null", false)] {
        let origin_header = format!("origin: {origin}");
        let sign_in =
            ["--json", r#"{"user": "ida@example.org", "password": "market-ida"}"#, "--header", &origin_header];
        let preflight = ["--request", "OPTIONS", "--header", &origin_header];
        for arguments in [&sign_in[..], &preflight] {
            let (head, _) = issuer.curl("/token", arguments);
            let allowed = format!("access-control-allow-origin: {origin}");
            assert_eq!(head.contains(&allowed), is_allowed, "{head}");
            assert_eq!(head.contains("access-control-allow-origin"), is_allowed, "{head}");
        }
    }
}

#[test]
fn both_forms_of_the_keys_are_the_same_keys_and_say_how_long_they_may_be_cached() {
    let issuer = Issuer::start(&["--max-age", "7s"]);
    let keys = issuer.jwks();
    let (head, body) = issuer.curl("/x509", &[]);
    assert!(head.contains("cache-control: public, max-age=7"), "{head}");
    assert!(issuer.curl("/.well-known/jwks.json", &[]).0.contains("cache-control: public, max-age=7"));

    let certificates: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((keys.len(), certificates.as_object().unwrap().len()), (1, 1));
    let file = issuer.folder.path().join("x509.pem");
    fs::write(&file, certificates[keys[0]["kid"].as_str().unwrap()].as_str().unwrap()).unwrap();
    let openssl = Command::new("openssl").args(["x509", "-noout", "-modulus", "-in"]).arg(&file).output().unwrap();
    let told = String::from_utf8(openssl.stdout).unwrap();
    let digits = told.trim().strip_prefix("Modulus=").unwrap();
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let modulus: Vec<u8> = (0..digits.len()).step_by(2).map(digit).collect();
    assert_eq!(keys[0]["n"], URL_SAFE_NO_PAD.encode(modulus));
}

#[test]
fn a_new_key_is_published_at_once_and_signs_when_the_caches_have_run_out() {
    let mut issuer = Issuer::start(&["--max-age", "0s"]);
    let old = issuer.token();

    issuer.service.signal(Signal::HUP);
    let new = issuer.service.next_line();

    assert_eq!(new["message"], "new key");
    let kid = |token: &str| decoded(token).0["kid"].clone();
    assert!(issuer.jwks().iter().any(|key| key["kid"] == new["kid"]), "it is published");
    // It signs two seconds later: tokens are asked for until one names it.
    let signed_with_new = std::iter::repeat_with(|| issuer.token()).find(|token| kid(token) == new["kid"]).unwrap();
    let keys = issuer.jwks();
    assert!(is_signed(&signed_with_new, &keys));
    assert!(is_signed(&old, &keys), "the tokens of the old key are still good");
    assert_ne!(kid(&old), new["kid"]);
}

#[test]
fn the_keys_outlive_the_issuer() {
    let mut issuer = Issuer::start(&[]);
    let token = issuer.token();
    assert!(issuer.service.terminate().success());
    let Issuer { folder, .. } = issuer;

    assert!(is_signed(&token, &Issuer::start_in(folder, &[]).jwks()));
}

#[test]
fn the_issuer_is_healthy_by_its_own_word() {
    let mut issuer = Issuer::start(&[]);
    assert_eq!(issuer.health(), Some(0));
    assert!(issuer.service.terminate().success());
    assert_eq!(issuer.health(), Some(1));
}

#[test]
fn a_control_listener_off_loopback_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_flea-market"))
        .args(["issuer", "--control", "0.0.0.0:0", "--certificate", "-", "--private-key", "-", "--keys", "-"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--control 0.0.0.0:0: a loopback address is wanted"), "{told}");
}

#[test]
fn a_forged_token_has_the_fault_that_it_is_named_for_and_no_other() {
    let issuer = Issuer::start(&[]);
    let keys = issuer.jwks();
    let (honest_header, honest) = decoded(&issuer.forge("none"));
    assert!(is_signed(&issuer.forge("none"), &keys));

    for (fault, is_signed_well, differing) in [
        ("expired", true, &["exp", "iat"][..]),
        ("not-yet", true, &["exp", "iat", "nbf"]),
        ("other-audience", true, &["aud"]),
        ("other-issuer", true, &["iss"]),
        ("other-key", false, &[]),
        ("unknown-key", false, &[]),
        ("key-in-header", false, &[]),
        ("key-address-in-header", false, &[]),
        ("public-key-as-secret", false, &[]),
        ("tampered", false, &["role", "sub"]),
    ] {
        let token = issuer.forge(fault);
        let (header, claims) = decoded(&token);
        assert_eq!(is_signed(&token, &keys), is_signed_well, "{fault}");
        let names = honest.as_object().unwrap().keys().chain(claims.as_object().unwrap().keys());
        let differs = |name: &&String| {
            // Two tokens of the same claims may be made in different seconds.
            match (honest[*name].as_i64(), claims[*name].as_i64()) {
                (Some(one), Some(other)) => one.abs_diff(other) > 60,
                _ => honest[*name] != claims[*name],
            }
        };
        let found: std::collections::BTreeSet<&str> = names.filter(differs).map(String::as_str).collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), differing, "{fault}");
        let names_issuers_key = header["kid"] == honest_header["kid"];
        assert_eq!(names_issuers_key, !fault.ends_with("header") && fault != "unknown-key", "{fault}");
    }
    let unsigned = issuer.forge("unsigned");
    assert_eq!((decoded(&unsigned).0["alg"].as_str(), unsigned.ends_with('.')), (Some("none"), true));
}

#[test]
fn keys_that_cannot_be_read_are_named() {
    let folder = tempdir().unwrap();
    let key: PathBuf = folder.path().join("1-x.key");
    fs::write(&key, "no key").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_flea-market"))
        .args(["forge", "none", "--keys"])
        .arg(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(&format!("{} is no key of the issuer", key.display())), "{told}");
}
