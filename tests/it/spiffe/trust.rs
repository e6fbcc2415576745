//! Whom the bundles and CRLs of an agent have us believe, and whom not.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use mantlet::x509::{Bundle, GivenMaterial, MaterialSources, RefusalReason, RevocationLists, TrustMaterial, Usage};
use rcgen::SanType;
use rustls::AlertDescription;
use rustls_pki_types::CertificateDer;

use super::{agent_of, serving};
use crate::support::pki::{Issued, Pki, TRUST_DOMAIN};
use crate::support::service::Service;
use crate::support::sidecar::Sidecar;
use crate::support::spiffe_agent::{SpiffeAgent, X509SvidResponse};
use crate::support::tcp_service::TcpService;
use crate::support::tls_client::{HTTP1, alert, client_config, connect, talk};

const PARTNER: &str = "partner.example";

/// A certificate below this root for any SPIFFE ID and any DNS name.
fn issue(root: &Pki, spiffe_id: &str, dns: &str) -> Issued {
    let file = format!("{}-{dns}", fastrand::u64(..));
    root.issue_with(dns, &file, |params| {
        let dns = params.subject_alt_names.swap_remove(0);
        params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().unwrap()), dns];
    })
}

/// A message with the roots of this and of another trust domain.
fn federated(own: &Issued, pki: &Pki, partner: &Pki) -> X509SvidResponse {
    let federated_bundles = [(format!("spiffe://{PARTNER}"), partner.der().to_vec())].into();
    X509SvidResponse { federated_bundles, ..X509SvidResponse::of(own, pki) }
}

/// This identity below an intermediate, as an agent gives it, with these bundles beside our own.
fn given(own: &Issued, intermediate: &Pki, bundles: Vec<Bundle>) -> Arc<GivenMaterial> {
    Arc::new(GivenMaterial {
        giver: "unix:///agent.sock".to_owned(),
        spiffe_id: own.spiffe.parse().unwrap(),
        chain: vec![own.der.clone(), intermediate.der()],
        key: own.key_der.clone().into(),
        bundles,
        crls: Vec::new(),
    })
}

fn bundle(domain: &str, anchors: Vec<CertificateDer<'static>>) -> Bundle {
    Bundle { trust_domain: domain.parse().unwrap(), anchors, fault: None }
}

/// Material of what was given and of these files.
fn load(given: &Arc<GivenMaterial>, files: Vec<std::path::PathBuf>) -> TrustMaterial {
    let sources = MaterialSources {
        certificate: None,
        private_key: None,
        anchors: files,
        intermediates: Vec::new(),
        max_depth: 3,
        revocation: None,
        kept_in: None,
    };
    TrustMaterial::load_given(&sources, given, &RevocationLists::new().0, SystemTime::now()).expect("usable").0
}

/// The first line of the answer to a request of this caller.
fn answer(address: SocketAddr, pki: &Pki, caller: &Issued) -> String {
    let stream = connect(address, "adservice", client_config(pki, Some(caller), HTTP1)).unwrap();
    let answer = talk(stream, b"GET / HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n");
    answer.lines().next().unwrap_or_default().to_owned()
}

fn crls(pki: &Pki, revoked: &[&Issued]) -> Vec<Vec<u8>> {
    mantlet::x509::split_crls(std::fs::read(pki.revoke(revoked)).unwrap()).unwrap()
}

