//! Requests that two readers could read differently: each is refused, or reaches the service once and in plain form.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::mesh::Mesh;
use crate::support::raw_service::{RawRequest, RawService};
use crate::support::service::raw;
use crate::support::tls_client::{HTTP1, client_config, connect, talk};

/// What follows each attack on the connection, so that a request hidden in it would be answered in its place.
const PROBE: &str = "GET /probe HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n";

/// What an attack may lead to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    /// A 4xx or 501, and nothing at the service.
    Refused,
    /// One request with this body.
    Once(&'static str),
}
use Outcome::{Once, Refused};

fn mesh() -> Mesh<RawService> {
    let service = RawService::start();
    let address = service.address;
    Mesh::around(service, address, "", "", "")
}

/// Sends each attack to the outbound side and straight to the inbound side, and looks at what the service got.
fn assert_outcomes(attacks: &[(&str, Outcome)]) {
    let mesh = mesh();
    let mut wrong = Vec::new();
    for (number, (attack, expected)) in attacks.iter().enumerate() {
        for side in ["outbound", "inbound"] {
            let path = format!("/{side}/{number}");
            let bytes = format!("{}{PROBE}", attack.replace("/PATH", &path));
            let answer = if side == "outbound" {
                raw(mesh.entry(), bytes.as_bytes())
            } else {
                let config = client_config(&mesh.pki, Some(&mesh.caller), HTTP1);
                talk(connect(mesh.tls(), "adservice", config).unwrap(), bytes.as_bytes())
            };
            let found = outcome(&mesh.service, &path, &answer);
            let expected = match expected {
                Refused => Ok(None),
                Once(body) => Ok(Some((*body).to_owned())),
            };
            if found != expected {
                wrong.push(format!(
                    "{side} {attack:?}\n  expected {expected:?}, found {found:?} with the answer {answer:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(mesh.service.rubbish(), Vec::<String>::new());
}

/// The body of the one request that came of an attack, or nothing where it was refused.
fn outcome(service: &RawService, path: &str, answer: &str) -> Result<Option<String>, String> {
    let requests = service.requests();
    if let Some(defect) = requests.iter().find_map(|request| Some(format!("{}: {request:?}", request.defect()?))) {
        return Err(defect);
    }
    if requests.iter().any(|request| request.path().contains("smuggled")) {
        return Err("smuggled".into());
    }
    let refused = ["HTTP/1.1 4", "HTTP/1.0 4", "HTTP/1.1 501"].iter().any(|status| answer.starts_with(status));
    match &requests.iter().filter(|request| request.path() == path).collect::<Vec<_>>()[..] {
        [] if refused => Ok(None),
        [one] if answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200") => {
            Ok(Some(String::from_utf8_lossy(&one.body).into_owned()))
        }
        several => Err(format!("{} requests", several.len())),
    }
}

#[test]
fn conflicting_lengths_are_refused_or_settled_before_the_service() {
    assert_outcomes(&[
        ("POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", Refused),
        ("POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length: 5, 6\r\n\r\nhello", Refused),
        ("POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length: +5\r\n\r\nhello", Refused),
        ("POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length: -5\r\n\r\nhello", Refused),
        ("POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length: 0x5\r\n\r\nhello", Refused),
        ("POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length: 5 5\r\n\r\nhello", Refused),
        ("POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length:\r\n\r\n", Refused),
        ("POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length: 99999999999999999999\r\n\r\nhello", Refused),
        ("POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", Once("hello")),
        ("POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length: 05\r\n\r\nhello", Once("hello")),
        // The transfer coding wins and the length is not passed on (RFC 9112 section 6.3).
        (
            "POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Once("hello"),
        ),
        (
            "POST /PATH HTTP/1.1\r\nHost: ads\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Once("hello"),
        ),
        (
            "POST /PATH HTTP/1.1\r\nHost: ads\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Once(""),
        ),
    ]);
}

#[test]
fn transfer_codings_other_than_chunked_alone_are_refused() {
    let with = |lines: &str| format!("POST /PATH HTTP/1.1\r\nHost: ads\r\n{lines}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let lines = [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n\tTransfer-Encoding: chunked",
    ];
    let attacks: Vec<String> = lines.iter().map(|lines| with(lines)).collect();
    let mut expected: Vec<(&str, Outcome)> = attacks.iter().map(|attack| (attack.as_str(), Refused)).collect();
    let good = with("transfer-ENCODING: ChunKed");
    expected.push((&good, Once("hello")));
    let old = "POST /PATH HTTP/1.0\r\nHost: ads\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    expected.push((old, Refused));
    assert_outcomes(&expected);
}

#[test]
fn chunk_sizes_are_hexadecimal_digits_and_nothing_else() {
    const HEAD: &str = "POST /PATH HTTP/1.1\r\nHost: ads\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mesh = mesh();
    let broken = [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "0\r\nGET /smuggled HTTP/1.1\r\nHost: ads\r\n\r\n",
    ];
    for (number, body) in broken.iter().enumerate() {
        let path = format!("/broken/{number}");
        let answer = raw(mesh.entry(), format!("{}{body}{PROBE}", HEAD.replace("/PATH", &path)).as_bytes());
        assert!(!answer.contains(" 200 "), "{body:?}: {answer}");
        let complete: Vec<_> = mesh.service.requests();
        assert!(complete.iter().all(|request| request.path() != path), "{body:?}: {complete:?}");
    }
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a=b;".repeat(8 * 1024));
    let answer = raw(mesh.entry(), format!("{}{extension}{PROBE}", HEAD.replace("/PATH", "/extended")).as_bytes());
    assert!(!answer.contains(" 200 "), "{answer}");
    let good = "5;ext=\"v\"\r\nhello\r\n0\r\n\r\n";
    raw(mesh.entry(), format!("{}{good}{PROBE}", HEAD.replace("/PATH", "/good")).as_bytes());
    let request = mesh.service.wait_for("/good");
    assert_eq!((request.body.as_slice(), request.defect()), (&b"hello"[..], None));
    assert!(mesh.service.requests().iter().all(|request| request.path() != "/smuggled"));
}

#[test]
fn line_ends_and_folds_are_refused_or_written_anew() {
    assert_outcomes(&[
        ("GET /PATH HTTP/1.1\nHost: ads\n\n", Once("")),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\nX-A: b\nX-C: d\r\n\r\n", Once("")),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\nX-A: b\r\n c\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\nX-A: b\r\n\tc\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\n Host: ads\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost : ads\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost\t: ads\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\n: empty\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\nno colon\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\nX-A: b\rX-C: d\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\nX-A: b\0c\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\nX-A: b\x01c\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\nX-A: b\x7fc\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\nX\0A: b\r\n\r\n", Refused),
        ("\r\nGET /PATH HTTP/1.1\r\nHost: ads\r\n\r\n", Once("")),
    ]);
}

#[test]
fn request_lines_and_targets_are_plain_or_refused() {
    assert_outcomes(&[
        ("GET  /PATH HTTP/1.1\r\nHost: ads\r\n\r\n", Refused),
        ("GET /PATH  HTTP/1.1\r\nHost: ads\r\n\r\n", Refused),
        ("GET\t/PATH\tHTTP/1.1\r\nHost: ads\r\n\r\n", Refused),
        (" GET /PATH HTTP/1.1\r\nHost: ads\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.2\r\nHost: ads\r\n\r\n", Refused),
        ("GET /PATH HTTP/2.0\r\nHost: ads\r\n\r\n", Refused),
        ("GET /PATH http/1.1\r\nHost: ads\r\n\r\n", Refused),
        ("GET /PATH\r\nHost: ads\r\n\r\n", Refused),
        ("GET /PATH /smuggled HTTP/1.1\r\nHost: ads\r\n\r\n", Refused),
        ("GET /PATH\0 HTTP/1.1\r\nHost: ads\r\n\r\n", Refused),
        ("G(T /PATH HTTP/1.1\r\nHost: ads\r\n\r\n", Refused),
        ("CONNECT ads:80 HTTP/1.1\r\nHost: ads:80\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\nHost: ads\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: ads\r\nhost: users\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: a b\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: ads/smuggled\r\n\r\n", Refused),
        ("GET /PATH HTTP/1.1\r\nHost: user@ads\r\n\r\n", Refused),
        ("GET http://users/PATH HTTP/1.1\r\nHost: ads\r\n\r\n", Refused),
        ("GET http://user@ads/PATH HTTP/1.1\r\nHost: user@ads\r\n\r\n", Refused),
        ("GET PATH HTTP/1.1\r\nHost: ads\r\n\r\n", Refused),
        ("GET ads HTTP/1.1\r\nHost: ads\r\n\r\n", Refused),
        ("GET ads:80 HTTP/1.1\r\nHost: ads:80\r\n\r\n", Refused),
        ("GET http://ads/PATH HTTP/1.1\r\nHost: ads\r\n\r\n", Once("")),
        ("get /PATH HTTP/1.1\r\nHost: ads\r\n\r\n", Once("")),
        ("GET /PATH HTTP/1.0\r\n\r\n", Once("")),
    ]);
}

#[test]
fn a_fragment_never_reaches_the_service_and_a_double_slash_stays() {
    let mesh = mesh();
    let ask = |target: &str| {
        raw(mesh.entry(), format!("GET {target} HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n").as_bytes())
    };
    for target in ["/a#fragment", "//host/b", "/c?x=//y", "/d/../e", "/%2e%2e/f", "/g%00"] {
        ask(target);
    }
    let requests = mesh.service.requests();
    let paths: Vec<&str> = requests.iter().map(RawRequest::path).collect();
    assert_eq!(paths, ["/a", "//host/b", "/c?x=//y", "/d/../e", "/%2e%2e/f", "/g%00"]);
    assert!(
        requests.iter().all(|request| request.header("host") == ["ads"] && request.defect().is_none()),
        "{requests:?}"
    );
}

#[test]
fn a_refused_request_ends_what_was_pipelined_behind_it() {
    let mesh = mesh();
    let mut stream = TcpStream::connect(mesh.entry()).unwrap();
    let attack = "POST /attack HTTP/1.1\r\nHost: ads\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: ads\r\n\r\n";
    stream.write_all(attack.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(mesh.service.requests().is_empty(), "{:?}", mesh.service.requests());
}
