//! Configuration files: what is read, what is refused, and what the refusal says.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;

use mantlet::config::{Config, Issuer, Problem, Problems, Severity, TokenAlgorithm};
use proptest::prelude::*;

const GOOD: &str = r#"
[identity]
certificate = "certs/ads.pem"
private_key = "certs/ads.key"

[trust]
anchors = ["certs/ca.pem"]

[revocation]
sources = ["certs/ca.crl"]

[[inbound]]
name = "ads"
listen = "0.0.0.0:8443"
forward_to = "127.0.0.1:8080"
allow = ["spiffe://fleamarket.internal/gateway"]

[[outbound]]
name = "users"
listen = "127.0.0.1:9001"
connect_to = "userservice:8443"
"#;

fn environment(name: &str) -> Option<OsString> {
    match name {
        "PORT" => Some("8443".into()),
        "WORKERS" => Some("3".into()),
        "ACCESS" => Some("true".into()),
        "DIR" => Some("/etc/mantlet".into()),
        "EMPTY" => Some("".into()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<(Config, Vec<Problem>), Problems> {
    Config::parse_with(Path::new("conf/ads.toml"), text, &environment)
}

/// The good file with one line, known by its key and its place among equal keys, replaced or removed.
fn with(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(GOOD.to_owned(), |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "{old}");
        text.replace(old, new)
    })
}

/// Every problem of a text, errors and warnings, as `mantlet check` shows them.
fn report(text: &str) -> String {
    let problems = match parse(text) {
        Ok((_, warnings)) => Problems::new("conf/ads.toml", text, warnings),
        Err(problems) => problems,
    };
    format!("{}{}\n", problems.report(false), problems.verdict())
}

#[test]
fn a_good_file_is_read_with_its_defaults() {
    let (config, warnings) = parse(&format!("{GOOD}[runtime]\nworkers = 2")).expect("good");
    assert_eq!(warnings, []);
    insta::assert_debug_snapshot!(config);
}

#[test]
fn workers_default_to_the_cores_of_this_process() {
    let (config, _) = parse(GOOD).expect("good");
    assert_eq!(config.runtime.workers, std::thread::available_parallelism().expect("known").get());
}

#[test]
fn environment_variables_stand_for_strings_integers_and_booleans() {
    let text = with(&[
        ("\"certs/ads.pem\"", "\"${DIR}/ads.pem\""),
        ("\"certs/ads.key\"", "\"certs/$$ads.key\""),
        ("0.0.0.0:8443", "0.0.0.0:${PORT}"),
    ]);
    let text = format!("{text}[runtime]\nworkers = \"${{WORKERS}}\"\n[log]\naccess = \"${{ACCESS}}\"\n");
    let (config, warnings) = parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings, []);
    let (certificate, key) = config.identity.files();
    assert_eq!(certificate.expect("set"), Path::new("/etc/mantlet/ads.pem"));
    assert_eq!(key.expect("set"), Path::new("conf/certs/$ads.key"));
    assert_eq!(config.inbound[0].listen.value.to_string(), "0.0.0.0:8443");
    assert_eq!((config.runtime.workers, config.log.access), (3, true));
}

#[test]
fn expect_defaults_to_the_host_dialled() {
    for (connect_to, expect, server_name) in [
        ("UserService:8443", "userservice", Some("userservice")),
        ("users.internal.:8443", "users.internal", Some("users.internal")),
        ("anonymous:8443", "anonymous", Some("anonymous")),
        ("10.0.0.7:8443", "10.0.0.7", None),
        ("[fd00::7]:8443", "fd00::7", None),
    ] {
        let (config, _) =
            parse(&with(&[("userservice:8443", connect_to)])).unwrap_or_else(|problems| panic!("{problems}"));
        let outbound = &config.outbound[0];
        assert_eq!(outbound.expect.iter().map(ToString::to_string).collect::<Vec<_>>(), [expect]);
        assert_ne!(outbound.expect, [mantlet::identity::PeerPattern::Anonymous]);
        assert_eq!(outbound.server_name.as_deref(), server_name, "{connect_to}");
    }
}

