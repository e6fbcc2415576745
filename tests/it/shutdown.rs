//! The end of the process: what is in flight is finished, what comes new goes elsewhere.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::balancer::balance;
use crate::support::exchange::KeptAlive;
use crate::support::gate::{Gate, NAME};
use crate::support::h2_frames::{DATA, begin_with_get, read_to_the_farewell, read_until};
use crate::support::load::{Load, Version};
use crate::support::mesh::{inbound, outbound};
use crate::support::pki::Pki;
use crate::support::service::{Service, get};
use crate::support::sidecar::{PATIENCE, Sidecar};
use crate::support::tls_client::{HTTP2, client_config, connect};

const UPLOAD: &str = "POST /echo HTTP/1.1\r\nHost: ads\r\nContent-Length: 10\r\n\r\nfirst";

fn draining(sidecar: &Sidecar) {
    sidecar.signal("TERM");
    sidecar.wait_for("shutdown", |event| event["message"] == "shutting down");
}

fn wait_until_refused(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "{address} is still listened on");
    }
}

#[test]
fn a_request_in_flight_is_finished_and_told_to_close_and_the_process_ends_with_0() {
    let mut gate = Gate::with("", "");
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    let mut next = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!(next.get("/").unwrap().status, 200);
    kept.send(UPLOAD).unwrap();
    assert!(kept.head().unwrap().starts_with("HTTP/1.1 200"));
    draining(&gate.sidecar);
    wait_until_refused(gate.address());
    // A request that was on its way when the drain began is still answered, and the last on its connection.
    let answer = next.get("/").unwrap();
    assert!(answer.status == 200 && answer.closes(), "{answer:?}");
    kept.send("rest.").unwrap();
    let mut body = Vec::new();
    kept.exactly(10, &mut body).unwrap();
    assert_eq!(body, b"firstrest.");
    assert_eq!(gate.sidecar.wait_for_exit().code(), Some(0));
    let text = gate.sidecar.text();
    assert!(!text.contains("drain timeout"), "{text}");
}

#[test]
fn http2_is_told_goaway_and_finishes_its_streams() {
    let mut gate = Gate::with("", "");
    let mut stream = gate.open(&gate.caller, HTTP2);
    begin_with_get(&mut stream, "/bytes/200000");
    read_until(&mut stream, DATA).unwrap();
    draining(&gate.sidecar);
    let (goaways, ended) = read_to_the_farewell(&mut stream);
    assert!(goaways >= 1 && ended, "{goaways} GOAWAY, stream ended: {ended}");
    assert_eq!(gate.sidecar.wait_for_exit().code(), Some(0));
}