#[test]
fn a_federated_bundle_vouches_for_the_members_of_its_own_trust_domain_and_for_nothing_but_their_spiffe_ids() {
    let (pki, partner, service) = (Pki::new(), Pki::named("partner root"), Service::start());
    let own = pki.issue("adservice");
    let agent = SpiffeAgent::giving(&federated(&own, &pki, &partner));
    let member = format!("spiffe://{PARTNER}/gateway");
    let ours = format!("spiffe://{TRUST_DOMAIN}/gateway");
    let sidecar = serving(&agent, service.address, &[&member, &ours, "gateway"], "");
    let address = sidecar.address("ads");
    assert_eq!(answer(address, &pki, &issue(&partner, &member, "x")), "HTTP/1.1 200 OK");
    assert_eq!(answer(address, &pki, &issue(&pki, &ours, "x")), "HTTP/1.1 200 OK");
    // In our own trust domain a DNS name counts as it does without an agent.
    assert_eq!(
        answer(address, &pki, &issue(&pki, &format!("spiffe://{TRUST_DOMAIN}/x"), "gateway")),
        "HTTP/1.1 200 OK"
    );
    // A partner's CA gives nobody a name of ours, whether in a SPIFFE ID ...
    for (root, id) in [(&partner, &ours), (&pki, &member)] {
        let forged = issue(root, id, "x");
        let seen = sidecar.events().len();
        assert_eq!(alert(address, "adservice", client_config(&pki, Some(&forged), HTTP1)), AlertDescription::UnknownCA);
        let refusal = sidecar.wait_from(seen, "refusal", |event| event["reason"] == "other_trust_domain");
        assert!(refusal.to_string().contains("alone, and the certificate proves"), "{refusal}");
    }
    // ... nor in a DNS name.
    let named = issue(&partner, &format!("spiffe://{PARTNER}/other"), "gateway");
    assert_eq!(answer(address, &pki, &named), "HTTP/1.1 403 Forbidden");
}

#[test]
fn anchors_of_other_domains_that_bear_the_names_of_our_cas_keep_nobody_from_being_believed() {
    let (ours, partners, files) = (Pki::new(), Pki::named("partner root"), Pki::named("a root in a file"));
    let [our_ca, partner_ca, files_ca] = [&ours, &partners, &files].map(|root| root.below("an intermediate"));
    // webpki gives up after a hundred signatures.
    let decoys = |name: &str| (0..60).map(|_| Pki::named(name).der()).collect::<Vec<_>>();
    let bundles = vec![
        bundle(TRUST_DOMAIN, vec![ours.der()]),
        bundle("mischief.example", [decoys("an intermediate"), decoys("flea market root")].concat()),
        bundle("more.example", [decoys("an intermediate"), decoys("partner root")].concat()),
        bundle(PARTNER, vec![partners.der()]),
    ];
    let own = issue(&our_ca, &format!("spiffe://{TRUST_DOMAIN}/adservice"), "adservice");
    let own = Issued { spiffe: format!("spiffe://{TRUST_DOMAIN}/adservice"), ..own };
    let material = load(&given(&own, &our_ca, bundles), vec![files.anchors()]);
    let verify = |leaf: &Issued, ca: &Pki| {
        let verdict = material.verify(&leaf.der, &[ca.der()], Usage::Client, SystemTime::now());
        verdict.map(|path| path.anchor.title()).map_err(|refusal| refusal.reason)
    };
    let partner = format!("spiffe://{PARTNER}/gateway");
    let nobody = |ca: &Pki| {
        ca.issue_with("gateway", "nobody", |params| {
            params.subject_alt_names.retain(|name| !matches!(name, SanType::URI(_)));
        })
    };
    assert!(verify(&own, &our_ca).is_ok());
    assert!(verify(&issue(&partner_ca, &partner, "x"), &partner_ca).is_ok());
    assert!(verify(&issue(&files_ca, &partner, "x"), &files_ca).is_ok());
    assert!(verify(&nobody(&files_ca), &files_ca).is_ok());
    // What a bundle vouches for has not become more.
    for (leaf, ca) in [(issue(&our_ca, &partner, "x"), &our_ca), (nobody(&partner_ca), &partner_ca)] {
        let refused = verify(&leaf, ca).unwrap_err();
        // Too many anchors bear the name to tell whose it is.
        assert!(matches!(refused, RefusalReason::UnknownIssuer { .. }), "{refused}");
    }
}