#[test]
fn server_name_falls_back_to_a_dns_name_of_expect() {
    let text =
        with(&[("\"userservice:8443\"", "\"10.0.0.7:8443\"\nexpect = [\"spiffe://fm/users\", \"users.internal\"]")]);
    let (config, _) = parse(&text).expect("good");
    assert_eq!(config.outbound[0].server_name.as_deref(), Some("users.internal"));
}

#[test]
fn a_response_header_timeout_of_zero_is_no_bound() {
    for (written, bound) in [("0s", None), ("3s", Some(std::time::Duration::from_secs(3)))] {
        let (config, _) = parse(&format!("{GOOD}[timeouts]\nresponse_header = \"{written}\"")).expect("good");
        assert_eq!(config.timeouts.response_header, bound);
    }
}

#[test]
fn relative_paths_begin_at_the_file() {
    let (config, _) = Config::parse_with(Path::new("ads.toml"), GOOD, &environment).expect("good");
    assert_eq!(config.trust.anchors[0].value, Path::new("certs/ca.pem"));
    let (config, _) = Config::parse_with(Path::new("/etc/mantlet/ads.toml"), GOOD, &environment).expect("good");
    assert_eq!(config.trust.anchors[0].value, Path::new("/etc/mantlet/certs/ca.pem"));
}

/// What is wrong, and the good file so changed.
fn bad_files() -> Vec<(&'static str, String)> {
    let mut files = vec![
        ("nothing at all", String::new()),
        ("a section is an array", with(&[("[identity]", "[[identity]]")])),
        ("a listener is no array", with(&[("[[inbound]]", "[inbound]")])),
        ("a section is a value", with(&[("\n[identity]", "log = 3\n[identity]")])),
        ("an unknown section", format!("{GOOD}[timeout]\nidle = \"1s\"")),
        ("an unknown section far from all", format!("{GOOD}[zebra]\n")),
        ("an unknown table in a section", format!("{GOOD}[tls.ciphers]\nx = 1\n")),
        ("a mistyped key", with(&[("certificate =", "certifcate =")])),
        ("a key of nobody", with(&[("private_key = ", "zebra = ")])),
        ("no certificate", with(&[("certificate = \"certs/ads.pem\"", "")])),
        ("a certificate that is a number", with(&[("\"certs/ads.pem\"", "3")])),
        ("an empty path", with(&[("\"certs/ads.pem\"", "\"\"")])),
        ("no anchors", with(&[("anchors = [\"certs/ca.pem\"]", "")])),
        ("an empty list of anchors", with(&[("[\"certs/ca.pem\"]", "[]")])),
        ("one anchor that is no list", with(&[("[\"certs/ca.pem\"]", "\"certs/ca.pem\"")])),
        ("an anchor that is no string", with(&[("[\"certs/ca.pem\"]", "[\"certs/ca.pem\", 1.5]")])),
        ("an anchor twice", with(&[("[\"certs/ca.pem\"]", "[\"certs/ca.pem\", \"certs/ca.pem\"]")])),
        ("a path too deep", with(&[("[\"certs/ca.pem\"]", "[\"certs/ca.pem\"]\nmax_depth = 7")])),
        ("no revocation", with(&[("[revocation]\nsources = [\"certs/ca.crl\"]", "")])),
        ("no CRL", with(&[("[\"certs/ca.crl\"]", "[]")])),
        ("no sources", with(&[("sources = [\"certs/ca.crl\"]", "")])),
    ];
    files.extend(bad_keys_of_sections());
    files.extend(bad_inbounds());
    files.extend(bad_rules());
    files.extend(bad_outbounds());
    files.extend(bad_addresses());
    files.extend(bad_issuers());
    files.extend(bad_texts());
    files.extend(bad_enrolments());
    files
}

