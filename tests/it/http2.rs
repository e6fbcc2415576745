//! HTTP/2 of callers: what it may not say, and how it is written as HTTP/1.1.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use crate::support::exchange::KeptAlive;
use crate::support::frames::{BAD_REQUEST, End, Frames, OK};
use crate::support::gate::NAME;
use crate::support::h2_frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, SETTINGS, begin_with_get, get, literal,
    preface, put, read, read_until,
};
use crate::support::h2_service;
use crate::support::mesh::{Mesh, inbound};
use crate::support::pki::{Issued, Pki};
use crate::support::raw_service::{RawRequest, RawService};
use crate::support::sidecar::{PATIENCE, Sidecar};
use crate::support::tls_client::{HTTP1, HTTP2, TlsClient, client_config, connect};

fn mesh() -> Mesh<RawService> {
    let service = RawService::start();
    let address = service.address;
    Mesh::around(service, address, "", "", "")
}

/// Asks on both sides; the path tells which.
fn ask_both(mesh: &Mesh<RawService>, name: &str, fields: &[(&str, &str)], body: Option<&str>) -> [(String, End); 2] {
    ["outbound", "inbound"].map(|side| {
        let path = format!("/{side}/{name}");
        let fields: Vec<(&str, String)> =
            fields.iter().map(|(name, value)| (*name, value.replace("/PATH", &path))).collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let end = if side == "outbound" {
            let stream = TcpStream::connect(mesh.entry()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Frames::open(stream).ask(&fields, body)
        } else {
            let config = client_config(&mesh.pki, Some(&mesh.caller), HTTP2);
            Frames::open(connect(mesh.tls(), "adservice", config).unwrap()).ask(&fields, body)
        };
        (path, end)
    })
}

const METHOD: (&str, &str) = (":method", "POST");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "ads");
const PATH: (&str, &str) = (":path", "/PATH");

