//! Who may use which route, and what the service is told of its user.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::support::gateway::{ForUsers, Gateway, issuer, request};
use crate::support::key_server::{Answer, KeyServer};
use crate::support::pki::Pki;
use crate::support::service::Service;
use crate::support::tokens::ISS;

const ROUTES: &str = r#"
[[edge.route]]
name = "page"
paths = ["/", "/echo"]
upstream = "ads"
public = true
[[edge.route]]
name = "offer"
paths = ["/ads"]
methods = ["POST"]
upstream = "ads"
claims = { role = ["seller", "admin"], email_verified = true }
[[edge.route]]
name = "read"
paths = ["/ads", "/ads/*"]
upstream = "ads"
[[edge.route]]
name = "inward"
paths = ["/inward"]
upstream = "ads"
forward_token = true
"#;

fn requests_of_the_service(gateway: &Gateway) -> usize {
    gateway.inbound.events().iter().filter(|event| event["message"] == "request").count()
}

#[test]
fn a_user_is_needed_unless_a_route_says_that_it_is_public() {
    let market = ForUsers::with("", ROUTES);
    let gateway = &market.gateway;
    assert_eq!(gateway.ask("GET /", &[]).status, 200);
    let refused = gateway.ask("GET /ads", &[]);
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, vec!["Bearer realm=\"public\""]));
    assert!(refused.body.contains("\"error\":\"no_token\""), "{refused:?}");
    for scheme in ["Authorization: Basic dXNlcjpwYXNz", "Authorization: Bearer", "Cookie: token=x"] {
        assert_eq!(gateway.ask("GET /ads", &[scheme]).status, 401, "{scheme}");
    }
    let twice = gateway.ask("GET /ads", &["Authorization: Bearer a.b.c", "Authorization: Bearer a.b.c"]);
    assert_eq!(twice.status, 400, "{twice:?}");
    assert!(twice.header("www-authenticate")[0].contains("error=\"invalid_request\""), "{twice:?}");
    assert_eq!(requests_of_the_service(gateway), 1, "what is refused does not reach the service");
}

#[test]
fn the_service_is_told_who_the_user_is_and_never_sees_the_token_unless_it_should() {
    let market = ForUsers::with("", ROUTES);
    let bearer = market.bearer(|claims| claims["sub"] = "an\u{e1}".into());
    let spoofed = "x-mantlet-user: admin";
    let answer = market.gateway.ask("GET /ads/7", &[&bearer, spoofed, "Cookie: a=1"]);
    assert_eq!(answer.status, 200, "{answer:?}");
    // The sidecar of the service passes the user on only where user_from names the gateway.
    assert_eq!(answer.received("x-mantlet-user"), Vec::<String>::new());
    assert_eq!((answer.received("authorization"), answer.received("cookie")), (vec![], vec!["a=1".to_owned()]));
    let inward = market.gateway.ask("GET /inward", &[&bearer]);
    assert_eq!(inward.received("authorization"), [bearer.strip_prefix("Authorization: ").unwrap()]);
    let event = market.gateway.edge.wait_for("request", |event| event["route"] == "read");
    assert_eq!((&event["user"], &event["user.issuer"]), (&"an\u{e1}".into(), &ISS.into()), "{event}");
}

#[test]
fn a_sidecar_that_believes_the_gateway_tells_the_service_of_its_user() {
    let market = ForUsers::with("", ROUTES);
    let gateway = &market.gateway;
    let text = std::fs::read_to_string(&gateway.inbound.config).unwrap();
    let believing = format!("allow = [{0:?}]\nuser_from = [{0:?}]", gateway.own.spiffe);
    gateway.inbound.reconfigure(&text.replace(&format!("allow = [{:?}]", gateway.own.spiffe), &believing));
    let answer = gateway.ask("GET /ads/7", &[&market.bearer(|_| {}), "x_mantlet_user: admin"]);
    assert_eq!(answer.received("x-mantlet-user"), ["user-7"]);
    assert_eq!(answer.received("x-mantlet-user-issuer"), [ISS]);
    let claims = URL_SAFE_NO_PAD.decode(&answer.received("x-mantlet-user-claims")[0]).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["role"], &claims["sub"]), (&"seller".into(), &"user-7".into()));
    let public = gateway.ask("GET /", &[&market.bearer(|_| {}), "x-mantlet-user: admin"]);
    assert_eq!(public.received("x-mantlet-user"), Vec::<String>::new(), "a public route has no user");
}

