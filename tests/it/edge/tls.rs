//! The public side's TLS: its certificate, its reload, and clients that present one of theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::AlertDescription;

use crate::support::gateway::{Gateway, HOST, OPEN, request};
use crate::support::pki::Pki;
use crate::support::sidecar::Sidecar;
use crate::support::tls_client::{HTTP1, alert, client_config};

#[test]
fn the_public_sees_the_public_certificate_and_peers_the_identity() {
    let gateway = Gateway::open("");
    let mut connection = gateway.connect();
    let presented = connection.stream().conn.peer_certificates().unwrap()[0].clone();
    assert_eq!(presented, gateway.certificate.der);
    assert_eq!(connection.get("/ads").unwrap().received("x-mantlet-peer"), [gateway.own.spiffe.as_str()]);
    let status = gateway.edge.status();
    assert_eq!(status["public_certificates"][0]["listener"], "public");
    assert_eq!(status["public_certificates"][0]["serial"], gateway.certificate.serial_hex());
    assert_eq!(status["upstreams"][0]["name"], "ads");
    assert!(gateway.edge.metric("mantlet_certificate_expiry_timestamp_seconds", &[("kind", "public")].into()) > 1e9);
}

#[test]
fn a_new_certificate_is_presented_without_one_failed_request() {
    let gateway = Gateway::open("");
    let (stop, failed, served) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for fresh in [true, false] {
            let (gateway, stop, failed, served) = (&gateway, &stop, &failed, &served);
            scope.spawn(move || {
                let mut kept = gateway.connect();
                while !stop.load(Ordering::Relaxed) {
                    if fresh {
                        kept = gateway.connect();
                    }
                    let answer = kept.get("/ads");
                    let count = if answer.is_ok_and(|answer| answer.status == 200) { served } else { failed };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            let seen = gateway.edge.events().len();
            let next = gateway.public.issue_with(HOST, "public", |_| {});
            gateway.edge.wait_from(seen, "reload", |event| event["message"] == "reloaded");
            // The pair may have been taken up between the writing of its two files, and was then tried again.
            gateway.edge.wait_for_status("the new certificate", |status| {
                status["public_certificates"][0]["serial"] == next.serial_hex()
            });
            let presented = gateway.connect().stream().conn.peer_certificates().unwrap()[0].clone();
            assert_eq!(presented, next.der);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    assert!(served.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_pair_that_does_not_match_leaves_the_last_good_one() {
    let gateway = Gateway::open("");
    let other = gateway.public.issue_with(HOST, "other", |_| {});
    std::fs::copy(&other.key, &gateway.certificate.key).unwrap();
    let told = gateway.edge.wait_for("refusal", |event| {
        event["error"].as_str().is_some_and(|error| error.contains("the private key is not that of the certificate"))
    });
    assert!(told["message"].as_str().unwrap().contains("not taken up"), "{told}");
    let presented = gateway.connect().stream().conn.peer_certificates().unwrap()[0].clone();
    assert_eq!(presented, gateway.certificate.der);
}

#[test]
fn a_gateway_without_a_usable_certificate_does_not_start() {
    let gateway = Gateway::open("");
    let expired = gateway.public.issue_with(HOST, "expired", |params| {
        params.not_after = time::OffsetDateTime::now_utc() - std::time::Duration::from_secs(60);
    });
    let config = gateway.config("", OPEN, "");
    let config = config.replace("public.pem", "expired.pem").replace("public.key", "expired.key");
    assert!(expired.certificate.exists());
    let (status, text) = Sidecar::start_and_fail(&config);
    assert!(!status.success() && text.contains("expired.pem") && text.contains("is valid from"), "{text}");
}

#[test]
fn a_client_may_present_a_certificate_where_that_is_asked_for_and_a_bad_one_is_refused() {
    let gateway = Gateway::open("client_auth = \"optional\"");
    let known = gateway.pki.issue("phone");
    let stranger = Pki::named("strangers").issue("phone");
    assert_eq!(gateway.connect().get("/ads").unwrap().status, 200, "none is needed");
    let answer = gateway.connect_offering(Some(&known), HTTP1).get("/ads").unwrap();
    assert_eq!((answer.status, answer.received("x-mantlet-peer")), (200, vec![gateway.own.spiffe.clone()]));
    let event = gateway.edge.wait_for("request", |event| event["peer"] == known.spiffe.as_str());
    assert_eq!(event["peer.serial"], known.serial_hex());
    let config = client_config(&gateway.public, Some(&stranger), HTTP1);
    assert_eq!(alert(gateway.address(), HOST, config), AlertDescription::UnknownCA);
}

#[test]
fn a_revoked_client_loses_its_connection() {
    let pki = Pki::new();
    let crl = pki.revoke(&[]);
    let service = crate::support::service::Service::start();
    let address = service.address;
    let tables = format!("[revocation]\nsources = [\"{}\"]\n", crl.display());
    let gateway = Gateway::within(pki, service, address, "client_auth = \"optional\"", OPEN, &tables);
    let phone = gateway.pki.issue("phone");
    let mut connection = gateway.connect_offering(Some(&phone), HTTP1);
    assert_eq!(connection.get("/ads").unwrap().status, 200);
    let mut anonymous = gateway.connect();
    assert_eq!(anonymous.get("/ads").unwrap().status, 200);
    gateway.pki.revoke(&[&phone]);
    gateway.edge.wait_for("the cut", |event| event["reason"] == "certificate_revoked");
    assert!(connection.get("/ads").is_err());
    assert_eq!(anonymous.get("/ads").unwrap().status, 200, "others are not disturbed");
}

#[test]
fn tls_1_2_is_spoken_where_the_configuration_says_so() {
    let service = crate::support::service::Service::start();
    let address = service.address;
    let gateway = Gateway::around(service, address, "", OPEN, "[tls]\nmin_version = \"1.2\"");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates({
            let mut roots = rustls::RootCertStore::empty();
            roots.add(gateway.public.der()).unwrap();
            roots
        })
        .with_no_client_auth();
    let stream = crate::support::tls_client::connect(gateway.address(), HOST, config).unwrap();
    assert_eq!(stream.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    let answer = crate::support::tls_client::talk(stream, request("GET /ads", &["Connection: close"]).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