fn bad_enrolments() -> Vec<(&'static str, String)> {
    const ENROLS: &str = "authority = \"https://ca:8444\"\nbootstrap = \"secrets/bootstrap.pem\"\nname = \"ads\"\nstate_dir = \"/var/lib/mantlet\"";
    let identity = |lines: &str| with(&[("certificate = \"certs/ads.pem\"\nprivate_key = \"certs/ads.key\"", lines)]);
    let enrols = |old: &str, new: &str| identity(&ENROLS.replace(old, new));
    let without_anchors = |text: String| text.replace("anchors = [\"certs/ca.pem\"]", "");
    let fingerprint = |value: &str| format!("{ENROLS}\nauthority_fingerprint = \"{value}\"");
    vec![
        (
            "files beside an authority",
            identity(&format!("{ENROLS}\ncertificate = \"certs/ads.pem\"\nprivate_key = \"ads.key\"")),
        ),
        (
            "enrolment without an authority",
            enrols("authority = \"https://ca:8444\"\n", "certificate = \"certs/ads.pem\"\n"),
        ),
        ("an authority over http", enrols("https://ca", "http://ca")),
        ("an authority with a path", enrols("ca:8444", "ca:8444/est")),
        ("an authority with a password", enrols("ca:8444", "ads:secret@ca:8444")),
        ("an authority whose name nobody can prove", enrols("ca:8444", "-ca:8444")),
        ("an authority that proves nothing", identity(&format!("{ENROLS}\nauthority_name = \"anonymous\""))),
        ("two proofs of who we are", identity(&format!("{ENROLS}\nbootstrap_secret_file = \"secret\""))),
        ("no proof of who we are", enrols("bootstrap = \"secrets/bootstrap.pem\"\n", "")),
        ("no name to enrol by", enrols("name = \"ads\"\n", "")),
        ("a name with a colon", enrols("\"ads\"", "\"ads:x\"")),
        ("no state folder", enrols("\nstate_dir = \"/var/lib/mantlet\"", "")),
        ("a short fingerprint", identity(&fingerprint("sha256:00"))),
        ("no anchor and no fingerprint", without_anchors(identity(ENROLS))),
        ("no trust and no fingerprint", without_anchors(identity(ENROLS)).replace("[trust]", "")),
        (
            "anchors of no authority",
            with(&[("[\"certs/ca.pem\"]", "[\"certs/ca.pem\"]\nanchors_from_authority = true")]),
        ),
        (
            "no anchors from anywhere",
            without_anchors(identity(&fingerprint(&format!("sha256:{}", "0".repeat(64)))))
                .replace("[trust]", "[trust]\nanchors_from_authority = false"),
        ),
    ]
}

#[test]
fn an_authority_takes_the_place_of_the_files() {
    let pin = format!("sha256:{}", "00".repeat(32));
    let keys = format!(
        "authority = \"https://CA.internal:8444\"\nauthority_fingerprint = \"{pin}\"\nbootstrap_secret_file = \"secret\"\nname = \"ads\"\nstate_dir = \"state\""
    );
    let text = with(&[("certificate = \"certs/ads.pem\"\nprivate_key = \"certs/ads.key\"", &keys)]);
    let (config, warnings) = parse(&text).expect("good");
    assert_eq!(warnings, []);
    let enrolment = config.identity.enrolment().expect("an authority");
    assert_eq!(enrolment.authority.value.to_string(), "https://ca.internal:8444");
    assert_eq!(enrolment.expect.to_string(), "ca.internal");
    assert_eq!(config.identity.files(), (Some(Path::new("conf/state/credential.pem").to_owned()), None));
    assert!(!config.trust.anchors_from_authority, "files that are named are all that is believed");
    let (config, _) = parse(&text.replace("[trust]\nanchors = [\"certs/ca.pem\"]", "")).expect("good");
    assert!(config.trust.anchors_from_authority && config.trust.anchors.is_empty());
}

