//! What hostile peers, services and files try, beyond what the other topics send.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::door::Door;
use crate::support::exchange::KeptAlive;
use crate::support::gate::{Gate, NAME};
use crate::support::h2_frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, get, literal, preface, put, read, read_until,
};
use crate::support::mesh::{inbound, outbound};
use crate::support::pki::Pki;
use crate::support::raw_service::{RawRequest, RawService, Then, ok};
use crate::support::sidecar::{PATIENCE, Sidecar};
use crate::support::tls_client::{HTTP1, HTTP2, TlsClient, client_config, connect};

// What one caller does to another

/// A service that answers each request once its header section is there, and reads on in the meantime.
fn eager_service() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(count) = stream.read(&mut buffer)
                    && count > 0
                {
                    seen.extend_from_slice(&buffer[..count]);
                    while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                        seen.drain(..end + 4);
                        let _ = stream.write_all(&ok("early"));
                    }
                }
            });
        }
    });
    address
}

#[test]
fn an_upload_that_stalls_after_its_answer_does_not_stall_the_next_caller() {
    let pki = Pki::new();
    let (own, caller) = (pki.issue(NAME), pki.issue("gateway"));
    let text = inbound(&pki, &own, eager_service(), &[&caller.spiffe], "", "").replace("workers = 2", "workers = 1");
    let sidecar = Sidecar::start(&text);
    let open = || connect(sidecar.address("ads"), NAME, client_config(&pki, Some(&caller), HTTP1)).unwrap();
    let mut hostile = KeptAlive::new(open());
    hostile.send("POST /upload HTTP/1.1\r\nHost: ads\r\nContent-Length: 1000\r\n\r\nten bytes.").unwrap();
    assert_eq!(hostile.answer().unwrap().status, 200);
    let stream = open();
    stream.sock.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let answer = KeptAlive::new(stream).get("/victim");
    assert_eq!(answer.expect("an answer in time").status, 200);
}

#[test]
fn what_a_service_sends_beyond_its_answer_never_answers_another_request() {
    for surplus in ["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged", "x", "\r\n"] {
        let service = RawService::answering(move |request| {
            let mut answer = ok("true");
            if request.path() == "/first" {
                answer.extend_from_slice(surplus.as_bytes());
            }
            Then::Answer(answer)
        });
        let door = Door::before(service);
        for _ in 0..10 {
            let first = KeptAlive::new(door.open(HTTP1)).get("/first").unwrap();
            assert_eq!(first.body, "true");
            let next = KeptAlive::new(door.open(HTTP1)).get("/next").unwrap();
            assert_eq!((next.status, &*next.body), (200, "true"), "{surplus:?}");
        }
    }
}

#[test]
fn an_answer_with_no_body_by_rule_is_not_followed_by_one_for_another() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n"),
    ] {
        let service = RawService::answering(move |request| match request.path() {
            "/first" => Then::Answer(format!("{head}forged").into_bytes()),
            _ => Then::Answer(ok("true")),
        });
        let door = Door::before(service);
        let mut kept = KeptAlive::new(door.open(HTTP1));
        kept.send(&format!("{method} /first HTTP/1.1\r\nHost: ads\r\n\r\n")).unwrap();
        let first = kept.head().unwrap();
        assert!(!first.contains("forged"), "{first}");
        let next = KeptAlive::new(door.open(HTTP1)).get("/next").unwrap();
        assert_eq!((next.status, &*next.body), (200, "true"), "{method} {head}");
    }
}

// Targets and names over HTTP/2

/// The header block of a request with these pseudo-header fields and fields.
fn block(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = literal(b":method", method.as_bytes());
    block.push(0x87);
    block.extend(literal(b":path", path.as_bytes()));
    block.extend(literal(b":authority", b"adservice"));
    for (name, value) in fields {
        block.extend(literal(name.as_bytes(), value.as_bytes()));
    }
    block
}

