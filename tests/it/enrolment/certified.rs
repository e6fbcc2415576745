//! Sidecars that the authority certifies.

use std::fmt::Display;
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mantlet::x509::Credential;

use super::authority::Authority;
use super::{Home, wait_for_readyz};
use crate::support::exchange::KeptAlive;
use crate::support::load::{Load, Version};
use crate::support::service::{Service, get};
use crate::support::sidecar::{PATIENCE, Sidecar};
use crate::support::tcp_service::TcpService;

const HOUR: Duration = Duration::from_secs(3600);

/// What follows `[identity]` in the file of the callee.
fn callee(service: impl Display, keys: &str) -> String {
    format!(
        "[[inbound]]\nname = \"ads\"\nlisten = \"127.0.0.1:0\"\nforward_to = \"{service}\"\nallow = [\"gateway\"]\n{keys}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[runtime]\nworkers = 1\n"
    )
}

/// What follows `[identity]` in the file of the caller.
fn caller(peer: SocketAddr, keys: &str) -> String {
    format!(
        "[[outbound]]\nname = \"ads\"\nlisten = \"127.0.0.1:0\"\nconnect_to = \"{peer}\"\nexpect = [\"adservice\"]\n{keys}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[runtime]\nworkers = 1\n"
    )
}

/// A sidecar of this name that enrols by a secret, believing the authority by its fingerprint.
fn enrol(authority: &Authority, home: &Home, name: &str, rest: &str) -> Sidecar {
    home.write_secret(&authority.register(name));
    let sidecar = Sidecar::start(&(home.identity_of(name, authority.url(), &authority.pin()) + rest));
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    sidecar
}

/// Two sidecars, a caller's and a callee's, around a service.
struct Pair {
    homes: [Home; 2],
    inbound: Sidecar,
    outbound: Sidecar,
}

impl Pair {
    fn start(authority: &Authority, service: impl Display, keys: &str, tables: &str) -> Self {
        let homes = [Home::new(), Home::new()];
        let inbound = enrol(authority, &homes[0], "adservice", &(callee(service, keys) + tables));
        let outbound = enrol(authority, &homes[1], "gateway", &(caller(inbound.address("ads"), keys) + tables));
        Self { homes, inbound, outbound }
    }
}

fn serial(sidecar: &Sidecar) -> String {
    sidecar.status()["identity"]["serial"].as_str().unwrap().to_owned()
}

#[test]
fn two_sidecars_that_know_a_fingerprint_and_a_secret_each_speak_with_each_other() {
    let (authority, service) = (Authority::start(HOUR), Service::start());
    let pair = Pair::start(&authority, service.address, "", "");
    assert_eq!(get(pair.outbound.address("ads"), "/status/204").0, 204);
    let status = pair.inbound.status();
    assert_eq!(status["enrolment"]["state"], "certified");
    assert_eq!(status["identity"]["name"], "spiffe://fleamarket.internal/adservice");
    pair.inbound.wait_for_status("push", |status| {
        status["enrolment"]["push_connected"] == true && status["enrolment"]["registration"] == "active"
    });
}

#[test]
fn a_restart_uses_what_is_on_the_disk_while_the_authority_is_away() {
    let mut authority = Authority::start(HOUR);
    let (home, service) = (Home::new(), Service::start());
    let sidecar = enrol(&authority, &home, "adservice", &callee(service.address, ""));
    let (before, config) = (serial(&sidecar), fs::read_to_string(&sidecar.config).unwrap());
    drop(sidecar);
    authority.stop();
    let sidecar = Sidecar::start(&config);
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    assert_eq!(serial(&sidecar), before);
}

#[test]
fn certificates_of_seconds_are_renewed_under_load_without_a_failed_request() {
    let (authority, service) = (Authority::start(Duration::from_secs(6)), Service::start());
    let pair = Pair::start(&authority, service.address, "", "");
    let load = Load::plain(pair.outbound.address("ads"), Version::Http1, 4);
    for sidecar in [&pair.inbound, &pair.outbound] {
        let mut seen = serial(sidecar);
        for _ in 0..3 {
            let status = sidecar.wait_for_status("renewal", |status| status["identity"]["serial"] != seen.as_str());
            seen = status["identity"]["serial"].as_str().unwrap().to_owned();
            load.wait_for_more(10);
        }
        assert!(sidecar.metric("mantlet_identity_renewals_total", &[("outcome", "success")].into()) >= 4.0);
    }
    let tally = load.finish();
    assert_eq!(tally.failures, [] as [String; 0]);
    assert!(tally.answered > 100, "{tally:?}");
}