fn bad_keys_of_sections() -> Vec<(&'static str, String)> {
    let revocation = |line: &str| with(&[("[\"certs/ca.crl\"]", &format!("[\"certs/ca.crl\"]\n{line}"))]);
    let section = |lines: &str| format!("{GOOD}\n{lines}\n");
    vec![
        ("a grace without a unit", revocation("grace = \"60\"")),
        ("a grace beyond all reason", revocation("grace = \"1y\"")),
        ("an unknown policy", revocation("on_stale = \"denied\"")),
        ("an unknown policy for a missing CRL", revocation("on_missing = \"ignore\"")),
        ("an unknown depth", revocation("depth = \"leaf\"")),
        ("a grace for the revoked beyond all reason", revocation("revoked_grace = \"2h\"")),
        ("a fetch every second", revocation("max_age = \"1s\"")),
        ("no time for a fetch", revocation("fetch_timeout = \"0s\"")),
        ("a CRL of no size", revocation("max_size = 10")),
        ("distribution points in quotes", revocation("distribution_points = \"yes\"")),
        ("hosts without distribution points", revocation("distribution_point_hosts = [\"ca.example\"]")),
        ("an address of another scheme", with(&[("certs/ca.crl", "ftp://ca.example/ca.crl")])),
        ("an address without a host", with(&[("certs/ca.crl", "http:///ca.crl")])),
        ("an address with a password", with(&[("certs/ca.crl", "https://user:secret@ca.example/ca.crl")])),
        ("an address without a cache", with(&[("certs/ca.crl", "http://ca.example/ca.crl")])),
        ("a port beyond all ports", with(&[("certs/ca.crl", "http://ca.example:99999/ca.crl")])),
        ("no workers", section("[runtime]\nworkers = 0")),
        ("too many workers", section("[runtime]\nworkers = 1025")),
        ("workers in quotes", section("[runtime]\nworkers = \"2\"")),
        ("negative connections", section("[limits]\nmax_connections = -1")),
        ("headers too small to parse", section("[limits]\nmax_header_bytes = 100")),
        ("a number beyond 64 bits", section("[limits]\nmax_streams = 99999999999999999999")),
        ("no time for a handshake", section("[timeouts]\nhandshake = \"0s\"")),
        ("a duration that is a number", section("[timeouts]\nidle = 30")),
        ("a duration that is a word", section("[timeouts]\nidle = \"long\"")),
        ("a drain beyond all reason", section("[timeouts]\ndrain = \"2days\"")),
        ("a renamed timeout", section("[timeouts]\ndrain_timeout = \"30s\"")),
        ("TLS 1.1", section("[tls]\nmin_version = \"1.1\"")),
        ("a version that is a number", section("[tls]\nmin_version = 1.3")),
        ("an unknown log format", section("[log]\nformat = \"jsn\"")),
        ("a level that is none", section("[log]\nlevel = \"inof\"")),
        ("a directive that is none", section("[log]\nlevel = \"info,mantlet=loud\"")),
        ("access that is a string", section("[log]\naccess = \"yes\"")),
    ]
}

fn bad_inbounds() -> Vec<(&'static str, String)> {
    let allow = "allow = [\"spiffe://fleamarket.internal/gateway\"]";
    let inbound = |line: &str| with(&[(allow, &format!("{allow}\n{line}"))]);
    let instead = |line: &str| with(&[(allow, line)]);
    vec![
        ("no name", with(&[("name = \"ads\"", "")])),
        ("a name with a space", with(&[("\"ads\"", "\"the ads\"")])),
        ("a name taken twice", with(&[("\"users\"", "\"ads\"")])),
        ("no listen", with(&[("listen = \"0.0.0.0:8443\"", "")])),
        ("a listen without an address", with(&[("\"0.0.0.0:8443\"", "\":8443\"")])),
        ("a relative socket", with(&[("\"127.0.0.1:8080\"", "\"unix:app.sock\"")])),
        ("a socket too long", with(&[("127.0.0.1:8080", &format!("unix:/{}", "run/".repeat(27)))])),
        ("no forward_to", with(&[("forward_to = \"127.0.0.1:8080\"", "")])),
        ("a service off loopback", with(&[("\"127.0.0.1:8080\"", "\"10.0.0.7:8080\"")])),
        ("a service on port 0", with(&[("\"127.0.0.1:8080\"", "\"127.0.0.1:0\"")])),
        ("a waiver for nothing", inbound("unsafe_forward_to = true")),
        ("a waiver that is a string", inbound("unsafe_forward_to = \"true\"")),
        ("an unknown protocol", inbound("protocol = \"htp\"")),
        ("an unknown protocol far from all", inbound("protocol = \"smtp+tls\"")),
        ("an unknown app protocol", inbound("app_protocol = \"h2c\"")),
        ("an unknown client_auth", inbound("client_auth = \"require\"")),
        ("nobody on the list", instead("allow = []")),
        ("no list", instead("")),
        ("a pattern with a wild middle", instead("allow = [\"spiffe://fm/*/ads\"]")),
        ("a pattern of another scheme", instead("allow = [\"https://fm/ads\"]")),
        ("a pattern that is no name", instead("allow = [\"ads service\"]")),
        ("a pattern twice", instead("allow = [\"ads.internal\", \"ADS.internal\"]")),
        ("anonymous without client_auth", instead("allow = [\"anonymous\"]")),
        ("client_auth without anonymous", inbound("client_auth = \"optional\"")),
        ("an unknown identity header", inbound("identity_headers = [\"x-mantlet-per\"]")),
        ("an identity header twice", inbound("identity_headers = [\"client-cert\", \"client-cert\"]")),
        ("HTTP keys for TCP", inbound("protocol = \"tcp\"\napp_protocol = \"auto\"\nidentity_headers = []")),
        ("a PROXY header for HTTP", inbound("proxy_protocol = \"v2\"")),
        ("a PROXY header of version 1", inbound("protocol = \"tcp\"\nproxy_protocol = \"v1\"")),
    ]
}