/// Sends a header block and a body on a connection of its own, and waits for the answer or the reset.
fn ask_in_http2(door: &Door, block: &[u8], body: Option<&[u8]>) -> u8 {
    let mut stream = door.open(HTTP2);
    let mut bytes = preface();
    put(&mut bytes, HEADERS, END_HEADERS | if body.is_none() { END_STREAM } else { 0 }, 1, block);
    if let Some(body) = body {
        put(&mut bytes, DATA, END_STREAM, 1, body);
    }
    stream.write_all(&bytes).unwrap();
    stream.flush().unwrap();
    loop {
        match read(&mut stream) {
            Ok(frame) if matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY) => return frame.kind,
            Ok(_) => {}
            Err(_) => return GOAWAY,
        }
    }
}

#[test]
fn a_path_of_http2_never_becomes_another_form_of_target() {
    let door = Door::before(RawService::start());
    for path in [
        "http://users/admin",
        "users:80",
        "@users/admin",
        "admin",
        "?admin",
        "*",
        ":80/admin",
        "\\\\users\\admin",
        "a b",
        "/a b",
        "/\u{9b}",
    ] {
        ask_in_http2(&door, &block("GET", path, &[]), None);
    }
    ask_in_http2(&door, &block("OPTIONS", "*", &[]), None);
    ask_in_http2(&door, &block("GET", "/plain", &[]), None);
    let requests = door.service.requests();
    let odd: Vec<&str> = requests.iter().map(RawRequest::path).filter(|path| !path.starts_with('/')).collect();
    assert_eq!(odd, ["*"], "{requests:?}");
    assert!(requests.iter().all(|request| request.path() != "*" || request.method() == "OPTIONS"));
    assert!(requests.iter().any(|request| request.path() == "/plain"));
}

