//! TCP through two sidecars: `client -> outbound -> mutual TLS -> inbound -> service`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use aws_lc_rs::digest;

use crate::support::mesh::{Mesh, inbound, outbound};
use crate::support::pki::Pki;
use crate::support::postgres::Postgres;
use crate::support::sidecar::{PATIENCE, Sidecar};
use crate::support::tcp_service::{TcpService, carries, dial, rest, rest_before_reset};
use crate::support::tls_client::{client_config, connect};

const TCP: &str = "protocol = \"tcp\"";
const ACCESS: &str = "[log]\naccess = true\n";

fn mesh_with(tables: &str) -> Mesh<TcpService> {
    let service = TcpService::start();
    let address = service.address;
    Mesh::around(service, address, TCP, TCP, tables)
}

/// A tunnel that has carried a few bytes both ways: the client's end and the service's.
fn tunnel(mesh: &Mesh<TcpService>) -> (TcpStream, TcpStream) {
    let mut client = dial(mesh.entry());
    client.write_all(b"hello").unwrap();
    let mut service = mesh.service.accept();
    let mut hello = [0; 5];
    service.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    carries(&mut service, &mut client, b"welcome");
    (client, service)
}

/// The event at the end of a tunnel.
fn end_of(sidecar: &Sidecar) -> serde_json::Value {
    sidecar.wait_for("end of a tunnel", |event| event["message"] == "connection")
}

#[test]
fn bytes_travel_both_ways_and_the_log_says_how_many() {
    let mesh = mesh_with(ACCESS);
    let (mut client, mut service) = tunnel(&mesh);
    carries(&mut client, &mut service, &[0, 0xff, b'\r', b'\n', 0x16, 0x03, 0x01]);
    carries(&mut service, &mut client, b"GET / HTTP/1.1\r\n\r\n");
    drop(client);
    assert_eq!(rest(&mut service), b"");
    drop(service);
    let event = end_of(&mesh.inbound);
    assert_eq!(event["outcome"], "completed", "{event}");
    assert_eq!((event["request_bytes"].as_u64(), event["response_bytes"].as_u64()), (Some(12), Some(25)), "{event}");
    assert_eq!(event["peer"], mesh.caller.spiffe.as_str(), "{event}");
    assert_eq!(end_of(&mesh.outbound)["peer"], mesh.callee.spiffe.as_str());
}

#[test]
fn a_service_may_speak_first() {
    let mesh = mesh_with("");
    let mut client = dial(mesh.entry());
    let mut service = mesh.service.accept();
    carries(&mut service, &mut client, b"220 ready\r\n");
}

#[test]
fn a_client_that_has_said_everything_still_gets_the_answer() {
    let mesh = mesh_with("");
    let (mut client, mut service) = tunnel(&mesh);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut service), b"question");
    carries(&mut service, &mut client, b"answer");
    drop(service);
    assert_eq!(rest(&mut client), b"");
}

#[test]
fn a_service_that_has_said_everything_still_hears_the_client() {
    let mesh = mesh_with("");
    let (mut client, mut service) = tunnel(&mesh);
    service.write_all(b"go on").unwrap();
    service.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"go on");
    carries(&mut client, &mut service, b"and on");
    drop(client);
    assert_eq!(rest(&mut service), b"");
}