fn bad_rules() -> Vec<(&'static str, String)> {
    let inbound = |keys: &str, rule: &str| {
        let allow = "allow = [\"spiffe://fleamarket.internal/gateway\"]";
        with(&[(allow, &format!("{allow}\n{keys}\n[[inbound.rule]]\n{rule}\n"))])
    };
    let rule = |lines: &str| inbound("", &format!("name = \"read\"\n{lines}"));
    vec![
        ("a rule without a name", inbound("", "methods = [\"GET\"]")),
        ("a rule with a name of many lines", inbound("", "name = \"a\\nb\"")),
        ("two rules of one name", rule("methods = [\"GET\"]\n[[inbound.rule]]\nname = \"read\"")),
        ("a rule in single brackets", with(&[("[[outbound]]", "[inbound.rule]\n[[outbound]]")])),
        ("a list of no rules", with(&[("[[outbound]]", "rule = []\n[[outbound]]")])),
        ("an unknown action", rule("action = \"permit\"")),
        ("a key of a rule that is none", rule("path = \"/ads\"")),
        ("a rule about nobody", rule("from = []")),
        ("a rule about a caller who is kept out", rule("from = [\"spiffe://fleamarket.internal/batch\"]")),
        ("a rule about anonymous callers who do not get in", rule("from = [\"anonymous\"]")),
        ("a rule about no method", rule("methods = []")),
        ("a method in small letters", rule("methods = [\"get\"]")),
        ("a method that is none", rule("methods = [\"GET POST\", \"*\"]")),
        ("a rule about no path", rule("paths = []")),
        ("a path without a slash", rule("paths = [\"ads\"]")),
        ("a path with a wild middle", rule("paths = [\"/ads/*/photos\"]")),
        ("a path with half a segment in braces", rule("paths = [\"/ads/n-{id}\"]")),
        ("a path with a query", rule("paths = [\"/ads?id=7\"]")),
        ("a path that no request has", rule("paths = [\"/ads/../users\", \"/ads//7\", \"/a%2Fb\"]")),
        ("a claim of which nobody may tell", rule("claims = { role = \"seller\" }")),
        ("a user of whom nobody may tell", rule("user = true")),
        (
            "claims that are no table",
            inbound("user_from = [\"spiffe://fleamarket.internal/gateway\"]", "name = \"r\"\nclaims = [\"role\"]"),
        ),
        ("no claims", inbound("user_from = [\"spiffe://fleamarket.internal/gateway\"]", "name = \"r\"\nclaims = {}")),
        (
            "a claim of no value",
            inbound("user_from = [\"spiffe://fleamarket.internal/gateway\"]", "name = \"r\"\nclaims = { role = [] }"),
        ),
        (
            "a claim of a time",
            inbound(
                "user_from = [\"spiffe://fleamarket.internal/gateway\"]",
                "name = \"r\"\nclaims = { exp = 2026-01-01 }",
            ),
        ),
        ("anybody tells of the user", inbound("user_from = [\"anonymous\"]", "name = \"r\"")),
        (
            "a stranger tells of the user",
            inbound("user_from = [\"spiffe://fleamarket.internal/edge\"]", "name = \"r\""),
        ),
        ("a rule that is never asked", rule("[[inbound.rule]]\nname = \"late\"\nmethods = [\"GET\"]")),
        ("nothing but denials", rule("action = \"deny\"\npaths = [\"/admin/*\"]")),
        (
            "rules for TCP",
            inbound("protocol = \"tcp\"\nuser_from = [\"spiffe://fleamarket.internal/gateway\"]", "name = \"r\""),
        ),
    ]
}