#[test]
fn each_renewal_makes_another_key() {
    let (authority, home) = (Authority::start(Duration::from_secs(4)), Home::new());
    let sidecar = enrol(&authority, &home, "adservice", &callee("127.0.0.1:1", ""));
    let key = |text: String| text.split("-----END").next().unwrap().to_owned();
    let (before, first) = (serial(&sidecar), key(fs::read_to_string(home.credential()).unwrap()));
    sidecar.wait_for_status("renewal", |status| status["identity"]["serial"] != before.as_str());
    assert_ne!(key(fs::read_to_string(home.credential()).unwrap()), first);
    Credential::read(&home.credential()).unwrap();
}

#[test]
fn an_authority_that_is_away_harms_nothing_until_the_end_and_is_told_before() {
    let mut authority = Authority::start(Duration::from_secs(8));
    let (home, service) = (Home::new(), Service::start());
    let sidecar = enrol(&authority, &home, "adservice", &callee(service.address, ""));
    let before = serial(&sidecar);
    authority.stop();
    sidecar
        .wait_for("warning", |event| event["message"] == "our certificate is not renewed" && event["reason"] == "away");
    let status = sidecar.status();
    assert!(status["ready"] == true && status["warnings"].to_string().contains("fails"), "{status}");
    authority.start_again();
    sidecar.wait_for_status("renewal", |status| status["identity"]["serial"] != before.as_str());
    sidecar.wait_for_metric("mantlet_identity_renewal_failing", &[].into(), 0.0);
}

#[test]
fn a_bootstrap_certificate_brings_another_certificate_after_the_last_has_expired_and_no_service_takes_it() {
    let mut authority = Authority::start(Duration::from_secs(3));
    let (home, service) = (Home::new(), Service::start());
    authority.register("adservice");
    let bootstrap = home.0.path().join("bootstrap.pem");
    authority.ca(&["bootstrap", "adservice", "--out", bootstrap.to_str().unwrap()]);
    let identity = home.identity(authority.url(), &authority.pin()).replace(
        &format!("bootstrap_secret_file = \"{}\"", home.secret_file().display()),
        &format!("bootstrap = \"{}\"", bootstrap.display()),
    );
    let sidecar = Sidecar::start(&(identity + &callee(service.address, "")));
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    authority.stop();
    sidecar.wait_for("end", |event| event["message"].as_str().unwrap().starts_with("our certificate has expired"));
    wait_for_readyz(&sidecar, "our certificate expired");
    let seen = sidecar.events().len();
    authority.start_again();
    sidecar.wait_from(seen, "certificate", |event| event["proof"] == "bootstrap certificate");
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);

    // Presented to a service it is refused.
    let credential = Credential::read(&bootstrap).unwrap();
    let refused =
        crate::support::tls_client::alert(sidecar.address("ads"), "adservice", presenting(&authority, &credential));
    assert_eq!(refused, rustls::AlertDescription::UnsupportedCertificate);
}

/// A client that presents this credential.
fn presenting(authority: &Authority, credential: &Credential) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    for anchor in mantlet::x509::read_certificates(&authority.anchors()).unwrap() {
        roots.add(anchor).unwrap();
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let resolver = rustls::sign::SingleCertAndKey::from(std::sync::Arc::clone(&credential.key));
    builder.with_root_certificates(roots).with_client_cert_resolver(std::sync::Arc::new(resolver))
}

#[test]
fn a_revocation_cuts_live_connections_a_moment_after_the_command() {
    let (authority, service) = (Authority::start(HOUR), TcpService::echo());
    let pair = Pair::start(&authority, service, "protocol = \"tcp\"", &authority.revocation());
    for sidecar in [&pair.inbound, &pair.outbound] {
        sidecar.wait_for_status("push", |status| status["enrolment"]["push_connected"] == true);
    }
    let mut live = TcpStream::connect(pair.outbound.address("ads")).unwrap();
    live.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Write::write_all(&mut live, b"hello").unwrap();
    live.read_exact(&mut [0; 5]).unwrap();
    let begun = Instant::now();
    authority.ca(&["revoke", "--name", "gateway", "--reason", "keyCompromise"]);
    let commanded = begun.elapsed();
    let ended = matches!(live.read(&mut [0; 1]), Ok(0) | Err(_));
    let cut = begun.elapsed();
    assert!(ended && cut < Duration::from_secs(10), "{cut:?}");
    pair.inbound
        .wait_for("cut", |event| event["message"] == "connection cut" && event["reason"] == "certificate_revoked");
    println!("revoke to cut: {cut:?}, of which the command took {commanded:?}");
    // The peer that was revoked learns why, and another secret brings it back.
    pair.outbound.wait_for("alarm", |event| event["message"] == "the authority has revoked our certificate");
    let before = serial(&pair.outbound);
    pair.homes[1].write_secret(&authority.secret("gateway"));
    pair.outbound.wait_for_status("certificate", |status| status["identity"]["serial"] != before.as_str());
    let mut again = TcpStream::connect(pair.outbound.address("ads")).unwrap();
    std::io::Write::write_all(&mut again, b"hello").unwrap();
    again.read_exact(&mut [0; 5]).unwrap();
}

