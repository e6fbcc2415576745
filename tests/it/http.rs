//! HTTP through two sidecars: `client -> outbound -> mutual TLS -> inbound -> service`.

use std::collections::HashMap;
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use crate::support::exchange::KeptAlive;
use crate::support::mesh::Mesh;
use crate::support::raw_service::{RawService, Then};
use crate::support::service::{get, raw};
use crate::support::tls_client::{HTTP1, client_config, connect, talk};

#[test]
fn a_request_travels_through_two_sidecars_and_the_service_learns_who_called() {
    let mesh = Mesh::start();
    let (status, body) = get(mesh.entry(), "/ads?near=here");
    assert_eq!(status, 200, "{body}");
    let seen: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((seen["method"].as_str(), seen["path"].as_str()), (Some("GET"), Some("/ads?near=here")));
    let peers: Vec<_> =
        seen["headers"].as_array().unwrap().iter().filter(|header| header[0] == "x-mantlet-peer").collect();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0][1], mesh.caller.spiffe);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mesh = Mesh::start();
    let request = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: ads\r\n{more}\r\n");
    let requests = [request("/one", ""), request("/two", ""), request("/three", "Connection: close\r\n")].concat();
    let answers = raw(mesh.entry(), requests.as_bytes());
    let places: Vec<usize> = ["/one", "/two", "/three"].iter().map(|path| answers.find(path).unwrap()).collect();
    assert!(places.is_sorted(), "{answers}");
}

#[test]
fn what_a_caller_sends_after_its_last_request_does_not_cost_it_the_answer() {
    let mesh = Mesh::start();
    let mut bytes = b"GET /last HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n".to_vec();
    bytes.resize(bytes.len() + 300_000, b'x');
    let answer = raw(mesh.entry(), &bytes);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("/last"), "{answer}");
}

#[test]
fn any_client_with_a_certificate_may_be_the_other_end_of_the_hop() {
    let mesh = Mesh::start();
    let stream = connect(mesh.tls(), "adservice", client_config(&mesh.pki, Some(&mesh.caller), HTTP1)).unwrap();
    let answer = talk(stream, b"GET /ads HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(&mesh.caller.spiffe), "{answer}");
}

/// What curl writes to its standard output.
fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the service says that it saw.
fn seen(mesh: &Mesh, arguments: &[&str]) -> Value {
    let url = format!("http://{}/seen", mesh.entry());
    let mut all = arguments.to_vec();
    all.push(&url);
    serde_json::from_str(&curl(&all)).unwrap()
}

fn values<'a>(seen: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = seen["headers"].as_array().unwrap().iter();
    headers.filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect()
}

fn raw_mesh() -> Mesh<RawService> {
    let service = RawService::start();
    let address = service.address;
    Mesh::around(service, address, "", "", "")
}

#[test]
fn a_connection_carries_several_requests() {
    let mesh = Mesh::start();
    let url = format!("http://{}/status/200", mesh.entry());
    let answer = curl(&["-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects} ", &url, &url]);
    assert_eq!(answer, "1 0 ");
}

