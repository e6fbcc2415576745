//! What changes while the sidecar runs: certificates, anchors, CRLs, policy, listeners and upstreams.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use rustls::AlertDescription;
use serde_json::Value;

use crate::support::exchange::KeptAlive;
use crate::support::gate::{Gate, NAME};
use crate::support::h2_frames::{self, DATA, begin_with_get, read_until};
use crate::support::load::{Load, Version};
use crate::support::mesh::{Mesh, inbound, outbound};
use crate::support::pki::{Issued, Pki, replace};
use crate::support::service::{Service, get};
use crate::support::sidecar::Sidecar;
use crate::support::tls_client::{HTTP1, HTTP2, TlsClient, alert, client_config, connect};

const REVOCATION: &str = "[revocation]\nsources = [CRL]\n";

/// What is done, and then waits until it was taken up.
fn reloaded(sidecar: &Sidecar, change: impl FnOnce()) {
    let seen = sidecar.events().len();
    change();
    sidecar.wait_from(seen, "reload", |event| event["message"] == "reloaded");
}

/// What is done, and then waits until it was refused; gives the event.
fn refused(sidecar: &Sidecar, change: impl FnOnce()) -> Value {
    let seen = sidecar.events().len();
    change();
    sidecar.wait_from(seen, "refused reload", is_refused_reload)
}

fn is_refused_reload(event: &Value) -> bool {
    event["message"].as_str().is_some_and(|message| message.starts_with("the change is not taken up"))
}

fn text_of(sidecar: &Sidecar) -> String {
    fs::read_to_string(&sidecar.config).unwrap()
}

/// The certificate that a listener presents.
fn presented(pki: &Pki, caller: &Issued, address: SocketAddr) -> Vec<u8> {
    let stream = connect(address, NAME, client_config(pki, Some(caller), HTTP1)).unwrap();
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

fn ended(mut stream: impl Read) -> bool {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            }
        }
    }
}

// Certificate and key

#[test]
fn a_certificate_replaced_by_renaming_is_presented_to_the_next_caller_and_keeps_the_present_ones() {
    let gate = Gate::with("", "");
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!(kept.get("/").unwrap().status, 200);
    let mut renewed = None;
    reloaded(&gate.sidecar, || renewed = Some(gate.pki.issue(NAME)));
    let renewed = renewed.unwrap();
    assert_eq!(presented(&gate.pki, &gate.caller, gate.address()), renewed.der.to_vec());
    assert_eq!(kept.get("/").unwrap().status, 200);
    assert_eq!(gate.sidecar.status()["identity"]["serial"], renewed.serial_hex());
}

#[test]
fn a_certificate_written_in_place_before_its_key_is_taken_up_once_both_match() {
    let gate = Gate::with("", "");
    let renewed = gate.pki.issue_with(NAME, "renewed", |_| {});
    let old = presented(&gate.pki, &gate.caller, gate.address());
    let event = refused(&gate.sidecar, || {
        fs::write(&gate.own.certificate, fs::read(&renewed.certificate).unwrap()).unwrap();
    });
    assert!(event["error"].as_str().unwrap().contains("key"), "{event}");
    assert_eq!(presented(&gate.pki, &gate.caller, gate.address()), old);
    reloaded(&gate.sidecar, || fs::write(&gate.own.key, fs::read(&renewed.key).unwrap()).unwrap());
    assert_eq!(presented(&gate.pki, &gate.caller, gate.address()), renewed.der.to_vec());
    let status = gate.sidecar.status();
    assert_eq!(status["reload"]["last_error"], Value::Null, "{status}");
}

