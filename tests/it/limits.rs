//! Bounds on what a peer controls, and the end that each connection has.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::support::exchange::KeptAlive;
use crate::support::gate::Gate;
use crate::support::h2_frames::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
    begin_with_get, literal, preface, put, read_until,
};
use crate::support::load::{Load, Version};
use crate::support::mesh::Mesh;
use crate::support::pki::Issued;
use crate::support::sidecar::{PATIENCE, Sidecar};
use crate::support::tls_client::{HTTP1, HTTP2, TlsClient, client_config};

/// Reads until the other end closes, however it does so.
fn wait_for_end(stream: &mut impl Read) {
    let mut buffer = [0; 16 * 1024];
    while stream
        .read(&mut buffer)
        .inspect_err(|error| assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock))
        .is_ok_and(|read| read > 0)
    {}
}

fn ended_because(sidecar: &Sidecar, reason: &str, count: f64) {
    sidecar.wait_for_metric("mantlet_connections_ended_total", &HashMap::from([("reason", reason)]), count);
}

/// A caller whose certificate lasts so many seconds.
fn short_lived(gate: &Gate, seconds: u64) -> (Issued, OffsetDateTime) {
    let mut end = OffsetDateTime::now_utc();
    let issued = gate.pki.issue_with("gateway", "short", |params| {
        // X.509 knows whole seconds.
        end = (OffsetDateTime::now_utc() + Duration::from_secs(seconds)).replace_nanosecond(0).unwrap();
        params.not_after = end;
    });
    (issued, end)
}

#[test]
fn an_idle_connection_ends_with_its_peers_certificate() {
    let gate = Gate::with("", "");
    let (caller, end) = short_lived(&gate, 3);
    let mut http1 = KeptAlive::new(gate.http1(&caller));
    assert_eq!(http1.get("/").unwrap().status, 200);
    let mut http2 = gate.open(&caller, HTTP2);
    http2.write_all(&preface()).unwrap();
    wait_for_end(http1.stream());
    wait_for_end(&mut http2);
    let late = OffsetDateTime::now_utc() - end;
    assert!(late < Duration::from_secs(2), "{late}");
    ended_because(&gate.sidecar, "certificate_expired", 2.0);
}