#[test]
fn lengths_of_http2_that_lie_leave_nothing_for_the_next_request() {
    let door = Door::before(RawService::start());
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: ads\r\n\r\n";
    let cases: [(&[(&str, &str)], Option<&[u8]>); 7] = [
        (&[("content-length", "5")], None),
        (&[("content-length", "0")], Some(smuggled)),
        (&[("content-length", "3")], Some(smuggled)),
        (&[("content-length", "300")], Some(smuggled)),
        (&[("content-length", "5"), ("content-length", "6")], Some(b"hello")),
        (&[("transfer-encoding", "chunked")], Some(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: ads\r\n\r\n")),
        (&[("x", "y\r\ncontent-length: 0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: ads")], Some(b"")),
    ];
    for method in ["POST", "GET", "HEAD"] {
        for (fields, body) in cases {
            ask_in_http2(&door, &block(method, "/attack", fields), body);
            let mut kept = KeptAlive::new(door.open(HTTP1));
            assert_eq!(kept.get("/next").unwrap().status, 200);
        }
    }
    let requests = door.service.requests();
    assert!(requests.iter().all(|request| request.path() != "/smuggled"), "{requests:?}");
    assert!(requests.iter().all(|request| request.defect().is_none()), "{requests:?}");
}

#[test]
fn a_body_of_unknown_length_is_not_lost_whatever_the_method() {
    let door = Door::before(RawService::start());
    for method in ["GET", "HEAD", "DELETE", "POST"] {
        let path = format!("/{method}");
        ask_in_http2(&door, &block(method, &path, &[]), Some(b"hello"));
        assert_eq!(door.service.wait_for(&path).body, b"hello", "{method}");
    }
}

#[test]
fn an_identity_header_is_removed_whatever_separates_its_words() {
    let door = Door::before(RawService::start());
    let names = [
        "x.mantlet.peer",
        "x-mantlet.peer",
        "x~mantlet~peer",
        "x!mantlet!peer",
        "x_mantlet-peer",
        "x|mantlet|peer",
        "client.cert",
        "client.cert.chain",
        "x.forwarded.client.cert",
        "x+mantlet+peer",
    ];
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (*name, "spiffe://fleamarket.internal/admin")).collect();
    ask_in_http2(&door, &block("GET", "/names", &fields), None);
    let request = door.service.wait_for("/names");
    assert!(!request.head.contains("admin"), "{}", request.head);
    assert_eq!(request.header("x-mantlet-peer"), [&*door.caller.spiffe]);
}

// Withdrawn trust

#[test]
fn a_revoked_caller_that_hears_the_farewell_gets_nothing_more_served() {
    let gate = Gate::with("", "[revocation]\nsources = [CRL]\n");
    let mut stream = gate.open(&gate.caller, HTTP2);
    let mut bytes = preface();
    put(&mut bytes, HEADERS, END_STREAM | END_HEADERS, 1, &get("/"));
    stream.write_all(&bytes).unwrap();
    stream.flush().unwrap();
    read_until(&mut stream, HEADERS).unwrap();
    gate.pki.revoke(&[&gate.caller]);
    read_until(&mut stream, GOAWAY).expect("a farewell");
    let mut more = Vec::new();
    put(&mut more, HEADERS, END_STREAM | END_HEADERS, 3, &get("/after"));
    let _ = stream.write_all(&more).and_then(|()| stream.flush());
    while let Ok(frame) = read(&mut stream) {
        assert!(frame.kind != HEADERS || frame.stream != 3, "answered after it was cut: {frame:x?}");
    }
}

fn revoke(gate: &Gate) {
    let seen = gate.sidecar.events().len();
    gate.pki.revoke(&[&gate.caller]);
    gate.sidecar.wait_from(seen, "reload", |event| event["message"] == "reloaded");
}

#[test]
fn a_handshake_that_began_before_the_revocation_gets_no_request_served() {
    let gate = Gate::with("", "[revocation]\nsources = [CRL]\n[timeouts]\nrequest_header = \"1h\"\ndrain = \"1h\"\n");
    let (mut socket, mut connection, last) = gate.handshake_but_the_last_bytes();
    revoke(&gate);
    socket.write_all(&last).unwrap();
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: ads\r\n\r\n").and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_second_reload_with_shorter_timeouts_does_not_let_an_old_handshake_off() {
    let tables = "[revocation]\nsources = [CRL]\n[timeouts]\nhandshake = \"1m\"\n";
    let gate = Gate::with("", tables);
    let (mut socket, mut connection, last) = gate.handshake_but_the_last_bytes();
    revoke(&gate);
    let text = std::fs::read_to_string(&gate.sidecar.config).unwrap();
    let short = text.replace("handshake = \"1m\"", "handshake = \"1ms\"");
    gate.sidecar.reconfigure(&short);
    gate.sidecar.reconfigure(&format!("{short}\n"));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1600) {
        gate.sidecar.status();
    }
    socket.write_all(&last).unwrap();
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    stream.sock.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let end = stream.read(&mut [0; 64]);
    assert!(!matches!(&end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "it stays: {end:?}");
}

// Places and time

#[test]
fn idle_sockets_that_wait_for_a_handshake_are_gone_when_one_handshake_would_have_timed_out() {
    let tables = "[limits]\nmax_handshakes = 1\n[timeouts]\nhandshake = \"300ms\"\n";
    let gate = Gate::with("", tables);
    let began = Instant::now();
    let idle: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(gate.address()).unwrap()).collect();
    for mut stream in idle {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
}

#[test]
fn requests_to_a_peer_that_never_finishes_a_handshake_do_not_wait_for_one_another() {
    let (pki, silent) = (Pki::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let caller = pki.issue("gateway");
    let timeouts = "[timeouts]\nhandshake = \"200ms\"\nconnect = \"200ms\"\n";
    let text = outbound(&pki, &caller, silent.local_addr().unwrap(), "spiffe://fleamarket.internal/ads", "", timeouts);
    let sidecar = Sidecar::start(&text.replace("workers = 2", "workers = 1"));
    let began = Instant::now();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let address = sidecar.address("ads");
            std::thread::spawn(move || KeptAlive::new(TcpStream::connect(address).unwrap()).get("/").unwrap().status)
        })
        .collect();
    let answers: Vec<u16> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(answers.iter().all(|status| *status == 504), "{answers:?}");
    assert!(began.elapsed() < Duration::from_millis(1500), "it took {:?}", began.elapsed());
}