#[test]
fn chunked_bodies_and_trailers_pass_both_ways() {
    let mesh = Mesh::start();
    let request = "POST /echo HTTP/1.1\r\nHost: ads\r\nTE: trailers\r\nConnection: close, TE\r\nTrailer: x-sum\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;e=x\r\ndefg\r\n0\r\nX-Sum: 7\r\nx-mantlet-peer: forged\r\n\r\n";
    let answer = raw(mesh.entry(), request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{answer}");
    let request = request.replace("/echo", "/seen");
    let answer = raw(mesh.entry(), request.as_bytes());
    assert!(answer.contains("\"body_length\":7") && answer.contains("\"trailers\":[\"x-sum\"]"), "{answer}");
    let asking = "GET /trailers HTTP/1.1\r\nHost: ads\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n";
    let answer = raw(mesh.entry(), asking.as_bytes());
    assert!(answer.ends_with("0\r\nx-sum: 42\r\n\r\n"), "{answer}");
}

#[test]
fn answers_without_a_body_have_none_and_keep_the_connection() {
    let mesh = Mesh::start();
    let requests = "HEAD /bytes/5 HTTP/1.1\r\nHost: ads\r\n\r\nGET /status/204 HTTP/1.1\r\nHost: ads\r\n\r\n\
        GET /status/304 HTTP/1.1\r\nHost: ads\r\n\r\nGET /status/200 HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n";
    let answer = raw(mesh.entry(), requests.as_bytes());
    let answers: Vec<&str> = answer.split("\r\n\r\n").collect();
    let [head, no_content, not_modified, last, body] = answers[..] else { panic!("{answer}") };
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(no_content.starts_with("HTTP/1.1 204") && !no_content.contains("content-length"), "{answer}");
    assert!(not_modified.starts_with("HTTP/1.1 304"), "{answer}");
    assert!(last.starts_with("HTTP/1.1 200") && body == "status", "{answer}");
}

#[test]
fn a_caller_of_http_1_0_gets_a_whole_answer_and_the_end_of_the_connection() {
    let mesh = Mesh::start();
    let answer = raw(mesh.entry(), b"GET /bytes/5 HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\nxxxxx"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("chunked"), "{answer}");
}

#[test]
fn a_caller_that_expects_100_continue_is_told_to_go_on() {
    let mesh = Mesh::start();
    let answer = raw(
        mesh.entry(),
        b"POST /seen HTTP/1.1\r\nHost: ads\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    );
    assert!(answer.contains("\"body_length\":5"), "{answer}");
    let body = "x".repeat(100_000);
    let told = seen(&mesh, &["-H", "Expect: 100-continue", "--data", &body]);
    assert_eq!(told["body_length"], 100_000);
}

#[test]
fn header_sections_beyond_the_limits_are_431() {
    let mesh = Mesh::with("", "", "[limits]\nmax_header_bytes = 8192\nmax_headers = 20");
    let large = format!("GET / HTTP/1.1\r\nHost: ads\r\nX-Large: {}\r\n\r\n", "x".repeat(10_000));
    let many = format!("GET / HTTP/1.1\r\nHost: ads\r\n{}\r\n", "X: y\r\n".repeat(30));
    for request in [large, many] {
        let answer = raw(mesh.entry(), request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert_eq!(get(mesh.entry(), "/").0, 200);
}

#[test]
fn prior_knowledge_on_loopback_and_alpn_inbound_speak_http2() {
    let mesh = Mesh::start();
    let url = format!("http://{}/status/200", mesh.entry());
    assert_eq!(curl(&["--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_version}", &url]), "2");
    let port = mesh.tls().port();
    let (resolve, url) = (format!("adservice:{port}:127.0.0.1"), format!("https://adservice:{port}/status/200"));
    let (anchors, certificate, key) = (mesh.pki.anchors(), &mesh.caller.certificate, &mesh.caller.key);
    let paths = [anchors.to_str().unwrap(), certificate.to_str().unwrap(), key.to_str().unwrap()];
    for (option, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let answer = curl(&[
            option,
            "--resolve",
            &resolve,
            "--cacert",
            paths[0],
            "--cert",
            paths[1],
            "--key",
            paths[2],
            "-o",
            "/dev/null",
            "-w",
            "%{http_version} %{http_code}",
            &url,
        ]);
        assert_eq!(answer, format!("{version} 200"));
    }
}

#[test]
fn app_protocol_decides_the_version_that_the_service_sees() {
    let grpc: &[&str] = &["--http2-prior-knowledge", "-H", "content-type: application/grpc", "--data-binary", "x"];
    let cases =
        [("auto", "HTTP/1.1", "HTTP/2.0"), ("http1", "HTTP/1.1", "HTTP/1.1"), ("http2", "HTTP/2.0", "HTTP/2.0")];
    for (app_protocol, plain, called) in cases {
        let mesh = Mesh::with(&format!("app_protocol = \"{app_protocol}\""), "", "");
        assert_eq!(seen(&mesh, &[])["version"], plain, "{app_protocol}");
        assert_eq!(seen(&mesh, &["--http2-prior-knowledge"])["version"], plain, "{app_protocol}");
        assert_eq!(seen(&mesh, grpc)["version"], called, "{app_protocol}");
    }
}

#[test]
fn a_path_whose_answer_was_large_is_asked_for_over_http1_the_next_time() {
    let mesh = Mesh::start();
    let labels = HashMap::from([("direction", "inbound")]);
    // One connection, so that one worker with its own connections to the peer serves all of it.
    let mut caller = KeptAlive::new(TcpStream::connect(mesh.entry()).unwrap());
    let connections_after = |path: &str| {
        assert_eq!(caller.get(path).unwrap().status, 200);
        mesh.inbound.metric("mantlet_connections_total", &labels).to_string()
    };
    let paths = ["/bytes/1000", "/bytes/2000000", "/bytes/2000000", "/bytes/2000000", "/bytes/1000"];
    assert_eq!(paths.map(connections_after), ["1", "1", "2", "2", "2"]);
}

#[test]
fn every_combination_of_versions_carries_bodies_and_headers() {
    for hop in ["auto", "http1", "http2"] {
        for app_protocol in ["http1", "http2"] {
            let mesh = Mesh::with(&format!("app_protocol = \"{app_protocol}\""), &format!("hop = \"{hop}\""), "");
            for version in ["--http1.1", "--http2-prior-knowledge"] {
                let told = seen(&mesh, &[version, "-H", "Host: ads.example:81", "-b", "a=1; b=2", "--data", "hello"]);
                let host = values(&told, "host").first().copied().or(told["authority"].as_str());
                assert_eq!((told["method"].as_str(), host), (Some("POST"), Some("ads.example:81")), "{hop} {version}");
                assert_eq!(
                    (&values(&told, "cookie")[..], &told["body_length"]),
                    (&["a=1; b=2"][..], &5.into()),
                    "{hop} {version}"
                );
                let url = format!("http://{}/bytes/300000", mesh.entry());
                assert_eq!(curl(&[version, &url]).len(), 300_000, "{hop} {app_protocol} {version}");
            }
        }
    }
}

#[test]
fn the_target_of_the_server_as_a_whole_is_carried() {
    let mesh = raw_mesh();
    let answer = raw(mesh.entry(), b"OPTIONS * HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let request = &mesh.service.requests()[0];
    assert_eq!((request.method(), request.path(), request.defect()), ("OPTIONS", "*", None));
}

#[test]
fn headers_of_one_hop_end_there_both_ways() {
    let service = RawService::answering(|_| {
        let mut answer =
            b"HTTP/1.1 200 OK\r\nConnection: x-hop, keep-alive\r\nX-Hop: a\r\nKeep-Alive: timeout=5\r\nX-End: b\r\n\
            Upgrade: h2c\r\nProxy-Connection: x\r\nX-Mantlet-Peer: forged\r\nContent-Length: 2\r\n\r\n"
                .to_vec();
        answer.extend_from_slice(b"ok");
        Then::Answer(answer)
    });
    let address = service.address;
    let mesh = Mesh::around(service, address, "", "", "");
    let answer = raw(
        mesh.entry(),
        b"GET / HTTP/1.1\r\nHost: ads\r\nConnection: X-Hop, close\r\nX-Hop: a\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\nX-End: b\r\n\r\n",
    );
    let told = answer.to_ascii_lowercase();
    let gone = ["x-hop", "keep-alive", "upgrade", "proxy-connection", "x-mantlet-peer"];
    assert!(told.contains("\r\nx-end: b\r\n") && gone.iter().all(|name| !told.contains(name)), "{answer}");
    let request = mesh.service.wait_for("/");
    assert_eq!(request.header("x-end"), ["b"]);
    for name in ["x-hop", "keep-alive", "proxy-connection", "te", "connection", "upgrade"] {
        assert_eq!(request.header(name), Vec::<&str>::new(), "{name} in {}", request.head);
    }
}

#[test]
fn a_trace_is_passed_on_or_begun_and_is_one_over_both_hops() {
    let mesh = raw_mesh();
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let head = "GET /given HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n";
    raw(mesh.entry(), format!("{head}traceparent: {given}\r\ntracestate: a=b\r\n\r\n").as_bytes());
    let request = mesh.service.wait_for("/given");
    assert_eq!((request.header("traceparent"), request.header("tracestate")), (vec![given], vec!["a=b"]));
    get(mesh.entry(), "/begun");
    let request = mesh.service.wait_for("/begun");
    let [begun] = request.header("traceparent")[..] else { panic!("{}", request.head) };
    assert!(begun.starts_with("00-") && begun.len() == 55, "{begun}");
}

#[test]
fn identities_that_a_caller_claims_never_reach_the_service() {
    let mesh = raw_mesh();
    let forged = "spiffe://fleamarket.internal/admin";
    let claims = [
        format!("x-mantlet-peer: {forged}"),
        format!("X-MANTLET-PEER: {forged}\r\nx-mantlet-peer: {forged}"),
        format!("X_Mantlet_Peer: {forged}"),
        format!("x-mantlet_peer: {forged}"),
        format!("x-mantlet-role: {forged}"),
        format!("Client-Cert: :{forged}:\r\nClient_Cert: {forged}\r\nclient-cert-chain: {forged}"),
        format!("X-Forwarded-Client-Cert: URI={forged}\r\nx_forwarded_client_cert: {forged}"),
        format!("x-mantlet-peer: {forged}\r\nConnection: x-mantlet-peer, client-cert"),
        "Connection: x-mantlet-peer, client-cert".to_owned(),
    ];
    for (number, claim) in claims.iter().enumerate() {
        for side in ["outbound", "inbound"] {
            let path = format!("/{side}/{number}");
            let request = format!("GET {path} HTTP/1.1\r\nHost: ads\r\n{claim}\r\nConnection: close\r\n\r\n");
            if side == "outbound" {
                raw(mesh.entry(), request.as_bytes())
            } else {
                let config = client_config(&mesh.pki, Some(&mesh.caller), HTTP1);
                talk(connect(mesh.tls(), "adservice", config).unwrap(), request.as_bytes())
            };
            let arrived = mesh.service.wait_for(&path);
            assert_eq!(arrived.header("x-mantlet-peer"), [mesh.caller.spiffe.as_str()], "{}", arrived.head);
            assert_eq!(arrived.header("client-cert").len(), 1, "{}", arrived.head);
            assert!(!arrived.head.contains(forged), "{}", arrived.head);
        }
    }
    let trailers = format!(
        "POST /trailers HTTP/1.1\r\nHost: ads\r\nConnection: close\r\nTrailer: x-mantlet-peer, x-end\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\nx-mantlet-peer: {forged}\r\nX_Mantlet_Peer: {forged}\r\nx-forwarded-for: 127.0.0.1\r\n\
         x-http-method-override: DELETE\r\nauthorization: Bearer x\r\nhost: users\r\ncookie: a=b\r\ncontent-encoding: gzip\r\nx-end: b\r\n\r\n"
    );
    raw(mesh.entry(), trailers.as_bytes());
    let arrived = mesh.service.wait_for("/trailers");
    assert_eq!(arrived.trailers, "x-end: b\r\n");
}