#[test]
fn a_server_of_another_trust_domain_is_known_by_its_spiffe_id_alone() {
    let (pki, partner, service) = (Pki::new(), Pki::named("partner root"), Service::start());
    // The server is of the partner's trust domain, and its agent gives it ours as a federated one.
    let theirs = issue(&partner, &format!("spiffe://{PARTNER}/adservice"), "adservice");
    let server_agent = SpiffeAgent::giving(&X509SvidResponse {
        svids: vec![crate::support::spiffe_agent::X509Svid {
            spiffe_id: format!("spiffe://{PARTNER}/adservice"),
            ..crate::support::spiffe_agent::X509Svid::of(&theirs, &[&partner])
        }],
        federated_bundles: [(format!("spiffe://{TRUST_DOMAIN}"), pki.der().to_vec())].into(),
        ..X509SvidResponse::default()
    });
    let gateway = pki.issue("gateway");
    let server = serving(&server_agent, service.address, &[&gateway.spiffe], "");
    let agent = SpiffeAgent::giving(&federated(&gateway, &pki, &partner));
    for (expect, status) in [(format!("spiffe://{PARTNER}/adservice"), 204), ("adservice".to_owned(), 502)] {
        let outbound = Sidecar::start(&(agent.identity("") + &super::caller(server.address("ads"), &expect)));
        outbound.wait_for_status("readiness", |status| status["ready"] == true);
        assert_eq!(crate::support::service::get(outbound.address("ads"), "/status/204").0, status, "{expect}");
    }
}

#[test]
fn a_bundle_that_the_agent_takes_back_cuts_the_connections_of_its_members() {
    let (pki, partner) = (Pki::new(), Pki::named("partner root"));
    let own = pki.issue("adservice");
    let agent = SpiffeAgent::giving(&federated(&own, &pki, &partner));
    let member = format!("spiffe://{PARTNER}/gateway");
    let sidecar = serving(&agent, TcpService::echo(), &[&member], "protocol = \"tcp\"");
    let caller = issue(&partner, &member, "x");
    let mut live = connect(sidecar.address("ads"), "adservice", client_config(&pki, Some(&caller), &[])).unwrap();
    live.write_all(b"hello").unwrap();
    live.read_exact(&mut [0; 5]).unwrap();
    agent.push(&X509SvidResponse::of(&own, &pki));
    sidecar.wait_for("end", |event| event["reason"] == "no_longer_trusted");
    let refused = alert(sidecar.address("ads"), "adservice", client_config(&pki, Some(&caller), &[]));
    assert_eq!(refused, AlertDescription::UnknownCA);
}

#[test]
fn a_bundle_that_is_taken_back_while_the_process_drains_cuts_the_connections_that_are_left() {
    let (pki, partner) = (Pki::new(), Pki::named("partner root"));
    let own = pki.issue("adservice");
    let agent = SpiffeAgent::giving(&federated(&own, &pki, &partner));
    let member = format!("spiffe://{PARTNER}/gateway");
    let keys = "protocol = \"tcp\"\n[timeouts]\ndrain = \"120s\"";
    let mut sidecar = serving(&agent, TcpService::echo(), &[&member], keys);
    let caller = issue(&partner, &member, "x");
    let mut live = connect(sidecar.address("ads"), "adservice", client_config(&pki, Some(&caller), &[])).unwrap();
    live.write_all(b"hello").unwrap();
    live.read_exact(&mut [0; 5]).unwrap();
    sidecar.signal("TERM");
    sidecar.wait_for("drain", |event| event["message"] == "shutting down");
    agent.push(&X509SvidResponse::of(&own, &pki));
    sidecar.wait_for("end", |event| event["reason"] == "no_longer_trusted");
    drop(live);
    assert!(sidecar.wait_for_exit().success());
}