#[test]
fn sixty_four_mebibytes_arrive_intact_in_both_directions_at_once() {
    const CHUNK: usize = 64 * 1024;
    const CHUNKS: usize = 1024;
    fn send(mut stream: &TcpStream, seed: u64) -> digest::Digest {
        let (mut random, mut chunk) = (fastrand::Rng::with_seed(seed), vec![0; CHUNK]);
        let mut context = digest::Context::new(&digest::SHA256);
        for _ in 0..CHUNKS {
            random.fill(&mut chunk);
            context.update(&chunk);
            stream.write_all(&chunk).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        context.finish()
    }
    fn receive(mut stream: &TcpStream) -> (usize, digest::Digest) {
        let (mut context, mut chunk, mut length) = (digest::Context::new(&digest::SHA256), vec![0; CHUNK], 0);
        loop {
            match stream.read(&mut chunk).unwrap() {
                0 => return (length, context.finish()),
                read => {
                    context.update(&chunk[..read]);
                    length += read;
                }
            }
        }
    }
    let mesh = mesh_with("");
    let (client, service) = (dial(mesh.entry()), mesh.service.accept());
    std::thread::scope(|scope| {
        let sent = [scope.spawn(|| send(&client, 1)), scope.spawn(|| send(&service, 2))];
        let received = [scope.spawn(|| receive(&service)), scope.spawn(|| receive(&client))];
        for (sent, received) in sent.into_iter().zip(received) {
            let (length, digest) = received.join().unwrap();
            assert_eq!(length, CHUNK * CHUNKS);
            assert_eq!(digest.as_ref(), sent.join().unwrap().as_ref());
        }
    });
    let resident = [mesh.inbound.resident_kib(), mesh.outbound.resident_kib()];
    assert!(resident.iter().all(|kib| *kib < 64 * 1024), "{resident:?} KiB resident");
}

#[test]
fn two_hundred_tunnels_at_once_do_not_mix() {
    let address = TcpService::echo();
    let mesh = Mesh::around((), address, TCP, TCP, "");
    let mut clients: Vec<TcpStream> = (0..200).map(|_| dial(mesh.entry())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("tunnel {number}").repeat(500).as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(rest(client), format!("tunnel {number}").repeat(500).as_bytes());
    }
}

#[test]
fn a_tunnel_without_traffic_is_closed() {
    let mesh = mesh_with(&format!("{ACCESS}[timeouts]\nidle = \"1s\"\n"));
    let (mut client, mut service) = tunnel(&mesh);
    assert_eq!(rest(&mut client), b"");
    assert_eq!(rest(&mut service), b"");
    let ends = [end_of(&mesh.inbound), end_of(&mesh.outbound)];
    assert!(ends.iter().any(|event| event["reason"] == "idle" && event["outcome"] == "ended"), "{ends:?}");
}

#[test]
fn a_tunnel_whose_reader_has_stopped_is_reset_rather_than_ended_short() {
    let mesh = mesh_with(&format!("{ACCESS}[timeouts]\nidle = \"1s\"\n"));
    let (client, mut service) = tunnel(&mesh);
    // The client reads nothing, so that in the end nothing more moves and bytes are left on the way.
    let chunk = vec![7; 64 * 1024];
    let error = std::iter::repeat_with(|| service.write_all(&chunk)).find_map(Result::err).unwrap();
    assert!(matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe), "{error}");
    rest_before_reset(&mut &client);
    // Whichever sidecar's clock strikes first cuts, and the other sees it break.
    let ends = [end_of(&mesh.inbound), end_of(&mesh.outbound)];
    assert!(ends.iter().any(|event| event["outcome"] == "cut"), "{ends:?}");
}

#[test]
fn a_tls_stream_cut_short_reaches_the_service_as_a_reset() {
    let mesh = mesh_with("");
    let mut peer = connect(mesh.tls(), "adservice", client_config(&mesh.pki, Some(&mesh.caller), &[])).unwrap();
    peer.write_all(b"half of").unwrap();
    let mut service = mesh.service.accept();
    carries(&mut service, &mut peer, b"go on");
    // The end of TCP alone, without close_notify, which anyone between could have brought about.
    peer.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest_before_reset(&mut service), b"half of");
}

#[test]
fn a_tls_stream_ended_with_close_notify_reaches_the_service_as_its_end() {
    let mesh = mesh_with("");
    let mut peer = connect(mesh.tls(), "adservice", client_config(&mesh.pki, Some(&mesh.caller), &[])).unwrap();
    peer.write_all(b"the whole").unwrap();
    peer.conn.send_close_notify();
    peer.flush().unwrap();
    let mut service = mesh.service.accept();
    assert_eq!(rest(&mut service), b"the whole");
    carries(&mut service, &mut peer, b"the answer");
}

#[test]
fn a_reset_travels_as_a_reset_in_both_directions() {
    let mesh = mesh_with(ACCESS);
    let reset =
        |stream: TcpStream| socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    let (client, mut service) = tunnel(&mesh);
    reset(client);
    rest_before_reset(&mut service);
    assert_eq!(end_of(&mesh.outbound)["outcome"], "broken");
    let (mut client, service) = tunnel(&mesh);
    reset(service);
    rest_before_reset(&mut client);
}

#[test]
fn a_killed_sidecar_leaves_a_reset_and_not_an_end_on_both_sides() {
    let mesh = mesh_with("");
    let (mut client, mut service) = tunnel(&mesh);
    mesh.inbound.signal("KILL");
    rest_before_reset(&mut client);
    rest_before_reset(&mut service);
}

#[test]
fn a_service_that_is_not_there_is_a_reset_for_the_caller_and_a_line_in_the_log() {
    let mesh = mesh_with("");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = inbound(&mesh.pki, &mesh.callee, nobody, &[&mesh.caller.spiffe], TCP, "");
    let lonely = Sidecar::start(&config);
    let caller =
        Sidecar::start(&outbound(&mesh.pki, &mesh.caller, lonely.address("ads"), &mesh.callee.spiffe, TCP, ""));
    rest_before_reset(&mut dial(caller.address("ads")));
    let event = lonely.wait_for("failure", |event| event["message"] == "exchange failed");
    assert_eq!(event["reason"], "connection_refused", "{event}");
    assert!(event["error"].as_str().unwrap().contains(&nobody.to_string()), "{event}");
    assert!(mesh.service.is_untouched());
}

