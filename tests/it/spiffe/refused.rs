//! What cannot be used as a whole is not used at all, and what is in use serves on.

use std::time::Duration;

use rcgen::SanType;
use tonic::Code;

use super::{serving, wait_for_serial};
use crate::support::pki::{Pki, validity};
use crate::support::service::Service;
use crate::support::sidecar::Sidecar;
use crate::support::spiffe_agent::{SpiffeAgent, X509Svid, X509SvidResponse};

const GATEWAY: &str = "spiffe://fleamarket.internal/gateway";

/// Changes a good message into a bad one.
type Spoil = fn(&mut X509SvidResponse, &Pki);

fn other(pki: &Pki) -> X509Svid {
    X509Svid::of(&pki.issue("adservice"), &[pki])
}

const BAD: [(&str, Spoil); 15] = [
    ("it holds no identity", |message, _| message.svids.clear()),
    ("the private key is not that of the certificate", |message, pki| {
        message.svids[0].key = other(pki).key;
    }),
    ("comes without a key", |message, _| message.svids[0].key.clear()),
    ("the private key cannot be used", |message, _| message.svids[0].key.truncate(40)),
    ("is neither a trust anchor nor leads to one", |message, _| {
        message.svids[0].bundle = Pki::named("a root of somebody else").der().to_vec();
    }),
    ("was not signed by the key", |message, _| message.svids[0].bundle = Pki::new().der().to_vec()),
    ("the bundle of \"fleamarket.internal\" is empty", |message, _| message.svids[0].bundle.clear()),
    ("the bundle of \"fleamarket.internal\" is no DER", |message, _| message.svids[0].bundle.truncate(50)),
    ("is not a CA", |message, _| message.svids[0].bundle = message.svids[0].chain.clone()),
    ("is no DER", |message, _| message.svids[0].chain.truncate(50)),
    ("expired", |message, pki| {
        let expired = pki.issue_with("adservice", "expired", |params| {
            let (from, _) = validity(Duration::ZERO);
            (params.not_before, params.not_after) = (from - Duration::from_secs(60), from);
        });
        message.svids[0] = X509Svid::of(&expired, &[pki]);
    }),
    ("we are said to be spiffe://fleamarket.internal/backup, and the certificate proves", |message, _| {
        message.svids[0].spiffe_id = "spiffe://fleamarket.internal/backup".into();
    }),
    ("the SPIFFE ID of our identity", |message, _| message.svids[0].spiffe_id = "adservice".into()),
    ("it holds 65 identities, more than 64", |message, _| {
        message.svids = vec![message.svids[0].clone(); 65];
    }),
    ("CRL 1 cannot be used", |message, _| message.crl = vec![b"no CRL".to_vec()]),
];

#[test]
fn a_message_of_which_a_part_cannot_be_used_changes_nothing_and_is_named() {
    let (pki, service) = (Pki::new(), Service::start());
    let agent = SpiffeAgent::giving(&X509SvidResponse::of(&pki.issue("adservice"), &pki));
    let sidecar = serving(&agent, service.address, &[GATEWAY], "");
    for (why, spoil) in BAD {
        let good = pki.issue("adservice");
        agent.push(&X509SvidResponse::of(&good, &pki));
        wait_for_serial(&sidecar, &good);
        let mut message = X509SvidResponse::of(&pki.issue("adservice"), &pki);
        spoil(&mut message, &pki);
        agent.push(&message);
        let failing = |status: &serde_json::Value| {
            status["enrolment"]["last_error"].as_str().is_some_and(|said| said.contains(why))
        };
        let status = sidecar.wait_for_status(why, failing);
        assert_eq!(status["identity"]["serial"], good.serial_hex().as_str(), "{why}");
        assert_eq!(status["anchors"].as_array().unwrap().len(), 1, "{why}");
        assert!(status["ready"] == true && status["enrolment"]["state"] == "failing", "{why}: {status}");
    }
    assert_eq!(agent.asked(), 1, "the stream outlives what cannot be used");
    // After all of them a good one is taken.
    let good = pki.issue("adservice");
    agent.push(&X509SvidResponse::of(&good, &pki));
    wait_for_serial(&sidecar, &good);
    sidecar.wait_for_metric("mantlet_identity_renewal_failing", &[].into(), 0.0);
}

#[test]
fn what_cannot_be_used_of_the_bundles_of_other_domains_is_left_out_and_named_and_our_own_certificate_is_taken() {
    let (pki, partner, service) = (Pki::new(), Pki::named("partner root"), Service::start());
    let agent = SpiffeAgent::giving(&X509SvidResponse::of(&pki.issue("adservice"), &pki));
    let sidecar = serving(&agent, service.address, &[GATEWAY], "");
    let next = pki.issue("adservice");
    let mut message = X509SvidResponse::of(&next, &pki);
    let no_ca = pki.issue("x").der.to_vec();
    for (domain, bundle) in [
        ("partner.example", [no_ca.clone(), partner.der().to_vec()].concat()),
        ("leaf.example", no_ca),
        ("nonsense.example", b"x".to_vec()),
        ("empty.example", Vec::new()),
    ] {
        message.federated_bundles.insert(format!("spiffe://{domain}"), bundle);
    }
    agent.push(&message);
    wait_for_serial(&sidecar, &next);
    assert_eq!(sidecar.status()["anchors"].as_array().unwrap().len(), 2, "ours and that of partner.example");
    for (domain, why) in [
        ("partner.example", "it is left out"),
        ("leaf.example", "is not a CA (basic constraints): no anchor of it is left, and its members are refused"),
        ("nonsense.example", "is no DER"),
        ("empty.example", "is empty: no anchor of it is left"),
    ] {
        sidecar.wait_for(domain, |event| {
            let told = event.to_string();
            event["level"] == "WARN" && told.contains("the bundle of") && told.contains(domain) && told.contains(why)
        });
    }
}