#[test]
fn a_stream_is_cut_when_its_peers_certificate_ends() {
    let gate = Gate::with("", "");
    let (caller, end) = short_lived(&gate, 3);
    let mut kept = KeptAlive::new(gate.http1(&caller));
    kept.send("GET /bytes/100000000000 HTTP/1.1\r\nHost: ads\r\n\r\n").unwrap();
    assert!(kept.head().unwrap().starts_with("HTTP/1.1 200"));
    let mut tunnel = KeptAlive::new(gate.http1(&caller));
    tunnel.send("GET /upgrade HTTP/1.1\r\nHost: ads\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
    assert!(tunnel.head().unwrap().starts_with("HTTP/1.1 101"));
    let (bytes, _) = kept.rest();
    let late = OffsetDateTime::now_utc() - end;
    assert!(bytes > 0 && late >= time::Duration::ZERO && late < Duration::from_secs(2), "{late}");
    wait_for_end(tunnel.stream());
}

#[test]
fn connections_are_retired_at_their_age_without_a_failed_request() {
    let mesh = Mesh::with("", "", "[timeouts]\nmax_connection_age = \"1s\"\n");
    let loads: Vec<Load> = [Version::Http1, Version::Http2]
        .into_iter()
        .flat_map(|version| {
            let alpn = if version == Version::Http1 { HTTP1 } else { HTTP2 };
            let caller = client_config(&mesh.pki, Some(&mesh.caller), alpn);
            [Load::plain(mesh.entry(), version, 2), Load::tls(mesh.tls(), version, 2, caller)]
        })
        .collect();
    for load in loads {
        load.wait_for_connections(6);
        let tally = load.finish();
        assert_eq!(tally.failures, Vec::<String>::new(), "{tally:?}");
    }
    for (sidecar, direction) in [(&mesh.inbound, "inbound"), (&mesh.outbound, "outbound")] {
        let labels = HashMap::from([("reason", "max_connection_age"), ("direction", direction)]);
        assert!(sidecar.metric("mantlet_connections_ended_total", &labels) >= 4.0);
    }
}

#[test]
fn an_idle_connection_is_closed() {
    let gate = Gate::with("", "[timeouts]\nidle = \"200ms\"\n");
    let mut http1 = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!(http1.get("/").unwrap().status, 200);
    let mut silent = gate.http1(&gate.caller);
    let mut http2 = gate.open(&gate.caller, HTTP2);
    begin_with_get(&mut http2, "/");
    wait_for_end(http1.stream());
    wait_for_end(&mut silent);
    assert_eq!(read_until(&mut http2, GOAWAY).unwrap().payload[4..8], [0; 4]);
    ended_because(&gate.sidecar, "idle", 2.0);
}

#[test]
fn a_header_section_that_never_ends_is_cut() {
    let gate = Gate::with("", "[timeouts]\nrequest_header = \"200ms\"\n");
    let mut slow = KeptAlive::new(gate.http1(&gate.caller));
    slow.send("GET / HTTP/1.1\r\nHost: ads\r\nX-Slow: ").unwrap();
    let began = Instant::now();
    wait_for_end(slow.stream());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // It is as good after a first request.
    let mut second = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!(second.get("/").unwrap().status, 200);
    second.send("GET / HT").unwrap();
    wait_for_end(second.stream());
    ended_because(&gate.sidecar, "slow_header", 2.0);
}

#[test]
fn a_header_bomb_is_answered_431_and_the_service_hears_nothing() {
    let gate = Gate::with("", "[limits]\nmax_header_bytes = 8192\n");
    for bomb in [format!("X-Bomb: {}\r\n", "x".repeat(9000)), "X-Bomb: x\r\n".repeat(200)] {
        let mut kept = KeptAlive::new(gate.http1(&gate.caller));
        kept.send(&format!("GET / HTTP/1.1\r\nHost: ads\r\n{bomb}\r\n")).unwrap();
        let answer = kept.head().unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let requests = gate.sidecar.metric("mantlet_requests_total", &HashMap::from([("code", "200")]));
    assert!(requests.abs() < f64::EPSILON);
}

#[test]
fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let gate = Gate::with("", "");
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    kept.send("GET /first HTTP/1.1\r\nHost: ads\r\n\r\nGET /sec").unwrap();
    assert!(kept.answer().unwrap().body.contains("/first"));
    kept.send("ond HTTP/1.1\r\nHost: ads\r\n\r\n").unwrap();
    assert!(kept.answer().unwrap().body.contains("/second"));
}

#[test]
fn a_header_list_of_http2_beyond_the_limit_is_refused() {
    let gate = Gate::with("", "[limits]\nmax_header_bytes = 8192\n");
    let mut stream = gate.open(&gate.caller, HTTP2);
    let mut block = h2_frames::get("/");
    block.extend(literal(b"x-bomb", &[b'x'; 9000]));
    let mut buffer = preface();
    put(&mut buffer, HEADERS, END_STREAM | END_HEADERS, 1, &block);
    stream.write_all(&buffer).unwrap();
    // A 431 of the HTTP library, or a reset of the stream.
    loop {
        let frame = h2_frames::read(&mut stream).unwrap();
        match frame.kind {
            HEADERS => {
                let told_431 = frame.payload.windows(3).any(|digits| digits == b"431")
                    || frame.payload.windows(2).any(|huffman| huffman == [0x69, 0x90]);
                assert!(told_431, "{:x?}", frame.payload);
                break;
            }
            RST_STREAM | GOAWAY => break,
            _ => {}
        }
    }
    let requests = gate.sidecar.metric("mantlet_requests_total", &HashMap::from([("code", "200")]));
    assert!(requests.abs() < f64::EPSILON);
}

/// Floods a connection in the background of a well-behaved one that is served all the while; afterwards memory is bounded.
fn withstands(gate: &Gate, flood: impl FnOnce(&mut TlsClient) + Send) {
    let mut peer = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!(peer.get("/").unwrap().status, 200);
    let before = gate.sidecar.resident_kib();
    let config = client_config(&gate.pki, Some(&gate.caller), HTTP2);
    let mut stream = crate::support::tls_client::connect(gate.address(), crate::support::gate::NAME, config).unwrap();
    std::thread::scope(|scope| {
        let flooding = scope.spawn(move || flood(&mut stream));
        while !flooding.is_finished() {
            assert_eq!(peer.get("/").unwrap().status, 200);
        }
        flooding.join().unwrap();
    });
    assert_eq!(peer.get("/").unwrap().status, 200);
    let grown = gate.sidecar.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more");
}

#[test]
fn a_continuation_flood_is_ended_within_bounds() {
    let gate = Gate::with("", "");
    withstands(&gate, |stream| {
        let mut begin = preface();
        put(&mut begin, HEADERS, END_STREAM, 1, &h2_frames::get("/"));
        stream.write_all(&begin).unwrap();
        let mut frame = Vec::new();
        put(&mut frame, CONTINUATION, 0, 1, &literal(b"x-flood", &[b'x'; 16_000]));
        let refused = (0..10_000).any(|_| stream.write_all(&frame).is_err());
        assert!(refused, "160 MB of a header section were taken");
    });
    let text = gate.sidecar.text();
    assert!(!text.contains("panick"), "{text}");
}

#[test]
fn rapid_reset_ends_the_connection() {
    let gate = Gate::with("", "");
    withstands(&gate, |stream| {
        stream.write_all(&preface()).unwrap();
        let block = h2_frames::get("/bytes/1000");
        let mut id = 1;
        let ended = (0..2000).any(|_| {
            let mut burst = Vec::new();
            for _ in 0..50 {
                put(&mut burst, HEADERS, END_STREAM | END_HEADERS, id, &block);
                put(&mut burst, RST_STREAM, 0, id, &8_u32.to_be_bytes());
                id += 2;
            }
            stream.write_all(&burst).is_err()
        });
        assert!(ended, "100,000 streams were opened and reset");
    });
}

#[test]
fn streams_that_are_reset_while_they_are_served_end_the_connection() {
    let gate = Gate::with("", "");
    withstands(&gate, |stream| {
        stream.write_all(&preface()).unwrap();
        let mut block = h2_frames::get("/echo");
        // `:method: POST` in the static table of RFC 7541.
        block[0] = 0x83;
        let mut id = 1;
        // Each stream is answered before it is reset, so that it counts as served and cancelled.
        let ended = (0..200).any(|_| {
            let (mut open, mut reset) = (Vec::new(), Vec::new());
            for _ in 0..200 {
                put(&mut open, HEADERS, END_HEADERS, id, &block);
                put(&mut reset, RST_STREAM, 0, id, &8_u32.to_be_bytes());
                id += 2;
            }
            let answered = stream.write_all(&open).is_ok()
                && (0..200).all(|_| read_until(stream, HEADERS).is_ok())
                && stream.write_all(&reset).is_ok();
            !answered
        });
        assert!(ended, "40,000 streams were opened and reset");
    });
    ended_because(&gate.sidecar, "too_many_resets", 1.0);
}

#[test]
fn a_caller_that_takes_many_requests_back_at_once_keeps_its_connection() {
    let gate = Gate::with("", "");
    withstands(&gate, |stream| {
        stream.write_all(&preface()).unwrap();
        // As a sidecar does whose own client went away with all that it had asked for.
        let mut burst = Vec::new();
        for id in (1..400).step_by(2) {
            put(&mut burst, HEADERS, END_STREAM | END_HEADERS, id, &h2_frames::get("/"));
            put(&mut burst, RST_STREAM, 0, id, &8_u32.to_be_bytes());
        }
        put(&mut burst, HEADERS, END_STREAM | END_HEADERS, 401, &h2_frames::get("/"));
        stream.write_all(&burst).unwrap();
        while read_until(stream, HEADERS).unwrap().stream != 401 {}
    });
}

#[test]
fn floods_of_pings_and_settings_leave_memory_bounded() {
    for (kind, payload) in [(PING, &[7; 8][..]), (SETTINGS, &[0, 4, 0, 1, 0, 0][..])] {
        let gate = Gate::with("", "");
        withstands(&gate, |stream| {
            stream.write_all(&preface()).unwrap();
            let mut burst = Vec::new();
            for _ in 0..1000 {
                put(&mut burst, kind, 0, 0, payload);
            }
            // The answers are never read, so that at some point the other end takes no more.
            let ended = (0..200).any(|_| stream.write_all(&burst).is_err());
            let _ = ended;
        });
    }
}

#[test]
fn a_flood_of_half_open_handshakes_leaves_connected_peers_served() {
    let gate = Gate::with("", "[limits]\nmax_handshakes = 32\n[timeouts]\nhandshake = \"1s\"\n");
    let mut peer = KeptAlive::new(gate.http1(&gate.caller));
    assert_eq!(peer.get("/").unwrap().status, 200);
    let flood: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut socket = TcpStream::connect(gate.address()).unwrap();
            socket.write_all(&[0x16, 3, 1, 1, 0, 1]).unwrap();
            socket
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(peer.get("/").unwrap().status, 200);
    }
    drop(flood);
    assert_eq!(KeptAlive::new(gate.http1(&gate.caller)).get("/").unwrap().status, 200);
    // Each is told of in the metrics, but the log is not flooded.
    let told = gate.sidecar.events().iter().filter(|event| event["message"] == "peer refused").count();
    assert!(told <= 60, "{told} lines");
}

