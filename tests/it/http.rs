//! HTTP through two sidecars: `client -> outbound -> mutual TLS -> inbound -> service`.

use crate::support::mesh::Mesh;
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
fn any_client_with_a_certificate_may_be_the_other_end_of_the_hop() {
    let mesh = Mesh::start();
    let stream = connect(mesh.tls(), "adservice", client_config(&mesh.pki, Some(&mesh.caller), HTTP1)).unwrap();
    let answer = talk(stream, b"GET /ads HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(&mesh.caller.spiffe), "{answer}");
}
