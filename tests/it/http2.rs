//! HTTP/2 of callers: what it may not say, and how it is written as HTTP/1.1.

use std::net::TcpStream;

use crate::support::frames::{BAD_REQUEST, End, Frames, OK};
use crate::support::mesh::Mesh;
use crate::support::raw_service::{RawRequest, RawService};
use crate::support::sidecar::PATIENCE;
use crate::support::tls_client::{HTTP2, client_config, connect};

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