#[test]
fn a_flood_of_refusals_is_summed_up_in_the_log() {
    let gate = Gate::with("", "");
    for _ in 0..200 {
        let mut socket = TcpStream::connect(gate.address()).unwrap();
        socket.write_all(b"\0not tls").unwrap();
        wait_for_end(&mut socket);
    }
    gate.sidecar.wait_for_metric("mantlet_tls_handshakes_total", &HashMap::from([("reason", "not_tls")]), 200.0);
    let told = gate.sidecar.events().iter().filter(|event| event["message"] == "peer refused").count();
    assert!((1..=100).contains(&told), "{told} lines");
    assert!(gate.sidecar.status()["refusals"].as_array().unwrap().len() <= 64);
}

#[test]
fn beyond_max_connections_others_wait_and_are_served_when_there_is_room() {
    let gate = Gate::with("", "[limits]\nmax_connections = 3\n");
    let mut held: Vec<_> = (0..3).map(|_| KeptAlive::new(gate.http1(&gate.caller))).collect();
    for kept in &mut held {
        assert_eq!(kept.get("/").unwrap().status, 200);
    }
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| KeptAlive::new(gate.http1(&gate.caller)).get("/").unwrap().status);
        for kept in &mut held {
            assert_eq!(kept.get("/").unwrap().status, 200);
        }
        assert!(!waiting.is_finished());
        assert!(
            (gate.sidecar.metric("mantlet_open_connections", &HashMap::from([("listener", "ads")])) - 3.0).abs()
                < f64::EPSILON
        );
        drop(held.pop());
        assert_eq!(waiting.join().unwrap(), 200);
    });
}