#[test]
fn a_symlink_swap_as_kubernetes_makes_it_is_taken_up() {
    let (pki, service) = (Pki::new(), Service::start());
    let (caller, first, second) =
        (pki.issue("gateway"), pki.issue_with(NAME, "first", |_| {}), pki.issue_with(NAME, "second", |_| {}));
    let mount = tempfile::tempdir().unwrap();
    let at = |name: &str| mount.path().join(name);
    let version = |name: &str, issued: &Issued| {
        fs::create_dir(at(name)).unwrap();
        fs::copy(&issued.certificate, at(name).join("tls.crt")).unwrap();
        fs::copy(&issued.key, at(name).join("tls.key")).unwrap();
    };
    version("..2026_01", &first);
    std::os::unix::fs::symlink("..2026_01", at("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(Path::new("..data").join(name), at(name)).unwrap();
    }
    let own = Issued { certificate: at("tls.crt"), key: at("tls.key"), ..first };
    let sidecar = Sidecar::start(&inbound(&pki, &own, service.address, &[&caller.spiffe], "", ""));
    assert_eq!(presented(&pki, &caller, sidecar.address("ads")), own.der.to_vec());
    version("..2026_02", &second);
    reloaded(&sidecar, || {
        std::os::unix::fs::symlink("..2026_02", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at("..2026_01")).unwrap();
    });
    assert_eq!(presented(&pki, &caller, sidecar.address("ads")), second.der.to_vec());
    // The next swap is seen as well, though what was watched is gone.
    version("..2026_03", &first_again(&pki));
    reloaded(&sidecar, || {
        std::os::unix::fs::symlink("..2026_03", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    });
    assert_ne!(presented(&pki, &caller, sidecar.address("ads")), second.der.to_vec());
}

fn first_again(pki: &Pki) -> Issued {
    pki.issue_with(NAME, "third", |_| {})
}

#[test]
fn sighup_reads_everything_again() {
    let gate = Gate::with("", "");
    reloaded(&gate.sidecar, || gate.sidecar.signal("HUP"));
    let event = gate.sidecar.wait_for("reload", |event| event["message"] == "reloaded");
    assert_eq!(event["cause"], "SIGHUP");
    let labels = HashMap::from([("outcome", "success")]);
    assert!((gate.sidecar.metric("mantlet_reloads_total", &labels) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn the_outbound_side_presents_the_renewed_certificate_on_its_next_connection() {
    let mesh = Mesh::with("", "hop = \"http1\"", "");
    assert_eq!(get(mesh.entry(), "/").0, 200);
    let mut renewed = None;
    reloaded(&mesh.outbound, || renewed = Some(mesh.pki.issue("gateway")));
    let serial = renewed.unwrap().serial_hex();
    // Its pooled connection may carry a few more requests, two at a time need another.
    let load = Load::plain(mesh.entry(), Version::Http1, 8);
    mesh.inbound.wait_for_status("renewed certificate", |status| {
        status["connections"].as_array().unwrap().iter().any(|entry| entry["serial"] == serial)
    });
    assert_eq!(load.finish().failures, Vec::<String>::new());
}

// Anchors

#[test]
fn exchanged_anchors_cut_those_who_lost_theirs_and_keep_the_others() {
    let (ours, theirs) = (Pki::new(), Pki::named("partner root"));
    let (own, gateway, partner) = (ours.issue(NAME), ours.issue("gateway"), theirs.issue("partner"));
    let service = Service::start();
    let allow = [gateway.spiffe.as_str(), partner.spiffe.as_str()];
    let both = ours.folder.path().join("both.pem");
    let bundle = |pkis: &[&Pki]| pkis.iter().map(|pki| fs::read_to_string(pki.anchors()).unwrap()).collect::<String>();
    fs::write(&both, bundle(&[&ours, &theirs])).unwrap();
    let text = inbound(&ours, &own, service.address, &allow, "", "");
    let text = text.replace(&format!("{:?}", ours.anchors()), &format!("{both:?}"));
    let sidecar = Sidecar::start(&text);
    let open = |caller| connect(sidecar.address("ads"), NAME, client_config(&ours, Some(caller), HTTP1));
    let mut kept = KeptAlive::new(open(&gateway).unwrap());
    let mut lost = KeptAlive::new(open(&partner).unwrap());
    assert_eq!((kept.get("/").unwrap().status, lost.get("/").unwrap().status), (200, 200));
    reloaded(&sidecar, || replace(&both, &bundle(&[&ours])));
    assert!(ended(lost.stream()));
    let event = sidecar.wait_for("cut", |event| event["message"] == "connection cut");
    assert_eq!((event["reason"].as_str(), event["peer"].as_str()), (Some("no_longer_trusted"), Some(&*partner.spiffe)));
    assert_eq!(kept.get("/").unwrap().status, 200);
    let config = client_config(&ours, Some(&partner), HTTP1);
    assert_eq!(alert(sidecar.address("ads"), NAME, config), AlertDescription::UnknownCA);
    let cuts = sidecar.events().iter().filter(|event| event["message"] == "connection cut").count();
    assert_eq!(cuts, 1, "{}", sidecar.text());
    assert_eq!(sidecar.status()["anchors"].as_array().unwrap().len(), 1);
}

// CRLs

/// The peer of this connection was cut for its revoked certificate, and nobody else.
fn assert_cut(sidecar: &Sidecar, direction: &str, peer: &Issued) {
    let event = sidecar.wait_for("cut", |event| event["message"] == "connection cut");
    assert_eq!(event["reason"], "certificate_revoked", "{event}");
    assert_eq!(event["direction"], direction, "{event}");
    assert!(event["peer"].as_str().unwrap().contains(&peer.spiffe), "{event}");
    assert!(event["peer.address"].as_str().unwrap().starts_with("127.0.0.1:"), "{event}");
    let others = sidecar.events().into_iter().filter(|event| event["message"] == "connection cut");
    assert!(others.into_iter().all(|event| event["peer"].as_str().unwrap().contains(&peer.spiffe)));
}

/// A gate with a second caller that is not revoked.
fn gate_for_two(keys: &str) -> (Gate, Issued) {
    let gate = Gate::with(keys, REVOCATION);
    let other = gate.pki.issue("batch");
    let text = text_of(&gate.sidecar)
        .replace(&format!("allow = [{:?}]", gate.caller.spiffe), "allow = [\"spiffe://fleamarket.internal/*\"]");
    gate.sidecar.reconfigure(&text);
    (gate, other)
}

fn revoke(gate: &Gate) {
    reloaded(&gate.sidecar, || drop(gate.pki.revoke(&[&gate.caller])));
}

#[test]
fn a_revoked_callers_idle_connection_is_cut_and_it_does_not_come_back() {
    let (gate, other) = gate_for_two("");
    let mut revoked = KeptAlive::new(gate.http1(&gate.caller));
    let mut unaffected = KeptAlive::new(gate.http1(&other));
    assert_eq!((revoked.get("/").unwrap().status, unaffected.get("/").unwrap().status), (200, 200));
    revoke(&gate);
    assert!(ended(revoked.stream()));
    assert_cut(&gate.sidecar, "inbound", &gate.caller);
    assert_eq!(unaffected.get("/").unwrap().status, 200);
    let config = client_config(&gate.pki, Some(&gate.caller), HTTP1);
    assert_eq!(alert(gate.address(), NAME, config), AlertDescription::CertificateRevoked);
    gate.sidecar.wait_for_metric(
        "mantlet_connections_ended_total",
        &HashMap::from([("reason", "certificate_revoked")]),
        1.0,
    );
}

#[test]
fn a_revoked_callers_answer_is_cut_in_the_middle_of_its_stream() {
    const ENDLESS: &str = "/bytes/100000000000";
    let (gate, other) = gate_for_two("");
    let mut revoked = gate.open(&gate.caller, HTTP2);
    begin_with_get(&mut revoked, ENDLESS);
    let mut http1 = KeptAlive::new(gate.http1(&gate.caller));
    http1.send(&format!("GET {ENDLESS} HTTP/1.1\r\nHost: ads\r\n\r\n")).unwrap();
    assert!(http1.head().unwrap().starts_with("HTTP/1.1 200"));
    let mut unaffected = gate.open(&other, HTTP2);
    begin_with_get(&mut unaffected, "/bytes/1000000");
    read_until(&mut revoked, DATA).unwrap();
    read_until(&mut unaffected, DATA).unwrap();
    revoke(&gate);
    assert!(ended(&mut revoked));
    assert!(ended(http1.stream()));
    assert_cut(&gate.sidecar, "inbound", &gate.caller);
    // The other's stream waits for its window and goes on.
    let mut update = Vec::new();
    for stream in [0, 1] {
        h2_frames::put(&mut update, 8, 0, stream, &1_000_000_u32.to_be_bytes());
    }
    unaffected.write_all(&update).unwrap();
    while read_until(&mut unaffected, DATA).unwrap().flags & h2_frames::END_STREAM == 0 {}
}

#[test]
fn a_revoked_callers_upload_is_cut() {
    let (gate, _other) = gate_for_two("");
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    kept.send("POST /echo HTTP/1.1\r\nHost: ads\r\nContent-Length: 1000000\r\n\r\nbeginning").unwrap();
    assert!(kept.head().unwrap().starts_with("HTTP/1.1 200"));
    revoke(&gate);
    assert!(ended(kept.stream()));
}

#[test]
fn a_revoked_callers_tcp_tunnel_is_cut() {
    let (pki, service) = (Pki::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (own, caller, other) = (pki.issue(NAME), pki.issue("gateway"), pki.issue("batch"));
    let crl = pki.revoke(&[]);
    let sidecar = Sidecar::start(&inbound(
        &pki,
        &own,
        service.local_addr().unwrap(),
        &[&caller.spiffe, &other.spiffe],
        "protocol = \"tcp\"",
        &format!("[revocation]\nsources = [{crl:?}]\n"),
    ));
    let tunnel = |caller| {
        let mut stream = connect(sidecar.address("ads"), NAME, client_config(&pki, Some(caller), &[])).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.flush().unwrap();
        let (mut end, _) = service.accept().unwrap();
        let mut said = [0; 5];
        end.read_exact(&mut said).unwrap();
        (stream, end)
    };
    let (revoked, revoked_end) = tunnel(&caller);
    let (mut unaffected, mut unaffected_end) = tunnel(&other);
    reloaded(&sidecar, || drop(pki.revoke(&[&caller])));
    assert!(ended(revoked) && ended(revoked_end));
    assert_cut(&sidecar, "inbound", &caller);
    unaffected_end.write_all(b"still").unwrap();
    let mut said = [0; 5];
    unaffected.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"still");
}

/// Switches to an echo of bytes, and sees it echo.
fn upgrade<S: Read + Write>(stream: S) -> KeptAlive<S> {
    let mut kept = KeptAlive::new(stream);
    kept.send("GET /upgrade HTTP/1.1\r\nHost: ads\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    assert!(kept.head().unwrap().starts_with("HTTP/1.1 101"));
    echo(&mut kept);
    kept
}

fn echo<S: Read + Write>(kept: &mut KeptAlive<S>) {
    kept.send("ping!").unwrap();
    let mut said = Vec::new();
    kept.exactly(5, &mut said).unwrap();
    assert_eq!(said, b"ping!");
}

#[test]
fn a_revoked_callers_websocket_is_cut() {
    let (gate, other) = gate_for_two("");
    let mut revoked = upgrade(gate.http1(&gate.caller));
    let mut unaffected = upgrade(gate.http1(&other));
    revoke(&gate);
    assert!(ended(revoked.stream()));
    assert_cut(&gate.sidecar, "inbound", &gate.caller);
    echo(&mut unaffected);
}

#[test]
fn a_revoked_servers_connections_are_cut_whatever_they_carry_and_no_other_is_made() {
    let pki = Pki::new();
    let crl = pki.revoke(&[]);
    let service = Service::start();
    let (server, caller) = (pki.issue(NAME), pki.issue("gateway"));
    let receiver = Sidecar::start(&inbound(&pki, &server, service.address, &[&caller.spiffe], "", ""));
    let tables = format!("[revocation]\nsources = [{crl:?}]\n");
    let sidecar = Sidecar::start(&outbound(&pki, &caller, receiver.address("ads"), &server.spiffe, "", &tables));
    let entry = sidecar.address("ads");
    let mut websocket = upgrade(TcpStream::connect(entry).unwrap());
    let mut streaming = KeptAlive::new(TcpStream::connect(entry).unwrap());
    streaming.send("GET /bytes/100000000000 HTTP/1.1\r\nHost: ads\r\n\r\n").unwrap();
    assert!(streaming.head().unwrap().starts_with("HTTP/1.1 200"));
    let mut idle = KeptAlive::new(TcpStream::connect(entry).unwrap());
    assert_eq!(idle.get("/").unwrap().status, 200);
    reloaded(&sidecar, || drop(pki.revoke(&[&server])));
    assert!(ended(websocket.stream()));
    let (_, error) = streaming.rest();
    assert!(error.is_some() || ended(streaming.stream()));
    assert_cut(&sidecar, "outbound", &server);
    let answer = idle.get("/").unwrap();
    assert_eq!(answer.status, 502, "{answer:?}");
    sidecar.wait_for("refusal", |event| event["message"] == "peer refused" && event["reason"] == "revoked");
}

#[test]
fn a_handshake_that_began_before_the_revocation_does_not_let_the_revoked_in() {
    let gate = Gate::with("", REVOCATION);
    let (mut socket, mut connection, last) = gate.handshake_but_the_last_bytes();
    revoke(&gate);
    socket.write_all(&last).unwrap();
    // The handshake was judged by the old CRL and ends well; its peer is judged again before anything is served.
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    assert!(ended(&mut stream));
    let event = gate.sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!((&event["reason"], &event["peer.serial"]), (&"revoked".into(), &gate.caller.serial_hex().into()));
}

// Policy

#[test]
fn a_peer_that_the_policy_no_longer_admits_is_cut_and_the_others_stay() {
    let (gate, other) = gate_for_two("");
    let mut dropped = KeptAlive::new(gate.http1(&other));
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!((dropped.get("/").unwrap().status, kept.get("/").unwrap().status), (200, 200));
    let text = text_of(&gate.sidecar).replace("internal/*", "internal/gateway");
    gate.sidecar.reconfigure(&text);
    assert!(ended(dropped.stream()));
    let event = gate.sidecar.wait_for("cut", |event| event["message"] == "connection cut");
    assert_eq!((event["reason"].as_str(), event["peer"].as_str()), (Some("no_longer_allowed"), Some(&*other.spiffe)));
    assert_eq!(kept.get("/").unwrap().status, 200);
    assert_eq!(KeptAlive::new(gate.http1(&other)).get("/").unwrap().status, 403);
}

#[test]
fn a_peer_that_is_admitted_to_nothing_holds_no_connection_until_it_is() {
    let gate = Gate::with("", "");
    let other = gate.pki.issue("batch");
    let mut refused = KeptAlive::new(gate.http1(&other));
    let answer = refused.get("/").unwrap();
    assert!(answer.status == 403 && answer.closes());
    let text = text_of(&gate.sidecar).replace("internal/gateway", "internal/*");
    gate.sidecar.reconfigure(&text);
    assert_eq!(KeptAlive::new(gate.http1(&other)).get("/").unwrap().status, 200);
}

#[test]
fn a_tunnel_to_a_server_that_is_no_longer_expected_is_cut() {
    let (pki, service) = (Pki::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (server, caller) = (pki.issue(NAME), pki.issue("gateway"));
    let tcp = "protocol = \"tcp\"";
    let receiver = Sidecar::start(&inbound(&pki, &server, service.local_addr().unwrap(), &[&caller.spiffe], tcp, ""));
    let sidecar = Sidecar::start(&outbound(&pki, &caller, receiver.address("ads"), &server.spiffe, tcp, ""));
    let mut stream = TcpStream::connect(sidecar.address("ads")).unwrap();
    stream.set_read_timeout(Some(crate::support::sidecar::PATIENCE)).unwrap();
    let (mut end, _) = service.accept().unwrap();
    end.write_all(b"hello").unwrap();
    let mut said = [0; 5];
    stream.read_exact(&mut said).unwrap();
    sidecar.reconfigure(&text_of(&sidecar).replace(&server.spiffe, "spiffe://fleamarket.internal/successor"));
    assert!(ended(&mut stream) && ended(&mut end));
    let event = sidecar.wait_for("cut", |event| event["message"] == "connection cut");
    assert_eq!((event["reason"].as_str(), event["direction"].as_str()), (Some("no_longer_allowed"), Some("outbound")));
}

// Listeners and upstreams

/// A second listener for the same service.
fn second(name: &str, service: SocketAddr, caller: &Issued) -> String {
    format!(
        "[[inbound]]\nname = {name:?}\nlisten = \"127.0.0.1:0\"\nforward_to = \"{service}\"\nallow = [{:?}]\n",
        caller.spiffe
    )
}

#[test]
fn listeners_are_added_and_removed_and_the_removed_one_finishes_what_it_carries() {
    let gate = Gate::with("", "");
    let mut first = KeptAlive::new(gate.http1(&gate.caller));
    let before = text_of(&gate.sidecar);
    gate.sidecar.reconfigure(&format!("{before}{}", second("more", gate.service.address, &gate.caller)));
    let more = gate.sidecar.address("more");
    let mut carried = KeptAlive::new(connect(more, NAME, client_config(&gate.pki, Some(&gate.caller), HTTP1)).unwrap());
    carried.send("POST /echo HTTP/1.1\r\nHost: ads\r\nContent-Length: 10\r\n\r\nfirst").unwrap();
    let head = carried.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(first.get("/").unwrap().status, 200);
    gate.sidecar.reconfigure(&before);
    wait_until_refused(more);
    carried.send("rest.").unwrap();
    let mut body = Vec::new();
    carried.exactly(10, &mut body).unwrap();
    assert_eq!(body, b"firstrest.");
    assert!(ended(carried.stream()));
    assert_eq!(first.get("/").unwrap().status, 200);
    assert_eq!(gate.sidecar.status()["listeners"].as_array().unwrap().len(), 1);
}

/// The kernel answers for a closed socket once the last worker has let go of it.
fn wait_until_refused(address: SocketAddr) {
    let deadline = std::time::Instant::now() + crate::support::sidecar::PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(std::time::Instant::now() < deadline, "{address} is still listened on");
    }
}

#[test]
fn a_changed_address_is_listened_on_and_the_old_one_is_not() {
    let gate = Gate::with("", "");
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!(kept.get("/").unwrap().status, 200);
    let seen = gate.sidecar.events().len();
    // The name begins with the listener's own table, so that only its address is meant.
    let text = text_of(&gate.sidecar).replacen("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.2:0\"", 1);
    gate.sidecar.reconfigure(&text);
    let event = gate.sidecar.wait_from(seen, "address", |event| event["message"] == "listening");
    let address: SocketAddr = event["address"].as_str().unwrap().parse().unwrap();
    assert_eq!(address.ip().to_string(), "127.0.0.2");
    let config = client_config(&gate.pki, Some(&gate.caller), HTTP1);
    assert_eq!(KeptAlive::new(connect(address, NAME, config).unwrap()).get("/").unwrap().status, 200);
    wait_until_refused(gate.address());
    assert_eq!(kept.get("/").unwrap().status, 200);
}

#[test]
fn a_listener_may_take_the_address_of_another_that_goes() {
    let gate = Gate::with("", "");
    let address = gate.address().to_string();
    // Fixed to the port that the kernel chose, as an operator's file has it.
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let fixed = probe.local_addr().unwrap();
    drop(probe);
    let text = text_of(&gate.sidecar).replacen("127.0.0.1:0", &fixed.to_string(), 1);
    gate.sidecar.reconfigure(&text);
    assert_ne!(address, fixed.to_string());
    gate.sidecar.reconfigure(&text.replace("name = \"ads\"", "name = \"renamed\""));
    let config = client_config(&gate.pki, Some(&gate.caller), HTTP1);
    assert_eq!(KeptAlive::new(connect(fixed, NAME, config).unwrap()).get("/").unwrap().status, 200);
    assert_eq!(gate.sidecar.status()["listeners"][0]["name"], "renamed");
}

#[test]
fn a_changed_service_is_forwarded_to_without_a_failed_request() {
    let gate = Gate::with("", "");
    let successor = Service::start();
    let config = client_config(&gate.pki, Some(&gate.caller), HTTP1);
    let load = Load::tls(gate.address(), Version::Http1, 4, config);
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!(kept.get("/").unwrap().status, 200);
    load.wait_for_more(20);
    let text = text_of(&gate.sidecar);
    gate.sidecar.reconfigure(&text.replace(&gate.service.address.to_string(), &successor.address.to_string()));
    load.wait_for_more(100);
    assert_eq!(kept.get("/").unwrap().status, 200);
    let tally = load.finish();
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(tally.connections, 4, "the callers keep their connections");
}

#[test]
fn a_changed_peer_is_connected_to_without_a_failed_request() {
    let mesh = Mesh::start();
    let text = fs::read_to_string(&mesh.inbound.config).unwrap();
    let successor = Sidecar::start(&text);
    for version in [Version::Http1, Version::Http2] {
        let load = Load::plain(mesh.entry(), version, 4);
        load.wait_for_more(20);
        let text = text_of(&mesh.outbound);
        let (from, to) = (mesh.tls().to_string(), successor.address("ads").to_string());
        let next = if text.contains(&from) { text.replace(&from, &to) } else { text.replace(&to, &from) };
        mesh.outbound.reconfigure(&next);
        load.wait_for_more(100);
        assert_eq!(load.finish().failures, Vec::<String>::new(), "{version:?}");
    }
}

#[test]
fn changed_limits_hold_for_listeners_that_run() {
    let gate = Gate::with("", "[limits]\nmax_connections = 1\n");
    let mut first = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!(first.get("/").unwrap().status, 200);
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| KeptAlive::new(gate.http1(&gate.caller)).get("/").unwrap().status);
        gate.sidecar.reconfigure(&text_of(&gate.sidecar).replace("max_connections = 1", "max_connections = 2"));
        waiting.join().unwrap()
    });
    assert_eq!(waiting, 200);
    drop(first);
}

// Bad changes

/// A bad change is refused once with this word in the reason, keeps what ran, is shown, and is taken up when mended.
fn keeps_what_ran(gate: &Gate, says: &str, spoil: impl FnOnce(), mend: impl FnOnce()) {
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!(kept.get("/").unwrap().status, 200);
    let event = refused(&gate.sidecar, spoil);
    let said = event["error"].as_str().unwrap();
    assert!(said.contains(says), "{event}");
    assert_eq!(kept.get("/").unwrap().status, 200);
    assert_eq!(KeptAlive::new(gate.http1(&gate.caller)).get("/").unwrap().status, 200);
    let status = gate.sidecar.status();
    let message = status["reload"]["last_error"]["message"].as_str().unwrap();
    assert!(message.contains(says), "{status}");
    assert!(status["ready"].as_bool().unwrap() && status["warnings"].to_string().contains("refused"), "{status}");
    assert!(gate.sidecar.metric("mantlet_reloads_total", &HashMap::from([("outcome", "failure")])) >= 1.0);
    gate.sidecar.wait_for_metric("mantlet_reload_failing", &HashMap::new(), 1.0);
    // Asked again, it fails again, and does not say so again.
    let failures = || gate.sidecar.metric("mantlet_reloads_total", &HashMap::from([("outcome", "failure")]));
    let before = failures();
    gate.sidecar.signal("HUP");
    gate.sidecar.wait_for_status("another attempt", |_| failures() > before);
    let told = gate.sidecar.events().iter().filter(|event| is_refused_reload(event)).count();
    assert_eq!(told, 1, "{}", gate.sidecar.text());
    reloaded(&gate.sidecar, mend);
    assert_eq!(kept.get("/").unwrap().status, 200);
    gate.sidecar.wait_for_metric("mantlet_reload_failing", &HashMap::new(), 0.0);
    assert_eq!(gate.sidecar.status()["reload"]["last_error"], Value::Null);
}

#[test]
fn a_syntax_error_keeps_what_ran() {
    let gate = Gate::with("", "");
    let text = text_of(&gate.sidecar);
    let file = &gate.sidecar.config;
    keeps_what_ran(
        &gate,
        "mantlet.toml",
        || replace(file, &format!("{text}\n[inbound")),
        || replace(file, &format!("{text}\n")),
    );
}

#[test]
fn a_missing_configuration_keeps_what_ran() {
    let gate = Gate::with("", "");
    let text = text_of(&gate.sidecar);
    let file = &gate.sidecar.config;
    keeps_what_ran(&gate, "mantlet.toml", || fs::remove_file(file).unwrap(), || replace(file, &text));
}

#[test]
fn a_missing_certificate_keeps_what_ran() {
    let gate = Gate::with("", "");
    let aside = gate.pki.folder.path().join("aside");
    let file = &gate.own.certificate;
    keeps_what_ran(&gate, "adservice.pem", || fs::rename(file, &aside).unwrap(), || fs::rename(&aside, file).unwrap());
}

#[test]
fn a_key_of_another_certificate_keeps_what_ran() {
    let gate = Gate::with("", "");
    let (own, other) = (fs::read_to_string(&gate.own.key).unwrap(), fs::read_to_string(&gate.caller.key).unwrap());
    let file = &gate.own.key;
    keeps_what_ran(&gate, "adservice", || replace(file, &other), || replace(file, &own));
}

#[test]
fn a_taken_port_keeps_what_ran_and_binds_nothing_else() {
    let gate = Gate::with("", "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = text_of(&gate.sidecar);
    let more = second("more", gate.service.address, &gate.caller).replace("127.0.0.1:0", &address.to_string());
    let file = &gate.sidecar.config;
    keeps_what_ran(
        &gate,
        &address.to_string(),
        || replace(file, &format!("{text}{}{more}", second("free", gate.service.address, &gate.caller))),
        || {
            let _freed = taken;
            replace(file, &format!("{text}\n"));
        },
    );
    assert!(!gate.sidecar.text().contains("\"free\""), "{}", gate.sidecar.text());
}

/// Puts a CRL in place that cannot be used: the one before serves on, and certificates rotate all the same.
fn keeps_the_crl_in_use(gate: &Gate, revoked: &Issued, spoiled: &str, says: &str) {
    let file = gate.pki.folder.path().join("ca.crl");
    reloaded(&gate.sidecar, || replace(&file, spoiled));
    let failing = |status: &Value| status["revocation"]["sources"][0]["last_error"].to_string().contains(says);
    let status = gate.sidecar.wait_for_status("a failing source", failing);
    assert!(status["ready"].as_bool().unwrap() && status["reload"]["last_error"].is_null(), "{status}");
    reloaded(&gate.sidecar, || drop(gate.pki.issue(NAME)));
    let refused = |who: &Issued| alert(gate.address(), NAME, client_config(&gate.pki, Some(who), HTTP1));
    assert_eq!(refused(revoked), AlertDescription::CertificateRevoked);
    assert_eq!(KeptAlive::new(gate.http1(&gate.caller)).get("/").unwrap().status, 200);
    reloaded(&gate.sidecar, || drop(gate.pki.revoke(&[revoked])));
    let mended = |status: &Value| status["revocation"]["sources"][0]["last_error"].is_null();
    gate.sidecar.wait_for_status("a mended source", mended);
}

#[test]
fn a_spoiled_crl_keeps_the_one_in_use_and_holds_up_no_rotation() {
    let gate = Gate::with("", REVOCATION);
    let other = gate.pki.issue("batch");
    reloaded(&gate.sidecar, || drop(gate.pki.revoke(&[&other])));
    let garbage = "-----BEGIN X509 CRL-----\nZ2FyYmFnZQ==\n-----END X509 CRL-----\n";
    keeps_the_crl_in_use(&gate, &other, garbage, "is not a CRL in DER");
}

#[test]
fn a_crl_of_another_ca_keeps_the_one_in_use_and_holds_up_no_rotation() {
    let gate = Gate::with("", REVOCATION);
    let other = gate.pki.issue("batch");
    reloaded(&gate.sidecar, || drop(gate.pki.revoke(&[&other])));
    let foreign = fs::read_to_string(Pki::new().revoke(&[])).unwrap();
    keeps_the_crl_in_use(&gate, &other, &foreign, "is signed by another key");
}

#[test]
fn a_failed_reload_is_tried_again_without_being_told() {
    // What failed for a reason outside the watched files is found by trying again.
    let gate = Gate::with("", "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = text_of(&gate.sidecar);
    let more = second("more", gate.service.address, &gate.caller).replace("127.0.0.1:0", &address.to_string());
    refused(&gate.sidecar, || replace(&gate.sidecar.config, &format!("{text}{more}")));
    reloaded(&gate.sidecar, || drop(taken));
    assert_eq!(gate.sidecar.address("more"), address);
}

#[test]
fn no_request_fails_across_twenty_reloads() {
    let mesh = Mesh::start();
    let loads: Vec<Load> = [Version::Http1, Version::Http2]
        .into_iter()
        .flat_map(|version| {
            let caller =
                client_config(&mesh.pki, Some(&mesh.caller), if version == Version::Http1 { HTTP1 } else { HTTP2 });
            [Load::plain(mesh.entry(), version, 2), Load::tls(mesh.tls(), version, 2, caller)]
        })
        .collect();
    let (inbound, outbound) = (text_of(&mesh.inbound), text_of(&mesh.outbound));
    for round in 0..10 {
        let more = if round % 2 == 0 { format!("[limits]\nmax_streams = {}\n", 100 + round) } else { String::new() };
        mesh.inbound.reconfigure(&format!("{inbound}{more}"));
        mesh.outbound.reconfigure(&format!("{outbound}{more}"));
        if round % 3 == 0 {
            reloaded(&mesh.inbound, || drop(mesh.pki.issue("adservice")));
        }
    }
    for load in loads {
        load.wait_for_more(10);
        let tally = load.finish();
        assert_eq!(tally.failures, Vec::<String>::new(), "{tally:?}");
    }
}

#[test]
fn unaffected_connections_outlive_every_kind_of_reload() {
    let (gate, other) = gate_for_two("");
    let mut kept: Vec<KeptAlive<TlsClient>> = (0..3).map(|_| KeptAlive::new(gate.http1(&other))).collect();
    reloaded(&gate.sidecar, || drop(gate.pki.issue(NAME)));
    revoke(&gate);
    reloaded(&gate.sidecar, || gate.sidecar.signal("HUP"));
    for kept in &mut kept {
        assert_eq!(kept.get("/").unwrap().status, 200);
    }
}