#[test]
fn a_revocation_that_a_delta_crl_tells_cuts_live_connections() {
    let (authority, service) = (Authority::start_with_deltas(HOUR), TcpService::echo());
    let pair = Pair::start(&authority, service, "protocol = \"tcp\"", &authority.revocation_with_deltas());
    for sidecar in [&pair.inbound, &pair.outbound] {
        sidecar.wait_for_status("push", |status| status["enrolment"]["push_connected"] == true);
    }
    let mut live = TcpStream::connect(pair.outbound.address("ads")).unwrap();
    live.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Write::write_all(&mut live, b"hello").unwrap();
    live.read_exact(&mut [0; 5]).unwrap();
    authority.ca(&["revoke", "--name", "gateway", "--reason", "keyCompromise"]);
    assert!(matches!(live.read(&mut [0; 1]), Ok(0) | Err(_)), "it goes on");
    pair.inbound
        .wait_for("cut", |event| event["message"] == "connection cut" && event["reason"] == "certificate_revoked");
    pair.inbound.wait_for("the delta CRL", |event| {
        event["message"] == "a CRL is in use" && event["delta"] == true && event["entries"] == 1
    });
    assert_eq!(authority.signed(), [(2, Some(1))], "no complete CRL was signed for it");
}

#[test]
fn a_renewal_and_a_revocation_are_heard_of_while_the_process_drains() {
    let (authority, service) = (Authority::start(Duration::from_secs(8)), Service::start());
    let tables = authority.revocation() + "[timeouts]\ndrain = \"120s\"\n";
    let pair = Pair::start(&authority, service.address, "", &tables);
    pair.inbound.wait_for_status("push", |status| status["enrolment"]["push_connected"] == true);
    let mut live = KeptAlive::new(TcpStream::connect(pair.outbound.address("ads")).unwrap());
    live.send("POST /echo HTTP/1.1\r\nHost: ads\r\nContent-Length: 10\r\n\r\nfirst").unwrap();
    assert!(live.head().unwrap().starts_with("HTTP/1.1 200"));
    pair.inbound.signal("TERM");
    pair.inbound.wait_for("drain", |event| event["message"] == "shutting down");
    let seen = pair.inbound.events().len();
    pair.inbound.wait_from(seen, "renewal", |event| event["message"] == "certified by the authority");
    pair.inbound.wait_from(seen, "taking up", |event| event["message"] == "reloaded");
    authority.ca(&["revoke", "--name", "gateway", "--reason", "keyCompromise"]);
    pair.inbound
        .wait_for("cut", |event| event["message"] == "connection cut" && event["reason"] == "certificate_revoked");
    assert!(live.exactly(10, &mut Vec::new()).is_err(), "what was under way is cut");
}

#[test]
fn a_suspended_registration_is_told_and_its_lifting_too() {
    let (authority, home) = (Authority::start(HOUR), Home::new());
    let sidecar = enrol(&authority, &home, "adservice", &callee("127.0.0.1:1", ""));
    sidecar.wait_for_status("push", |status| status["enrolment"]["push_connected"] == true);
    authority.ca(&["suspend", "adservice"]);
    let status = sidecar.wait_for_status("suspension", |status| status["enrolment"]["registration"] == "suspended");
    assert!(status["warnings"].to_string().contains("has suspended the registration of adservice"), "{status}");
    authority.ca(&["resume", "adservice"]);
    sidecar.wait_for("lifting", |event| event["message"] == "our registration is active again");
}

#[test]
fn the_keys_of_the_authority_are_replaced_under_load_without_a_failed_request() {
    let (authority, service) = (Authority::start(Duration::from_secs(12)), Service::start());
    let pair = Pair::start(&authority, service.address, "", "");
    let sidecars = [&pair.inbound, &pair.outbound];
    for sidecar in sidecars {
        sidecar.wait_for_status("push", |status| status["enrolment"]["push_connected"] == true);
    }
    let load = Load::plain(pair.outbound.address("ads"), Version::Http1, 4);
    let anchors = |count: usize| {
        for sidecar in sidecars {
            sidecar.wait_for_status("anchors", |status| status["anchors"].as_array().unwrap().len() == count);
        }
        load.wait_for_more(20);
    };
    authority.ca(&["rotate", "start"]);
    anchors(2);
    let before = sidecars.map(serial);
    authority.ca(&["rotate", "switch"]);
    for (sidecar, before) in sidecars.iter().zip(&before) {
        sidecar.wait_for_status("renewal", |status| status["identity"]["serial"] != before.as_str());
    }
    load.wait_for_more(20);
    // It is refused for as long as a certificate of the old keys is valid, and so may be that of a live connection.
    let deadline = Instant::now() + 3 * PATIENCE;
    while !authority.tries(&["rotate", "retire"]) {
        assert!(Instant::now() < deadline, "the old anchor is never let go");
    }
    anchors(1);
    assert_eq!(load.finish().failures, [] as [String; 0]);
}