#[test]
fn a_request_of_http2_is_written_in_plain_http1() {
    let mesh = mesh();
    let fields = [METHOD, SCHEME, AUTHORITY, PATH, ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")];
    for (path, end) in ask_both(&mesh, "plain", &fields, Some("hello")) {
        assert_eq!(end, End::Headers(OK));
        let request = mesh.service.wait_for(&path);
        assert_eq!((request.defect(), request.body.as_slice()), (None, &b"hello"[..]), "{}", request.head);
        assert_eq!(
            (request.header("host"), request.header("cookie")),
            (vec!["ads"], vec!["a=1; b=2"]),
            "{}",
            request.head
        );
    }
}

#[test]
fn what_http2_forbids_never_reaches_the_service() {
    let mesh = mesh();
    let base = [METHOD, SCHEME, AUTHORITY, PATH];
    let with = |field: (&'static str, &'static str)| {
        let mut fields = base.to_vec();
        fields.push(field);
        fields
    };
    let smuggled = "x\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: ads\r\n\r\n";
    let attacks: Vec<(Vec<(&str, &str)>, Option<&str>)> = vec![
        (with(("connection", "x-hop")), None),
        (with(("transfer-encoding", "chunked")), Some("0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")),
        (with(("keep-alive", "5")), None),
        (with(("upgrade", "websocket")), None),
        (with(("proxy-connection", "close")), None),
        (with(("te", "gzip")), None),
        (with(("X-Upper", "a")), None),
        (with(("x-value", smuggled)), None),
        (with(("x-value", "a\nb: c")), None),
        (with(("x-value", "a\0b")), None),
        (with(("x-name: a\r\nx-b", "c")), None),
        (with(("x name", "c")), None),
        (with(("content-length", "3")), Some("hello")),
        (with(("content-length", "9")), Some("hello")),
        (with(("content-length", "+5")), Some("hello")),
        (with(("host", "users")), None),
        (with((":path", "/smuggled")), None),
        (with((":unknown", "x")), None),
        (vec![METHOD, SCHEME, AUTHORITY], None),
        (vec![METHOD, SCHEME, AUTHORITY, (":path", "")], None),
        (vec![METHOD, SCHEME, AUTHORITY, (":path", "PATH")], None),
        (vec![METHOD, SCHEME, AUTHORITY, (":path", "/PATH HTTP/1.1\r\nx: y")], None),
        (vec![METHOD, SCHEME, AUTHORITY, (":path", "/PATH /smuggled")], None),
        (vec![METHOD, SCHEME, (":authority", "user@ads"), PATH], None),
        (vec![METHOD, SCHEME, (":authority", "ads\r\nx: y"), PATH], None),
        (vec![METHOD, SCHEME, (":authority", "ads/smuggled"), PATH], None),
        (vec![(":method", "GET /smuggled HTTP/1.1\r\n"), SCHEME, AUTHORITY, PATH], None),
        (vec![(":method", "CONNECT"), (":authority", "ads:80")], None),
        (vec![SCHEME, AUTHORITY, PATH], None),
    ];
    let mut wrong = Vec::new();
    for (number, (fields, body)) in attacks.iter().enumerate() {
        for (path, end) in ask_both(&mesh, &number.to_string(), fields, *body) {
            let whole = mesh.service.requests().iter().any(|request| request.path().starts_with(&path));
            if whole || end == End::Headers(OK) {
                wrong.push(format!("{path} {fields:?} {end:?} {:?}", mesh.service.requests().last()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let requests = mesh.service.requests();
    assert!(requests.iter().all(|request| request.defect().is_none()), "{requests:?}");
    assert!(requests.iter().all(|request| !request.path().contains("smuggled")), "{requests:?}");
}

#[test]
fn each_request_of_one_connection_is_judged_by_itself() {
    let mesh = mesh();
    let config = client_config(&mesh.pki, Some(&mesh.caller), HTTP2);
    let mut connection = Frames::open(connect(mesh.tls(), "adservice", config).unwrap());
    for (path, host, expected) in [("/1", "ads", OK), ("/2", "users", BAD_REQUEST), ("/3", "ads", OK)] {
        let fields = [METHOD, SCHEME, AUTHORITY, (":path", path), ("host", host)];
        assert_eq!(connection.ask(&fields, None), End::Headers(expected), "{path}");
    }
    let requests = mesh.service.requests();
    assert_eq!(requests.iter().map(RawRequest::path).collect::<Vec<_>>(), ["/1", "/3"]);
}

// What a service and a caller of HTTP/2 break off

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

/// `grpc-status: 0`, as a trailer.
fn trailer() -> Vec<u8> {
    literal(b"grpc-status", b"0")
}

fn post(path: &str) -> Vec<u8> {
    let mut block = get(path);
    // `:method: POST` in the static table of RFC 7541.
    block[0] = 0x83;
    block
}

/// A sidecar before a service of frames, and the caller it allows.
struct Before {
    pki: Pki,
    caller: Issued,
    sidecar: Sidecar,
}

impl Before {
    fn service(address: SocketAddr) -> Self {
        let pki = Pki::new();
        let (own, caller) = (pki.issue(NAME), pki.issue("gateway"));
        let text = inbound(&pki, &own, address, &[&caller.spiffe], "app_protocol = \"http2\"", "");
        let sidecar = Sidecar::start(&text.replace("workers = 2", "workers = 1"));
        Self { pki, caller, sidecar }
    }

    fn open(&self, alpn: &[&[u8]]) -> TlsClient {
        connect(self.sidecar.address("ads"), NAME, client_config(&self.pki, Some(&self.caller), alpn)).unwrap()
    }

    /// Begins a connection of HTTP/2 with these frames.
    fn say(&self, frames: impl FnOnce(&mut Vec<u8>)) -> TlsClient {
        let mut stream = self.open(HTTP2);
        let mut bytes = preface();
        frames(&mut bytes);
        stream.write_all(&bytes).unwrap();
        stream.flush().unwrap();
        stream
    }
}

/// The frame that ends the answer on stream 1: its last one or its reset.
fn end_of_answer(stream: &mut impl Read) -> Frame {
    loop {
        let frame = read(stream).expect("the stream ends before the connection does");
        let is_end = frame.kind == RST_STREAM || matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
        if frame.stream == 1 && is_end {
            return frame;
        }
    }
}

#[test]
fn an_answer_that_is_reset_in_its_middle_never_looks_whole_whatever_the_reason() {
    for reason in [NO_ERROR, CANCEL, INTERNAL_ERROR] {
        let before = Before::service(h2_service::serve(100, move |frame, said| {
            if frame.kind == HEADERS {
                put(said, HEADERS, END_HEADERS, frame.stream, &[OK]);
                put(said, DATA, 0, frame.stream, b"half");
                put(said, RST_STREAM, 0, frame.stream, &reason.to_be_bytes());
            }
            true
        }));
        let mut caller = before.say(|bytes| put(bytes, HEADERS, END_STREAM | END_HEADERS, 1, &get("/")));
        let end = end_of_answer(&mut caller);
        // To some clients NO_ERROR says that an answer is complete.
        assert!(end.kind == RST_STREAM && end.payload != NO_ERROR.to_be_bytes(), "{reason}: {end:x?}");
        let mut kept = KeptAlive::new(before.open(HTTP1));
        let answer = kept.get("/");
        assert!(answer.as_ref().is_err_and(|error| !error.to_string().is_empty()), "{reason}: {answer:?}");
    }
}

#[test]
fn an_answer_is_whole_though_its_stream_is_reset_after_its_end() {
    for with_trailers in [false, true] {
        let before = Before::service(h2_service::serve(100, move |frame, said| {
            if frame.kind == HEADERS {
                put(said, HEADERS, END_HEADERS, frame.stream, &[OK]);
                put(said, DATA, if with_trailers { 0 } else { END_STREAM }, frame.stream, b"enough");
                if with_trailers {
                    put(said, HEADERS, END_HEADERS | END_STREAM, frame.stream, &trailer());
                }
                put(said, RST_STREAM, 0, frame.stream, &NO_ERROR.to_be_bytes());
            }
            true
        }));
        let mut caller = before.say(|bytes| {
            put(bytes, HEADERS, END_HEADERS, 1, &post("/"));
            put(bytes, DATA, 0, 1, b"more to come");
        });
        let end = end_of_answer(&mut caller);
        assert_eq!(end.kind, if with_trailers { HEADERS } else { DATA }, "{end:x?}");
    }
}

/// A service that tells of each frame and answers only GET.
fn listening() -> (SocketAddr, Receiver<(u8, u8, Vec<u8>)>) {
    let (tell, told) = channel();
    let address = h2_service::serve(100, move |frame, said| {
        if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
            put(said, HEADERS, END_HEADERS | END_STREAM, frame.stream, &[OK]);
        }
        tell.send((frame.kind, frame.flags, frame.payload.clone())).is_ok()
    });
    (address, told)
}

#[test]
fn a_request_that_is_reset_in_its_middle_never_looks_whole_whatever_the_reason() {
    for reason in [NO_ERROR, CANCEL, INTERNAL_ERROR] {
        let (address, told) = listening();
        let before = Before::service(address);
        let mut caller = before.say(|bytes| {
            put(bytes, HEADERS, END_HEADERS, 1, &post("/"));
            put(bytes, DATA, 0, 1, b"half");
        });
        while told.recv_timeout(PATIENCE).unwrap().0 != DATA {}
        let mut reset = Vec::new();
        put(&mut reset, RST_STREAM, 0, 1, &reason.to_be_bytes());
        caller.write_all(&reset).unwrap();
        loop {
            let (kind, flags, payload) = told.recv_timeout(PATIENCE).expect("a reset");
            assert!(kind != DATA || flags & END_STREAM == 0, "{reason}: the body has ended");
            if kind == RST_STREAM {
                assert_ne!(payload, NO_ERROR.to_be_bytes(), "{reason}");
                break;
            }
        }
    }
}

#[test]
fn a_post_that_a_service_may_have_begun_is_not_sent_again_when_it_goes_away() {
    let (tell, told) = channel();
    let before = Before::service(h2_service::serve(100, move |frame, said| {
        if frame.kind != HEADERS {
            return true;
        }
        if frame.stream == 1 {
            put(said, HEADERS, END_HEADERS | END_STREAM, 1, &[OK]);
            return tell.send(()).is_ok();
        }
        // It goes away with NO_ERROR, having seen this stream, and without an answer.
        let mut last = frame.stream.to_be_bytes().to_vec();
        last.extend(NO_ERROR.to_be_bytes());
        put(said, GOAWAY, 0, 0, &last);
        tell.send(()).unwrap();
        false
    }));
    let mut caller = before.say(|bytes| put(bytes, HEADERS, END_STREAM | END_HEADERS, 1, &get("/")));
    assert_eq!(end_of_answer(&mut caller).kind, HEADERS);
    let mut more = Vec::new();
    put(&mut more, HEADERS, END_STREAM | END_HEADERS, 3, &post("/"));
    caller.write_all(&more).unwrap();
    let answer = loop {
        let frame = read(&mut caller).unwrap();
        if frame.kind == HEADERS {
            break frame;
        }
    };
    assert_ne!(answer.payload[0], OK, "{answer:x?}");
    assert_eq!(told.try_iter().count(), 2, "the POST was sent again");
}

#[test]
fn small_pieces_that_wait_for_a_slow_service_do_not_end_the_connection_of_their_caller() {
    // It never gives a stream more room than each has at first.
    let before = Before::service(h2_service::serve(100, |frame, said| {
        if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
            put(said, HEADERS, END_HEADERS | END_STREAM, frame.stream, &[OK]);
        }
        true
    }));
    let mut caller = before.say(|bytes| put(bytes, HEADERS, END_HEADERS, 1, &post("/slow")));
    while read(&mut caller).unwrap().kind != SETTINGS {}
    // Its settings hold from here on, and with them the room for all that follows.
    let mut bytes = Vec::new();
    put(&mut bytes, SETTINGS, ACK, 0, &[]);
    for _ in 0..10_000 {
        put(&mut bytes, DATA, 0, 1, b"a message of a stream");
    }
    put(&mut bytes, HEADERS, END_STREAM | END_HEADERS, 3, &get("/"));
    caller.write_all(&bytes).unwrap();
    loop {
        let frame = read(&mut caller).expect("an answer");
        assert!(!matches!(frame.kind, GOAWAY | RST_STREAM), "{frame:x?}");
        if frame.kind == HEADERS && frame.stream == 3 {
            break;
        }
    }
}

#[test]
fn uploads_that_stall_after_their_answers_take_no_place_from_others() {
    const PLACES: u32 = 10;
    // It answers at once, and waits for the rest of the body for ever.
    let before = Before::service(h2_service::serve(PLACES, |frame, said| {
        if frame.kind == HEADERS {
            put(said, HEADERS, END_HEADERS | END_STREAM, frame.stream, &[OK]);
        }
        true
    }));
    let mut hostile = before.say(|bytes| {
        for stream in 0..2 * PLACES {
            put(bytes, HEADERS, END_HEADERS, 1 + 2 * stream, &post("/"));
            put(bytes, DATA, 0, 1 + 2 * stream, b"ten bytes.");
        }
    });
    let mut answers = 0;
    while answers < 2 * PLACES {
        answers += u32::from(read(&mut hostile).unwrap().kind == HEADERS);
    }
    for _ in 0..2 * PLACES {
        assert_eq!(KeptAlive::new(before.open(HTTP1)).get("/victim").expect("an answer in time").status, 200);
    }
    drop(hostile);
    before.sidecar.wait_for_status("nothing in flight", |status| {
        status["connections"].as_array().unwrap().iter().all(|connection| connection["in_flight"] == 0)
    });
}

#[test]
fn a_local_caller_may_begin_http2_byte_by_byte() {
    let mesh = mesh();
    let mut bytes = Vec::new();
    begin_with_get(&mut bytes, "/slowly");
    let mut stream = TcpStream::connect(mesh.entry()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for byte in bytes {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(read_until(&mut stream, HEADERS).unwrap().payload[0], OK);
}