// Records of TLS

/// Nothing panicked, and others are served.
fn stands(gate: &Gate, after: &str) {
    let answer = KeptAlive::new(gate.http1(&gate.caller)).get("/").expect(after);
    assert_eq!(answer.status, 200, "{after}");
    let text = gate.sidecar.text();
    assert!(!text.contains("panicked"), "{after}: {text}");
}

#[test]
fn a_caller_whose_bytes_come_one_by_one_is_served() {
    let gate = Gate::with("", "");
    let mut stream = gate.http1(&gate.caller);
    stream.sock.set_nodelay(true).unwrap();
    for path in ["/", "/echo"] {
        stream.conn.writer().write_all(format!("GET {path} HTTP/1.1\r\nHost: ads\r\n\r\n").as_bytes()).unwrap();
        let mut records = Vec::new();
        stream.conn.write_tls(&mut records).unwrap();
        for byte in records {
            stream.sock.write_all(&[byte]).unwrap();
        }
        let head = KeptAlive::new(&mut stream).answer().unwrap().head;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
}

#[test]
fn what_is_no_record_of_the_session_ends_the_connection_and_nothing_else() {
    let gate = Gate::with("", "");
    let records: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\nHost: ads\r\n\r\n",
        // In plaintext: two alerts, an empty record, a handshake message, a change of cipher.
        &[21, 3, 3, 0, 2, 2, 40],
        &[21, 3, 3, 0, 2, 1, 0],
        &[23, 3, 3, 0, 0],
        &[22, 3, 3, 0, 4, 24, 0, 0, 1],
        &[20, 3, 3, 0, 1, 1, 20, 3, 3, 0, 1, 1],
        // Longer than any record, of an unknown kind, and one that does not open.
        &[23, 3, 3, 0xff, 0xff, 0, 0],
        &[99, 3, 3, 0, 1, 0],
        &[
            23, 3, 3, 0, 40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
            26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
        ],
    ];
    for alpn in [HTTP1, HTTP2] {
        for record in records {
            for is_busy in [false, true] {
                let mut stream = gate.open(&gate.caller, alpn);
                if is_busy && alpn == HTTP1 {
                    stream.write_all(b"POST /sink HTTP/1.1\r\nHost: ads\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
                } else if is_busy {
                    let mut bytes = preface();
                    put(&mut bytes, HEADERS, END_STREAM | END_HEADERS, 1, &get("/bytes/10000000"));
                    stream.write_all(&bytes).unwrap();
                    read_until(&mut stream, DATA).unwrap();
                }
                stream.sock.write_all(record).unwrap();
                stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
                let mut rest = Vec::new();
                let _ = stream.sock.read_to_end(&mut rest);
                stands(&gate, &format!("{record:?}"));
            }
        }
    }
    gate.sidecar.wait_for_status("nothing in flight", |status| {
        status["connections"].as_array().unwrap().iter().all(|connection| connection["in_flight"] == 0)
    });
}

#[test]
fn a_handshake_message_without_an_end_is_refused_within_bounds() {
    let gate = Gate::with("", "");
    for size in [1, 100, 1 << 14] {
        let mut socket = TcpStream::connect(gate.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // A ClientHello of 16 MiB in pieces.
        let mut sent = 0;
        let mut message = vec![1, 0xff, 0xff, 0xff];
        let ended = loop {
            message.resize(size.max(4), 0);
            let mut record = vec![22, 3, 1];
            record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
            record.extend_from_slice(&message);
            sent += record.len();
            if socket.write_all(&record).is_err() {
                break true;
            }
            if sent > 4 << 20 {
                break false;
            }
            message = vec![0; size];
        };
        assert!(ended || socket.read(&mut [0; 64]).is_ok(), "records of {size}");
        stands(&gate, &format!("records of {size}"));
    }
}

#[test]
fn keys_may_be_renewed_at_any_time_and_a_flood_of_renewals_harms_nobody() {
    let gate = Gate::with("", "");
    let mut kept = KeptAlive::new(gate.http1(&gate.caller));
    for round in 0..20 {
        for _ in 0..5 {
            kept.stream().conn.refresh_traffic_keys().unwrap();
        }
        let answer = kept.get("/bytes/100000").unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 100_000), "round {round}");
    }
    // In the middle of an answer that nobody reads, so that every renewal waits for its own answer.
    kept.send("GET /bytes/50000000 HTTP/1.1\r\nHost: ads\r\n\r\n").unwrap();
    kept.head().unwrap();
    for _ in 0..10_000 {
        let stream = kept.stream();
        stream.sock.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        if stream.conn.refresh_traffic_keys().is_err() || stream.conn.write_tls(&mut stream.sock).is_err() {
            break;
        }
    }
    stands(&gate, "a flood");
    assert!(gate.sidecar.peak_resident_kib() < 200 * 1024);
}