#[test]
fn whom_a_crl_of_the_agent_lists_is_cut_and_refused_without_a_table_for_it() {
    let pki = Pki::new();
    let (agent, own) = agent_of(&pki, "adservice");
    let (good, bad) = (pki.issue("gateway"), pki.issue_with("gateway", "bad", |_| {}));
    let sidecar = serving(&agent, TcpService::echo(), &[&good.spiffe], "protocol = \"tcp\"");
    let address = sidecar.address("ads");
    // Without a CRL nobody is refused for want of one.
    let mut live = connect(address, "adservice", client_config(&pki, Some(&bad), &[])).unwrap();
    live.write_all(b"hello").unwrap();
    live.read_exact(&mut [0; 5]).unwrap();
    agent.push(&X509SvidResponse { crl: crls(&pki, &[&bad]), ..X509SvidResponse::of(&own, &pki) });
    sidecar.wait_for("cut", |event| event["message"] == "connection cut" && event["reason"] == "certificate_revoked");
    let refused = alert(address, "adservice", client_config(&pki, Some(&bad), &[]));
    assert_eq!(refused, AlertDescription::CertificateRevoked);
    let mut live = connect(address, "adservice", client_config(&pki, Some(&good), &[])).unwrap();
    live.write_all(b"hello").unwrap();
    live.read_exact(&mut [0; 5]).unwrap();
    let status = sidecar.status();
    let source = &status["revocation"]["sources"][0];
    assert_eq!(
        (&source["kind"], &source["last_error"]),
        (&"workload_api".into(), &serde_json::Value::Null),
        "{status}"
    );
    // A message without it takes back no revocation: a CRL serves until its end.
    agent.push(&X509SvidResponse::of(&pki.issue("adservice"), &pki));
    sidecar.wait_for_metric("mantlet_identity_renewals_total", &[("outcome", "success")].into(), 3.0);
    let refused = alert(address, "adservice", client_config(&pki, Some(&bad), &[]));
    assert_eq!(refused, AlertDescription::CertificateRevoked);
}

#[test]
fn a_crl_of_a_ca_that_is_not_believed_is_refused_with_the_message_that_it_came_in() {
    let (pki, other, service) = (Pki::new(), Pki::named("a root of somebody else"), Service::start());
    let (agent, own) = agent_of(&pki, "adservice");
    let sidecar = serving(&agent, service.address, &["gateway"], "");
    let next = pki.issue("adservice");
    agent.push(&X509SvidResponse { crl: crls(&other, &[]), ..X509SvidResponse::of(&next, &pki) });
    let why = "CRL 1 cannot be used";
    sidecar.wait_for_status(why, |status| status["enrolment"]["last_error"].to_string().contains(why));
    assert_eq!(super::serial(&sidecar), own.serial_hex());
}

#[test]
fn with_a_table_for_it_revocation_is_judged_as_the_table_says() {
    let (pki, service) = (Pki::new(), Service::start());
    let (agent, own) = agent_of(&pki, "adservice");
    let caller = pki.issue("gateway");
    let config = agent.identity("") + &super::callee(service.address, &[&caller.spiffe], "") + "[revocation]\n";
    let sidecar = Sidecar::start(&config);
    // By default whoever is of a CA without a CRL is refused.
    sidecar.wait_for_status("reason", |status| status["not_ready"].to_string().contains("no CRL is loaded yet"));
    let refused = alert(sidecar.address("ads"), "adservice", client_config(&pki, Some(&caller), HTTP1));
    assert_eq!(refused, AlertDescription::UnknownCA);
    agent.push(&X509SvidResponse { crl: crls(&pki, &[]), ..X509SvidResponse::of(&own, &pki) });
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    assert_eq!(answer(sidecar.address("ads"), &pki, &caller), "HTTP/1.1 200 OK");
}

#[test]
fn anchors_of_files_are_believed_beside_the_bundles() {
    let (pki, files, service) = (Pki::new(), Pki::named("a root in a file"), Service::start());
    let (agent, _) = agent_of(&pki, "adservice");
    let config = format!(
        "{}{}[trust]\nanchors = [\"{}\"]\n",
        agent.identity(""),
        super::callee(service.address, &["gateway"], ""),
        files.anchors().display()
    );
    let sidecar = Sidecar::start(&config);
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    for root in [&pki, &files] {
        assert_eq!(answer(sidecar.address("ads"), &pki, &root.issue("gateway")), "HTTP/1.1 200 OK");
    }
}