#[test]
fn many_idle_connections_cost_little_and_leave_others_served() {
    const COUNT: u32 = 300;
    let gate = Gate::with("", "");
    let before = gate.sidecar.resident_kib();
    let held: Vec<_> = (0..COUNT).map(|_| gate.http1(&gate.caller)).collect();
    assert_eq!(KeptAlive::new(gate.http1(&gate.caller)).get("/").unwrap().status, 200);
    gate.sidecar
        .wait_for_status("all connections", |status| status["connections_total"].as_u64() >= Some(u64::from(COUNT)));
    let each = gate.sidecar.resident_kib().saturating_sub(before) / u64::from(COUNT);
    assert!(each < 100, "{each} KiB for each idle connection");
    drop(held);
    gate.sidecar.wait_for_status("no connection", |status| status["connections_total"] == 0);
}

#[test]
fn no_more_streams_than_allowed_are_served_at_a_time() {
    let gate = Gate::with("", "[limits]\nmax_streams = 5\n");
    let mut stream = gate.open(&gate.caller, HTTP2);
    let mut buffer = preface();
    for id in 0..10 {
        put(&mut buffer, HEADERS, END_HEADERS, 1 + 2 * id, &h2_frames::get("/echo"));
    }
    stream.write_all(&buffer).unwrap();
    let refused = read_until(&mut stream, RST_STREAM).unwrap();
    assert_eq!(refused.payload, 7_u32.to_be_bytes(), "REFUSED_STREAM");
    let status = gate.sidecar.status();
    let in_flight = status["connections"][0]["in_flight"].as_u64();
    assert!(in_flight <= Some(5), "{status}");
}

#[test]
fn an_answered_ping_keeps_nobody_from_idling() {
    let gate = Gate::with("", "[timeouts]\nidle = \"300ms\"\ndrain = \"1s\"\n");
    let mut stream = gate.open(&gate.caller, HTTP2);
    stream.write_all(&preface()).unwrap();
    let mut ping = Vec::new();
    put(&mut ping, PING, 0, 0, &[1; 8]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        if stream.write_all(&ping).is_err() {
            break;
        }
        match h2_frames::read(&mut stream) {
            Ok(frame) if frame.kind == GOAWAY => break,
            Ok(frame) => assert!(frame.kind != DATA || frame.flags & ACK == 0),
            Err(_) => break,
        }
        assert!(Instant::now() < deadline, "pings keep the connection alive");
    }
    assert_eq!(gate.sidecar.events().iter().filter(|event| event["level"] == "ERROR").count(), 0);
}