#[test]
fn octets_that_are_no_message_and_messages_without_a_bound_are_refused() {
    let (pki, service) = (Pki::new(), Service::start());
    let good = pki.issue("adservice");
    let agent = SpiffeAgent::giving(&X509SvidResponse::of(&good, &pki));
    let sidecar = serving(&agent, service.address, &[GATEWAY], "");
    for (why, octets) in [
        ("it is no X509SVIDResponse", vec![0xff; 100]),
        ("it holds no identity", Vec::new()),
        ("it is a message of 5242880 octets, more than 4194304", vec![0; 5 * 1024 * 1024]),
    ] {
        agent.push_octets(octets);
        sidecar.wait_for_status(why, |status| status["enrolment"]["last_error"].to_string().contains(why));
        assert_eq!(sidecar.status()["identity"]["serial"], good.serial_hex().as_str());
    }
    assert!(sidecar.peak_resident_kib() < 100 * 1024);
}

#[test]
fn a_status_that_ends_the_stream_is_named_and_what_was_given_serves_on() {
    let (pki, service) = (Pki::new(), Service::start());
    let good = pki.issue("adservice");
    let agent = SpiffeAgent::giving(&X509SvidResponse::of(&good, &pki));
    let sidecar = serving(&agent, service.address, &[GATEWAY], "");
    for (code, label, said) in [
        (Code::PermissionDenied, "permission_denied", "has issued no identity to this process: told so"),
        (Code::InvalidArgument, "invalid_argument", "InvalidArgument: told so"),
        (Code::Unimplemented, "unimplemented", "it gives no X.509 identities: told so"),
        (Code::Unavailable, "away", "has ended the stream, with the status 14: told so"),
        (Code::Internal, "agent_error", "the status \"13\": told so"),
    ] {
        agent.end_with(code, "told so");
        // Whoever mends it has it tried at once.
        sidecar.signal("HUP");
        let status = sidecar.wait_for_status(label, |status| status["enrolment"]["reason"] == label);
        assert!(status["enrolment"]["last_error"].as_str().unwrap().contains(said), "{status}");
        assert!(status["ready"] == true && status["identity"]["serial"] == good.serial_hex().as_str(), "{status}");
    }
    let next = pki.issue("adservice");
    agent.push(&X509SvidResponse::of(&next, &pki));
    sidecar.signal("HUP");
    wait_for_serial(&sidecar, &next);
}

#[test]
fn whoever_answers_and_speaks_no_grpc_is_named() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    let socket = folder.path().join("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let agent = SpiffeAgent::giving(&X509SvidResponse::of(&pki.issue("adservice"), &pki));
    let config = agent.identity("").replace(agent.socket().to_str().unwrap(), socket.to_str().unwrap());
    let sidecar = Sidecar::start(&(config + &super::callee("127.0.0.1:1", &[GATEWAY], "")));
    let why = "the agent has broken the connection";
    sidecar.wait_for_status(why, |status| status["not_ready"].to_string().contains(why));
}

#[test]
fn an_agent_that_takes_the_connection_and_says_nothing_is_not_waited_for_without_end() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    let socket = folder.path().join("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let agent = SpiffeAgent::giving(&X509SvidResponse::of(&pki.issue("adservice"), &pki));
    let config = agent.identity("").replace(agent.socket().to_str().unwrap(), socket.to_str().unwrap());
    let sidecar = Sidecar::start(&(config + &super::callee("127.0.0.1:1", &[GATEWAY], "")));
    let (_first, _) = listener.accept().unwrap();
    // The next attempt comes after the first was given up.
    let (_second, _) = listener.accept().unwrap();
    let why = "the agent has not answered within 20s";
    sidecar.wait_for_status(why, |status| status["not_ready"].to_string().contains(why));
}

#[test]
fn an_svid_with_two_spiffe_ids_is_refused() {
    let (pki, service) = (Pki::new(), Service::start());
    let agent = SpiffeAgent::giving(&X509SvidResponse::of(&pki.issue("adservice"), &pki));
    let sidecar = serving(&agent, service.address, &[GATEWAY], "");
    let two = pki.issue_with("adservice", "two", |params| {
        params.subject_alt_names.push(SanType::URI("spiffe://fleamarket.internal/other".try_into().unwrap()));
    });
    agent.push(&X509SvidResponse::of(&two, &pki));
    sidecar.wait_for_status("refusal", |status| {
        status["enrolment"]["last_error"].to_string().contains("and the certificate proves")
    });
}