fn bad_outbounds() -> Vec<(&'static str, String)> {
    let outbound = |lines: &str| format!("{GOOD}{lines}\n");
    vec![
        ("no connect_to", with(&[("connect_to = \"userservice:8443\"", "")])),
        ("a peer without a port", with(&[("\"userservice:8443\"", "\"userservice\"")])),
        ("a peer on port 0", with(&[("\"userservice:8443\"", "\"userservice:0\"")])),
        ("a peer with a scheme", with(&[("\"userservice:8443\"", "\"https://userservice:8443\"")])),
        ("a peer whose host is no name", with(&[("\"userservice:8443\"", "\"-users:8443\"")])),
        ("a plaintext listener off loopback", with(&[("\"127.0.0.1:9001\"", "\"0.0.0.0:9001\"")])),
        ("a plaintext waiver for nothing", outbound("unsafe_listen = true")),
        ("an unknown hop", outbound("hop = \"h2\"")),
        ("a hop for TCP", outbound("protocol = \"tcp\"\nhop = \"auto\"")),
        ("no identity expected", outbound("expect = []")),
        ("nobody in particular expected", outbound("expect = [\"anonymous\"]")),
        ("an expected pattern that is none", outbound("expect = [\"spiffe://\"]")),
        ("a server name that is an address", outbound("server_name = \"10.0.0.7\"")),
        ("a key of the other direction", outbound("allow = [\"ads.internal\"]")),
    ]
}

/// The good file with an issuer, one line of which is changed.
fn with_issuer(changes: &[(&str, &str)]) -> String {
    let issuer = r#"
[[issuer]]
name = "market"
issuer = "https://issuer.example"
audiences = ["flea-market"]
algorithms = ["RS256"]
jwks_url = "https://issuer.example/jwks.json"
"#;
    let changed = changes.iter().fold(issuer.to_owned(), |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "{old}");
        text.replace(old, new)
    });
    format!("{GOOD}{changed}")
}

fn bad_issuers() -> Vec<(&'static str, String)> {
    let url = "\"https://issuer.example/jwks.json\"";
    let also = |line: &str| with_issuer(&[("name = \"market\"", &format!("name = \"market\"\n{line}"))]);
    let second = |name: &str, issuer: &str| {
        let rest = "audiences = [\"a\"]\nalgorithms = [\"ES256\"]\njwks_url = \"https://b.example/\"\n";
        format!("{}\n[[issuer]]\nname = \"{name}\"\nissuer = \"{issuer}\"\n{rest}", with_issuer(&[]))
    };
    vec![
        ("an issuer without anything", format!("{GOOD}[[issuer]]\n")),
        ("an issuer whose name is no label", with_issuer(&[("\"market\"", "\"the market\"")])),
        ("two issuers of one name", second("market", "https://b.example")),
        ("two issuers of one iss", second("second", "https://issuer.example")),
        ("no audience", with_issuer(&[("[\"flea-market\"]", "[]")])),
        ("an audience that is no list", with_issuer(&[("[\"flea-market\"]", "\"flea-market\"")])),
        ("no algorithm", with_issuer(&[("[\"RS256\"]", "[]")])),
        ("tokens without a signature", with_issuer(&[("[\"RS256\"]", "[\"none\"]")])),
        ("tokens signed by a shared secret", with_issuer(&[("[\"RS256\"]", "[\"RS256\", \"HS256\"]")])),
        ("keys over http", with_issuer(&[(url, "\"http://issuer.example/jwks.json\"")])),
        ("keys in a file", with_issuer(&[(url, "\"keys/jwks.json\"")])),
        ("keys over ftp", with_issuer(&[(url, "\"ftp://issuer.example/jwks.json\"")])),
        ("keys for a password", with_issuer(&[(url, "\"https://me:secret@issuer.example/\"")])),
        ("keys in an unknown form", also("keys_format = \"pem\"")),
        ("no anchor of the issuer", also("jwks_anchors = []")),
        ("too much leeway", also("leeway = \"1h\"")),
        ("keys that serve for ever", also("max_stale = \"1y\"")),
        ("no bound of a token", also("max_token_size = 1000000")),
    ]
}