#[test]
fn claims_decide_who_may_use_a_route() {
    let market = ForUsers::with("", ROUTES);
    let offer =
        |change: fn(&mut Value)| market.gateway.ask("POST /ads", &["Content-Length: 0", &market.bearer(change)]);
    assert_eq!(offer(|_| {}).status, 200);
    assert_eq!(offer(|claims| claims["role"] = serde_json::json!(["buyer", "admin"])).status, 200);
    for change in [
        |claims: &mut Value| claims["role"] = "buyer".into(),
        |claims: &mut Value| claims["email_verified"] = false.into(),
        |claims: &mut Value| claims["email_verified"] = "true".into(),
        |claims: &mut Value| claims["role"] = Value::Null,
    ] {
        let refused = offer(change);
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.header("www-authenticate")[0].contains("error=\"insufficient_scope\""), "{refused:?}");
        assert!(!refused.body.contains("seller"), "the rules are not told: {refused:?}");
    }
    market.gateway.edge.wait_for_metric("mantlet_denials_total", &[("reason", "claims_not_met")].into(), 4.0);
}

#[test]
fn a_bad_token_is_told_apart_from_an_issuer_that_cannot_be_asked() {
    let market = ForUsers::with("", ROUTES);
    let gateway = &market.gateway;
    let expired = market.bearer(|claims| {
        claims["exp"] = 1_000.into();
        claims["iat"] = 900.into();
    });
    let refused = gateway.ask("GET /ads", &[&expired]);
    assert_eq!(refused.status, 401, "{refused:?}");
    let challenge = refused.header("www-authenticate")[0];
    assert!(challenge.contains("error=\"invalid_token\"") && challenge.contains("expired"), "{challenge}");
    assert_eq!(requests_of_the_service(gateway), 0);
    // The same token, while nobody knows the keys of its issuer.
    let (pki, service) = (Pki::new(), Service::start());
    let silent = KeyServer::start(&pki, Answer::text("no keys"));
    let address = service.address;
    let waiting = Gateway::within(pki, service, address, "", ROUTES, &issuer(&silent, &market.key));
    let unavailable = waiting.ask("GET /ads", &[&market.bearer(|_| {})]);
    assert_eq!(unavailable.status, 503, "{unavailable:?}");
    assert!(unavailable.header("retry-after")[0].parse::<u32>().unwrap() > 0, "{unavailable:?}");
    assert_eq!(unavailable.header("www-authenticate"), Vec::<&str>::new(), "it may well be good");
    assert_eq!(
        (waiting.ask("GET /", &[]).status, requests_of_the_service(&waiting)),
        (200, 1),
        "only what needs no user"
    );
}

#[test]
fn routes_that_change_are_obeyed_by_live_connections() {
    let market = ForUsers::with("", ROUTES);
    let gateway = &market.gateway;
    let mut connection = gateway.connect();
    let mut status = |path: &str| {
        connection.send(&request(&format!("GET {path}"), &[])).unwrap();
        connection.answer().unwrap().status
    };
    assert_eq!((status("/"), status("/ads")), (200, 401));
    let tables = issuer(&market.keys, &market.key);
    let swapped = "[[edge.route]]\nname = \"ads\"\npaths = [\"/ads\"]\nupstream = \"ads\"\npublic = true\n";
    gateway.edge.reconfigure(&gateway.config("", swapped, &tables));
    assert_eq!((status("/"), status("/ads")), (404, 200));
}