#[test]
fn a_request_slower_than_the_drain_timeout_is_cut() {
    let mut gate = Gate::with("", "[timeouts]\ndrain = \"300ms\"\n");
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    kept.send(UPLOAD).unwrap();
    assert!(kept.head().unwrap().starts_with("HTTP/1.1 200"));
    let began = Instant::now();
    draining(&gate.sidecar);
    assert_eq!(gate.sidecar.wait_for_exit().code(), Some(0));
    assert!((300..3000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert!(kept.exactly(10, &mut Vec::new()).is_err());
}

#[test]
fn a_second_signal_ends_at_once() {
    for second in ["TERM", "INT"] {
        let mut gate = Gate::with("", "");
        let mut kept = KeptAlive::new(gate.http1(&gate.caller));
        kept.send(UPLOAD).unwrap();
        assert!(kept.head().unwrap().starts_with("HTTP/1.1 200"));
        draining(&gate.sidecar);
        let began = Instant::now();
        gate.sidecar.signal(second);
        assert_eq!(gate.sidecar.wait_for_exit().code(), Some(0));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

#[test]
fn an_idle_process_ends_at_once_and_frees_its_port() {
    let mut gate = Gate::with("", "");
    let began = Instant::now();
    gate.sidecar.signal("INT");
    assert_eq!(gate.sidecar.wait_for_exit().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    TcpListener::bind(gate.address()).unwrap();
}

#[test]
fn a_draining_process_is_unready_with_the_reason_and_alive() {
    let gate = Gate::with("", "");
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    kept.send(UPLOAD).unwrap();
    assert!(kept.head().unwrap().starts_with("HTTP/1.1 200"));
    let admin = gate.sidecar.address("admin");
    assert_eq!(get(admin, "/readyz").0, 200);
    draining(&gate.sidecar);
    let (status, body) = get(admin, "/readyz");
    assert!(status == 503 && body.contains("shutting down"), "{status} {body}");
    assert_eq!(get(admin, "/healthz").0, 200);
    let status = gate.sidecar.status();
    assert_eq!(status["connections"][0]["phase"], "draining", "{status}");
    assert_eq!(status["connections"][0]["ending_because"], "shutdown", "{status}");
}

#[test]
fn outbound_keeps_working_while_inbound_is_busy() {
    // One sidecar in both roles, as each service has it; it calls another one.
    let pki = Pki::new();
    let (own, other) = (pki.issue(NAME), pki.issue("userservice"));
    let service = Service::start();
    let users = Sidecar::start(&inbound(&pki, &other, service.address, &[&own.spiffe], "", ""));
    let caller = pki.issue("gateway");
    let both = format!(
        "{}[[outbound]]\nname = \"users\"\nlisten = \"127.0.0.1:0\"\nconnect_to = \"{}\"\nexpect = [{:?}]\n",
        inbound(&pki, &own, service.address, &[&caller.spiffe], "", ""),
        users.address("ads"),
        other.spiffe
    );
    let mut sidecar = Sidecar::start(&both);
    let mut busy = KeptAlive::new(
        connect(sidecar.address("ads"), NAME, client_config(&pki, Some(&caller), crate::support::tls_client::HTTP1))
            .unwrap(),
    );
    busy.send(UPLOAD).unwrap();
    assert!(busy.head().unwrap().starts_with("HTTP/1.1 200"));
    let mut kept = KeptAlive::new(TcpStream::connect(sidecar.address("users")).unwrap());
    assert_eq!(kept.get("/").unwrap().status, 200);
    draining(&sidecar);
    wait_until_refused(sidecar.address("ads"));
    for _ in 0..3 {
        assert_eq!(kept.get("/").unwrap().status, 200);
        assert_eq!(get(sidecar.address("users"), "/").0, 200, "new connections as well");
    }
    busy.send("rest.").unwrap();
    busy.exactly(10, &mut Vec::new()).unwrap();
    assert_eq!(sidecar.wait_for_exit().code(), Some(0));
    wait_until_refused(sidecar.address("users"));
}

#[test]
fn a_tunnel_is_finished_by_its_ends_during_the_drain() {
    let (pki, service) = (Pki::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (own, caller) = (pki.issue(NAME), pki.issue("gateway"));
    let tcp = "protocol = \"tcp\"";
    let mut sidecar = Sidecar::start(&inbound(&pki, &own, service.local_addr().unwrap(), &[&caller.spiffe], tcp, ""));
    let mut stream = connect(sidecar.address("ads"), NAME, client_config(&pki, Some(&caller), &[])).unwrap();
    let (mut end, _) = service.accept().unwrap();
    draining(&sidecar);
    stream.write_all(b"last words").unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut said = String::new();
    end.read_to_string(&mut said).unwrap();
    assert_eq!(said, "last words");
    end.write_all(b"farewell").unwrap();
    drop(end);
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "farewell");
    assert_eq!(sidecar.wait_for_exit().code(), Some(0));
}

/// Two receivers of one identity, which are shut down and started again one after the other under this load.
fn restart_in_turns(hop: &str, version: Version, clients: usize, tables: &str) {
    let pki = Pki::new();
    let (server, caller) = (pki.issue(NAME), pki.issue("gateway"));
    let service = Service::start();
    let start = |address: &str| {
        let text = inbound(&pki, &server, service.address, &[&caller.spiffe], "", "");
        Sidecar::start(&text.replacen("127.0.0.1:0", address, 1))
    };
    let mut receivers = [start("127.0.0.1:0"), start("127.0.0.1:0")];
    let addresses = receivers.each_ref().map(|receiver| receiver.address("ads"));
    let keys = format!("hop = {hop:?}");
    let sidecar = Sidecar::start(&outbound(&pki, &caller, balance(addresses.to_vec()), &server.spiffe, &keys, tables));
    let load = Load::plain(sidecar.address("ads"), version, clients);
    for turn in [0, 1, 0, 1] {
        load.wait_for_more(50);
        receivers[turn].signal("TERM");
        assert_eq!(receivers[turn].wait_for_exit().code(), Some(0));
        load.wait_for_more(50);
        receivers[turn] = start(&addresses[turn].to_string());
    }
    load.wait_for_more(50);
    let tally = load.finish();
    assert_eq!(tally.failures, Vec::<String>::new(), "{}", sidecar.text());
}

#[test]
fn no_request_of_http2_fails_while_one_of_two_receivers_is_restarted() {
    restart_in_turns("auto", Version::Http2, 4, "");
}

#[test]
fn no_request_of_http1_fails_while_one_of_two_receivers_is_restarted() {
    restart_in_turns("http1", Version::Http1, 4, "");
}

#[test]
fn no_request_fails_where_each_makes_a_handshake_and_one_of_two_receivers_is_restarted() {
    restart_in_turns("http1", Version::Http1, 8, "[limits]\nmax_idle_upstream = 0\n");
}