#[test]
fn an_issuer_is_read_with_its_defaults() {
    let (config, warnings) = parse(&with_issuer(&[])).expect("good");
    assert_eq!(warnings, []);
    let url = "https://issuer.example/jwks.json".parse().expect("an address");
    let expected = Issuer::of("market", "https://issuer.example", "flea-market", TokenAlgorithm::Rs256, url);
    assert_eq!(config.issuers, [expected]);
}

fn bad_addresses() -> Vec<(&'static str, String)> {
    let admin = |listen: &str| format!("{GOOD}[admin]\nlisten = \"{listen}\"\n");
    vec![
        ("no address of the admin listener", format!("{GOOD}[admin]\n")),
        ("an admin listener off loopback", admin("10.0.0.7:9900")),
        ("an admin listener on another's port", admin("127.0.0.1:8443")),
        ("two listeners on one address", with(&[("0.0.0.0:8443", "127.0.0.1:9001")])),
        ("two listeners on one socket", with(&[("0.0.0.0:8443", "unix:/run/a"), ("127.0.0.1:9001", "unix:/run/a")])),
        ("a service that is our own listener", with(&[("127.0.0.1:8080", "127.0.0.1:8443")])),
        ("a service that is the admin listener", admin("127.0.0.1:8080")),
        ("a peer that is our own plaintext", with(&[("userservice:8443", "127.0.0.1:9001")])),
    ]
}

fn bad_texts() -> Vec<(&'static str, String)> {
    vec![
        ("a variable that is not set", with(&[("certs/ads.pem", "${CERTS}/ads.pem")])),
        ("a variable that is empty", with(&[("certs/ads.pem", "${EMPTY}")])),
        ("a variable without an end", with(&[("certs/ads.pem", "${CERTS/ads.pem")])),
        ("a lone dollar sign", with(&[("certs/ads.pem", "$CERTS/ads.pem")])),
        ("a variable that is no number", format!("{GOOD}[runtime]\nworkers = \"${{DIR}}\"\n")),
        ("a value without quotes", with(&[("\"0.0.0.0:8443\"", "0.0.0.0:8443")])),
        ("a string without an end", with(&[("\"127.0.0.1:8080\"", "\"127.0.0.1:8080")])),
        ("a bare word", with(&[("\"0.0.0.0:8443\"", "everywhere # all of it")])),
        ("two broken lines", with(&[("\"0.0.0.0:8443\"", "0.0.0.0:8443"), ("\"127.0.0.1:9001\"", "127.0.0.1:9001")])),
        ("a key without a value", with(&[("\"0.0.0.0:8443\"", "")])),
        ("a line that is no key", with(&[("name = \"ads\"", "the ads service")])),
        ("a colon for an equals sign", with(&[("name = \"ads\"", "name: \"ads\"")])),
        ("a mistyped section", with(&[("[trust]", "[thrust]")])),
        ("a header without an end", with(&[("[identity]", "[identity")])),
        ("a key twice", with(&[("name = \"ads\"", "name = \"ads\"\nname = \"ads\"")])),
        ("a section twice", format!("{GOOD}[trust]\n")),
        (
            "wrong values before a syntax error",
            with(&[("\"certs/ads.pem\"", "3"), ("[\"certs/ca.crl\"]", "[\"certs/ca.crl\""), ("127.0.0.1:9001", "x")]),
        ),
        (
            "many things at once",
            with(&[
                ("certificate", "certificat"),
                ("[\"certs/ca.pem\"]", "\"certs/ca.pem\""),
                ("0.0.0.0:8443", "0.0.0.0:84430"),
                ("127.0.0.1:8080", "192.0.2.1:8080"),
                ("\"users\"", "\"ads\""),
                ("connect_to", "conect_to"),
            ]),
        ),
    ]
}

