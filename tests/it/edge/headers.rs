//! What the service is told, and what neither the service nor the public is.

use crate::support::gateway::{Gateway, HOST, request};

/// What somebody outside may try to say of who they are, where they come from and what they ask for.
const SPOOFED: &[&str] = &[
    "x-mantlet-user: admin",
    "X-Mantlet-User-Issuer: https://issuer",
    "x_mantlet_user: admin",
    "x-mantlet-user_claims: e30",
    "x.mantlet.user: admin",
    "x-mantlet-peer: spiffe://fleamarket.internal/admin",
    "client-cert: :AA==:",
    "client_cert: :AA==:",
    "client-cert-chain: :AA==:",
    "x-forwarded-client-cert: By=admin",
    "x_forwarded_client_cert: By=admin",
    "forwarded: for=127.0.0.1",
    "x-forwarded-for: 127.0.0.1",
    "x_forwarded_for: 127.0.0.1",
    "x-forwarded-host: admin.internal",
    "x-forwarded-proto: http",
    "x-forwarded-prefix: /admin",
    "x-real-ip: 127.0.0.1",
    "x-original-url: /admin",
    "x-rewrite-url: /admin",
    "x-http-method-override: DELETE",
    "proxy: http://evil",
    "authorization: Bearer abc",
    "proxy-authorization: Basic abc",
];

#[test]
fn nothing_that_a_client_claims_of_itself_reaches_the_service() {
    let gateway = Gateway::open("");
    let answer = gateway.ask("GET /ads", SPOOFED);
    assert_eq!(answer.status, 200, "{answer:?}");
    let address = "127.0.0.1";
    for field in SPOOFED {
        let name = field.split(':').next().unwrap();
        let expected = match name {
            "x-forwarded-for" => vec![address.to_owned()],
            "x-forwarded-proto" => vec!["https".to_owned()],
            "x-forwarded-host" => vec![HOST.to_owned()],
            "forwarded" => vec![format!("for={address};host=\"{HOST}\";proto=https")],
            // The sidecar of the service says who called: the gateway.
            "x-mantlet-peer" => vec![gateway.own.spiffe.clone()],
            "client-cert" => continue,
            _ => vec![],
        };
        assert_eq!(answer.received(name), expected, "{name}");
    }
    assert!(!answer.received("client-cert")[0].contains("AA=="));
}

#[test]
fn a_client_cannot_take_our_headers_away_by_naming_them_in_connection() {
    let gateway = Gateway::open("");
    let answer = gateway.ask("GET /ads", &["Connection: x-forwarded-for, forwarded, x-forwarded-host, x-mantlet-peer"]);
    assert_eq!(answer.received("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(answer.received("x-forwarded-host"), [HOST]);
    assert_eq!(answer.received("x-mantlet-peer"), [gateway.own.spiffe.as_str()]);
}

#[test]
fn what_a_trusted_proxy_says_of_its_client_is_passed_on() {
    let gateway = Gateway::open("trusted_proxies = [\"127.0.0.0/8\"]");
    let answer = gateway
        .ask("GET /ads", &["x-forwarded-for: 198.51.100.7", "forwarded: for=198.51.100.7", "x_forwarded_for: 9"]);
    assert_eq!(answer.received("x-forwarded-for"), ["198.51.100.7, 127.0.0.1"]);
    assert_eq!(answer.received("forwarded"), [format!("for=198.51.100.7, for=127.0.0.1;host=\"{HOST}\";proto=https")]);
    assert_eq!(answer.received("x_forwarded_for"), Vec::<String>::new());
}

#[test]
fn a_token_in_the_url_is_refused_and_never_logged() {
    let gateway = Gateway::open("");
    for line in ["GET /ads?access_token=SECRET", "GET /ads/access_token=SECRET", "GET /ads?access%5ftoken=SECRET"] {
        let answer = gateway.ask(line, &[]);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.header("www-authenticate")[0].contains("error=\"invalid_request\""), "{answer:?}");
    }
    gateway.edge.wait_for_metric("mantlet_denials_total", &[("reason", "token_in_url")].into(), 3.0);
    let events = gateway.edge.events();
    let logged: Vec<_> = events.iter().filter(|event| event["message"] == "request").collect();
    assert_eq!(logged.len(), 3);
    assert!(logged.iter().all(|event| event["reason"] == "token_in_url" && event["status"] == 400), "{logged:?}");
    assert!(!events.iter().any(|event| event.to_string().contains("SECRET")));
}

#[test]
fn hsts_is_on_every_answer_where_it_is_wanted() {
    let gateway = Gateway::open("hsts = \"365d\"");
    for line in ["GET /ads", "GET /ads?access_token=x"] {
        assert_eq!(gateway.ask(line, &[]).header("strict-transport-security"), ["max-age=31536000"], "{line}");
    }
    let without = Gateway::open("");
    assert_eq!(without.ask("GET /ads", &[]).header("strict-transport-security"), Vec::<&str>::new());
}

#[test]
fn http1_and_http2_are_told_alike_that_plain_http_is_not_spoken() {
    let gateway = Gateway::open("");
    let answer = crate::support::service::raw(gateway.address(), request("GET /ads", &[]).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("Use https://.\r\n"), "{answer}");
    assert!(!answer.contains("certificate"), "{answer}");
}