// Last words

#[test]
fn an_answer_that_closes_is_not_lost_to_what_was_pipelined_behind_its_request() {
    let gate = Gate::with("", "");
    for _ in 0..5 {
        let mut kept = KeptAlive::new(gate.http1(&gate.caller));
        kept.send("GET /bytes/100000 HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n").unwrap();
        // It is never answered, and more than any buffer on the way holds.
        let more =
            "POST /sink HTTP/1.1\r\nHost: ads\r\nContent-Length: 1000000\r\n\r\n".to_owned() + &"x".repeat(1_000_000);
        kept.send(&more).expect("whoever sends is not cut off");
        kept.stream().sock.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = kept.answer().unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 100_000));
        let (bytes, error) = kept.rest();
        assert!(bytes == 0 && error.is_none(), "{bytes} bytes, {error:?}");
    }
}

// Silence

#[test]
fn a_connection_that_never_speaks_is_ended_by_idleness_and_by_revocation_and_holds_up_no_end() {
    for alpn in [HTTP1, HTTP2] {
        let ends = |mut stream: TlsClient| {
            while let Ok(1..) | Err(_) = stream.sock.read(&mut [0; 64]).inspect_err(|error| {
                assert!(error.kind() == std::io::ErrorKind::ConnectionReset, "{error}");
            }) {}
        };
        let gate = Gate::with("", "[timeouts]\nidle = \"300ms\"\n");
        ends(gate.open(&gate.caller, alpn));
        let gate = Gate::with("", "[revocation]\nsources = [CRL]\n");
        let silent = gate.open(&gate.caller, alpn);
        revoke(&gate);
        ends(silent);
        let mut gate = Gate::with("", "[timeouts]\ndrain = \"1h\"\n");
        let silent = gate.open(&gate.caller, alpn);
        gate.sidecar.wait_for_status("a connection", |status| status["connections_total"] == 1);
        gate.sidecar.signal("TERM");
        assert_eq!(gate.sidecar.wait_for_exit().code(), Some(0));
        drop(silent);
    }
}

// Files

#[test]
fn a_pipe_in_place_of_a_crl_stops_nothing() {
    let gate = Gate::with("", "[revocation]\nsources = [CRL]\n");
    let crl = gate.pki.folder.path().join("ca.crl");
    let seen = gate.sidecar.events().len();
    std::fs::remove_file(&crl).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&crl).status().unwrap().success());
    let event = gate.sidecar.wait_from(seen, "refusal", |event| {
        event["error"].as_str().is_some_and(|error| error.contains("regular file"))
    });
    assert_eq!(event["level"], "WARN", "{event}");
    // The task that reads files also ends connections and takes up changes.
    std::fs::remove_file(&crl).unwrap();
    gate.pki.revoke(&[&gate.caller]);
    gate.sidecar.wait_from(seen, "reload", |event| event["message"] == "reloaded");
}
