//! What is behind the edge and does not serve, and the end of the gateway itself.

use crate::support::gateway::{Gateway, OPEN};
use crate::support::mesh::inbound;

#[test]
fn the_public_learns_nothing_of_a_service_that_cannot_be_reached() {
    let mut gateway = Gateway::open("");
    gateway.inbound.signal("TERM");
    gateway.inbound.wait_for_exit();
    let answer = gateway.ask("GET /ads", &[]);
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.body.contains("the service cannot be reached"), "{answer:?}");
    for told in ["127.0.0.1", "refused", "mantlet", "spiffe"] {
        assert!(!answer.head.contains(told) && !answer.body.contains(told), "{told} {answer:?}");
    }
    let failed = gateway.edge.wait_for("failure", |event| event["message"] == "exchange failed");
    assert_eq!(failed["reason"], "connection_refused", "the operator does: {failed}");
}

#[test]
fn the_public_learns_nothing_of_a_sidecar_that_refuses_the_gateway() {
    let gateway = Gateway::open("");
    let callee = gateway.pki.issue("adservice");
    let stranger = "spiffe://fleamarket.internal/stranger";
    let config = inbound(&gateway.pki, &callee, gateway.service.address, &[stranger], "", "");
    let listen = format!("listen = \"{}\"\nforward_to", gateway.inbound.address("ads"));
    gateway.inbound.reconfigure(&config.replace("listen = \"127.0.0.1:0\"\nforward_to", &listen));
    let answer = gateway.ask("GET /ads", &[]);
    assert_eq!((answer.status, answer.header("proxy-status")), (403, vec![]), "{answer:?}");
    assert!(answer.body.contains("\"error\":\"service_refused\"") && !answer.body.contains("spiffe"), "{answer:?}");
}

#[test]
fn an_upstream_with_another_identity_is_not_spoken_to() {
    let gateway = Gateway::open("");
    let config = gateway.config("", OPEN, "").replace("internal/adservice", "internal/other");
    gateway.edge.reconfigure(&config);
    let answer = gateway.ask("GET /ads", &[]);
    assert_eq!(answer.status, 502, "{answer:?}");
    let refused = gateway.edge.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!(refused["reason"], "name_mismatch", "{refused}");
    assert!(!gateway.inbound.events().iter().any(|event| event["message"] == "request"));
}

#[test]
fn what_the_public_has_begun_is_finished_when_the_gateway_ends() {
    let mut gateway = Gateway::open("");
    let mut connection = gateway.connect();
    connection.send("POST /sink HTTP/1.1\r\nHost: market.example\r\nContent-Length: 10\r\n\r\nhello").unwrap();
    gateway.edge.wait_for_status("the request in flight", |status| status["connections"][0]["in_flight"] == 1);
    gateway.edge.signal("TERM");
    gateway.edge.wait_for("the end", |event| event["message"] == "shutting down");
    connection.send("world").unwrap();
    let answer = connection.answer().unwrap();
    assert_eq!((answer.status, answer.body.as_str(), answer.closes()), (200, "10", true), "{answer:?}");
    assert!(gateway.edge.wait_for_exit().success());
}
