//! nginx as the callee's proxy, and as the caller's.

use std::net::SocketAddr;
use std::process::Command;

use super::{Callee, peer_seen};
use crate::support::mesh::outbound;
use crate::support::pki::{Issued, Pki};
use crate::support::programs::{Running, own_address, program};
use crate::support::service::{get, raw};
use crate::support::sidecar::Sidecar;

/// nginx with one server of this content.
struct Nginx {
    address: SocketAddr,
    process: Running,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start(listen_options: &str, server: &str) -> Self {
        let (address, folder) = (own_address(), tempfile::tempdir().unwrap());
        let at = folder.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr notice;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}server {{\nlisten {address} {listen_options};\n{server}\n}}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program("nginx", "apt-get install nginx"));
        let process = Running::start(command.arg("-e").arg("stderr").arg("-p").arg(folder.path()).arg("-c").arg(file));
        // It writes this line once it listens.
        process.wait_for("getrlimit(RLIMIT_NOFILE)");
        Self { address, process, _folder: folder }
    }

    /// One that terminates mutual TLS and says whom it let in.
    fn callee(pki: &Pki, own: &Issued) -> Self {
        let server = format!(
            "ssl_certificate {};\nssl_certificate_key {};\nssl_client_certificate {};\nssl_verify_client on;\n\
             ssl_protocols TLSv1.2 TLSv1.3;\n\
             location / {{ return 200 \"$ssl_client_verify $ssl_client_serial $server_protocol $ssl_protocol\"; }}",
            own.certificate.display(),
            own.key.display(),
            pki.anchors().display()
        );
        Self::start("ssl http2", &server)
    }

    /// One that originates mutual TLS.
    fn caller(pki: &Pki, own: Option<&Issued>, peer: SocketAddr) -> Self {
        let certificate = own.map_or_else(String::new, |own| {
            format!(
                "proxy_ssl_certificate {};\nproxy_ssl_certificate_key {};\n",
                own.certificate.display(),
                own.key.display()
            )
        });
        let server = format!(
            "location / {{\nproxy_pass https://{peer};\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n{certificate}\
             proxy_ssl_trusted_certificate {};\nproxy_ssl_verify on;\nproxy_ssl_name adservice;\nproxy_ssl_server_name on;\n\
             proxy_ssl_protocols TLSv1.3;\n}}",
            pki.anchors().display()
        );
        Self::start("", &server)
    }
}

#[test]
fn nginx_that_demands_a_certificate_gets_the_sidecars_over_either_http_version() {
    let pki = Pki::new();
    let (caller, callee) = (pki.issue("gateway"), pki.issue("adservice"));
    let nginx = Nginx::callee(&pki, &callee);
    for (hop, version) in [("http1", "HTTP/1.1"), ("http2", "HTTP/2.0"), ("auto", "HTTP/")] {
        let keys = format!("hop = \"{hop}\"");
        let sidecar = Sidecar::start(&outbound(&pki, &caller, nginx.address, &callee.spiffe, &keys, ""));
        for _ in 0..3 {
            let (status, body) = get(sidecar.address("ads"), "/");
            assert_eq!(status, 200, "{body}\n{}", sidecar.text());
            let serial = caller.serial_hex().to_uppercase();
            assert!(body.starts_with(&format!("SUCCESS {serial} {version}")) && body.ends_with("TLSv1.3"), "{body}");
        }
    }
}

#[test]
fn nginx_with_another_identity_is_refused_by_the_sidecar() {
    let pki = Pki::new();
    let nginx = Nginx::callee(&pki, &pki.issue("somebody"));
    let expect = "spiffe://fleamarket.internal/adservice";
    let sidecar = Sidecar::start(&outbound(&pki, &pki.issue("gateway"), nginx.address, expect, "", ""));
    let (status, body) = get(sidecar.address("ads"), "/");
    assert_eq!(status, 502, "{body}");
    let event = sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!(event["reason"], "name_mismatch", "{event}");
}

#[test]
fn nginx_calls_through_an_inbound_sidecar_with_its_certificate() {
    let callee = Callee::start("", "");
    let nginx = Nginx::caller(&callee.pki, Some(&callee.caller), callee.address());
    for _ in 0..3 {
        let (status, body) = get(nginx.address, "/ads");
        assert_eq!(status, 200, "{body}");
        assert_eq!(peer_seen(&body), callee.caller.spiffe);
    }
    let answer = raw(nginx.address, b"GET /bytes/3000000 HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n");
    assert!(answer.len() > 3_000_000, "{}", answer.len());
}

#[test]
fn nginx_without_a_certificate_that_counts_reaches_nothing() {
    let callee = Callee::start("", "");
    let other = Pki::named("another root");
    let foreign = other.issue("gateway");
    for (own, reason, alert) in
        [(None, "no_certificate", "certificate required"), (Some(&foreign), "unknown_issuer", "unknown ca")]
    {
        let nginx = Nginx::caller(&callee.pki, own, callee.address());
        assert_eq!(get(nginx.address, "/ads").0, 502);
        nginx.process.wait_for(alert);
        callee.refusal(reason);
    }
}