#[test]
fn every_bad_file_is_reported_with_place_and_remedy() {
    let mut all = String::new();
    for (what, text) in bad_files() {
        let _ = write!(all, "=== {what}\n{}\n", report(&text));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_problem_has_a_message_a_remedy_and_a_span_inside_the_text() {
    for (what, text) in bad_files() {
        let list = match parse(&text) {
            Ok((_, warnings)) => warnings,
            Err(problems) => {
                assert!(problems.errors() > 0, "{what}");
                problems.list
            }
        };
        assert!(!list.is_empty(), "{what} is not reported");
        for problem in list {
            assert!(!problem.message.is_empty() && !problem.remedy.is_empty(), "{what}: {problem:?}");
            assert!(!problem.message.ends_with('.') && !problem.remedy.ends_with('.'), "{what}: {problem:?}");
            assert!(problem.span.is_none_or(|span| text.get(span).is_some()), "{what}");
        }
    }
}

#[test]
fn a_span_covers_the_value_at_fault() {
    let text = with(&[("\"0.0.0.0:8443\"", "\"ß:1\"")]);
    let problems = parse(&text).expect_err("bad");
    let [problem] = &problems.list[..] else { panic!("{problems}") };
    assert_eq!(problem.severity, Severity::Error);
    assert_eq!(problems.text_of(problem), Some("\"ß:1\""));
    let position = problems.position(problem).expect("a place");
    assert_eq!((position.line, position.column), (14, 10));
    assert_eq!((position.end_line, position.end_column), (14, 15));
}

#[test]
fn compact_lines_name_file_line_and_column() {
    let text = with(&[("\"ads\"", "\"a b\""), ("\"127.0.0.1:8080\"", "\"nowhere\"")]);
    let problems = parse(&text).expect_err("bad");
    insta::assert_snapshot!(problems.to_string(), @r#"
    conf/ads.toml:13:8: inbound "a b": name is "a b": expected 1 to 63 of the characters a-z A-Z 0-9 . _ -; write a short name such as "ads"
    conf/ads.toml:15:14: inbound "a b": forward_to: "nowhere" is not an address: expected IP:PORT such as "127.0.0.1:8080", or "unix:/PATH"; write the service's address, such as "127.0.0.1:8080"
    "#);
}

#[test]
fn an_unreadable_file_is_a_problem() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Config::load(&folder.path().join("none.toml")).expect_err("missing");
    assert!(
        missing.to_string().contains("none.toml: the configuration file cannot be read: No such file"),
        "{missing}"
    );
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"[log]\nlevel = \"\xff\"").expect("written");
    let problems = Config::load(&binary).expect_err("not text");
    assert!(problems.to_string().contains("is not UTF-8 text: line 2"), "{problems}");
    let large = folder.path().join("large.toml");
    std::fs::write(&large, " ".repeat(1024 * 1024 + 1)).expect("written");
    let problems = Config::load(&large).expect_err("too large");
    assert!(problems.to_string().contains("is larger than 1048576 bytes"), "{problems}");
}

#[test]
fn the_shipped_examples_are_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        // That of an authority is another kind of file.
        if path.is_dir() {
            continue;
        }
        let (_, warnings) = Config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
        let expected = usize::from(path.ends_with("mantlet.reference.toml"));
        assert_eq!(warnings.len(), expected, "{}: {warnings:?}", path.display());
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
}

/// Texts that are nearly a configuration: pieces of the good one, shuffled, with noise between.
fn near_texts() -> impl Strategy<Value = String> {
    let pieces: Vec<String> = GOOD.split_inclusive(['\n', ' ']).map(str::to_owned).collect();
    let piece = prop_oneof![
        6 => proptest::sample::select(pieces),
        1 => "[\\[\\]\"'=,.#{}$\\\\\n0-9a-z]{0,6}",
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in prop_oneof![near_texts(), any::<String>()]) {
        if let Err(problems) = parse(&text) {
            prop_assert!(problems.errors() > 0);
            prop_assert!(!problems.report(false).is_empty());
            for problem in &problems.list {
                problems.position(problem);
            }
        }
    }
}