#[test]
fn a_peer_that_is_not_there_is_a_reset_for_the_service_and_a_line_in_the_log() {
    let pki = Pki::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let caller = Sidecar::start(&outbound(&pki, &pki.issue("gateway"), nobody, "adservice", TCP, ""));
    rest_before_reset(&mut dial(caller.address("ads")));
    let event = caller.wait_for("failure", |event| event["message"] == "exchange failed");
    assert_eq!(event["reason"], "connection_refused", "{event}");
    assert_eq!(event["hint"], "check that the upstream runs and listens there", "{event}");
}

#[test]
fn a_peer_that_is_not_allowed_reaches_nothing() {
    let mesh = mesh_with("");
    let stranger = mesh.pki.issue("stranger");
    let caller = Sidecar::start(&outbound(&mesh.pki, &stranger, mesh.tls(), &mesh.callee.spiffe, TCP, ""));
    let mut client = dial(caller.address("ads"));
    let _ = client.write_all(b"let me in");
    rest_before_reset(&mut client);
    let event = mesh.inbound.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!(event["peer"].as_str().unwrap().split(',').next(), Some(stranger.spiffe.as_str()), "{event}");
    assert_eq!(event["peer.serial"], stranger.serial_hex(), "{event}");
    assert!(mesh.service.is_untouched());
}

#[test]
fn a_peer_whose_certificate_is_refused_learns_it_from_its_own_sidecar() {
    let mesh = mesh_with("");
    let other = Pki::named("another root");
    let config = outbound(&other, &other.issue("gateway"), mesh.tls(), &mesh.callee.spiffe, TCP, "");
    // It trusts the callee, which does not trust its authority.
    let both = format!("anchors = [{:?}, ", mesh.pki.anchors());
    let caller = Sidecar::start(&config.replace("anchors = [", &both));
    rest_before_reset(&mut dial(caller.address("ads")));
    let event = caller.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!(event["reason"], "alert_received", "{event}");
    assert!(event["hint"].as_str().unwrap().contains("does not trust our issuer"), "{event}");
    assert!(mesh.service.is_untouched());
}

#[test]
fn a_quiet_tunnel_ends_in_order_when_its_sidecar_stops() {
    let mut mesh = mesh_with(ACCESS);
    let (mut client, mut service) = tunnel(&mesh);
    mesh.inbound.signal("TERM");
    assert_eq!(rest(&mut client), b"");
    assert_eq!(rest(&mut service), b"");
    assert_eq!(end_of(&mesh.inbound)["reason"], "shutdown");
    assert!(mesh.inbound.wait_for_exit().success());
}

#[test]
fn a_busy_tunnel_goes_on_after_the_stop_until_the_drain_timeout_and_is_then_reset() {
    let mut mesh = mesh_with("[timeouts]\ndrain = \"600ms\"\n");
    let (mut client, mut service) = tunnel(&mesh);
    mesh.inbound.signal("TERM");
    mesh.inbound.wait_for("shutdown", |event| event["message"] == "shutting down");
    let stopped = Instant::now();
    let mut word = [0; 4];
    let error = loop {
        let round = client.write_all(b"ping").and_then(|()| service.read_exact(&mut word));
        match round.and_then(|()| service.write_all(b"pong")).and_then(|()| client.read_exact(&mut word)) {
            Ok(()) => assert!(stopped.elapsed() < PATIENCE),
            Err(error) => break error,
        }
    };
    assert!(stopped.elapsed().as_millis() >= 500, "{error} after {:?}", stopped.elapsed());
    assert!(matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe), "{error}");
    assert!(mesh.inbound.wait_for_exit().success());
}

#[test]
fn postgresql_works_through_two_sidecars() {
    let postgres = Postgres::start();
    let forward_to = format!("unix:{}", postgres.socket().display());
    let mesh = Mesh::around((), forward_to, TCP, TCP, ACCESS);
    let script = "create table ads (id int primary key, title text);
        insert into ads select n, repeat('bicycle', n % 50) from generate_series(1, 20000) n;
        select count(*), sum(length(title)) from ads;";
    assert_eq!(Postgres::psql(mesh.entry(), script), "20000|3430000");
    let listing = Postgres::psql(mesh.entry(), "copy ads to stdout");
    assert_eq!(listing.lines().count(), 20_000);
    assert_eq!(end_of(&mesh.inbound)["outcome"], "completed");
}
