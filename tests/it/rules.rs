//! Rules about single requests, and the end users that a caller tells of.

use std::collections::HashMap;
use std::process::{Command, Output};

use bytes::Bytes;
use http::HeaderMap;
use http::uri::PathAndQuery;
use mantlet::identity::User;
use mantlet::proxy::user_headers::UserHeaders;
use serde_json::{Value, json};
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::support::block_on;
use crate::support::exchange::{Answer, KeptAlive};
use crate::support::frames::{BAD_REQUEST, End, Frames, OK};
use crate::support::gate::NAME;
use crate::support::grpc::{GrpcService, Raw};
use crate::support::mesh::{Mesh, inbound};
use crate::support::pki::{Issued, Pki};
use crate::support::service::{Service, raw};
use crate::support::sidecar::Sidecar;
use crate::support::tls_client::{HTTP1, HTTP2, TlsClient, client_config, connect};

const EVERYBODY: &[&str] = &["spiffe://fleamarket.internal/*"];

/// `:status: 403` as the first answer of a connection writes it: with the name of the static table alone.
const FORBIDDEN: u8 = 0x48;

/// An inbound sidecar with rules before a service, and two callers that its allow list admits.
struct Ruled {
    pki: Pki,
    own: Issued,
    gateway: Issued,
    batch: Issued,
    service: Service,
    sidecar: Sidecar,
}

impl Ruled {
    /// One with these keys and rules in its `[[inbound]]`.
    fn by(rules: &str) -> Self {
        Self::allowing(EVERYBODY, rules)
    }

    fn allowing(allow: &[&str], rules: &str) -> Self {
        let (pki, service) = (Pki::new(), Service::start());
        let (own, gateway, batch) = (pki.issue(NAME), pki.issue("gateway"), pki.issue("batch"));
        let sidecar = Sidecar::start(&inbound(&pki, &own, service.address, allow, rules, "[log]\naccess = true\n"));
        Self { pki, own, gateway, batch, service, sidecar }
    }

    /// A connection of this caller, or of one without a certificate.
    fn open(&self, caller: Option<&Issued>) -> KeptAlive<TlsClient> {
        let config = client_config(&self.pki, caller, HTTP1);
        KeptAlive::new(connect(self.sidecar.address("ads"), NAME, config).unwrap())
    }

    /// The answer to a request of a new connection.
    fn ask(&self, caller: Option<&Issued>, request: &str) -> Answer {
        ask(&mut self.open(caller), request, &[])
    }

    /// The status that the gateway gets.
    fn status(&self, request: &str) -> u16 {
        self.ask(Some(&self.gateway), request).status
    }

    /// The same over HTTP/2.
    fn status_over_http2(&self, method: &str, path: &str) -> End {
        let config = client_config(&self.pki, Some(&self.gateway), HTTP2);
        let stream = connect(self.sidecar.address("ads"), NAME, config).unwrap();
        let fields = [(":method", method), (":scheme", "https"), (":authority", NAME), (":path", path)];
        Frames::open(stream).ask(&fields, None)
    }

    /// Takes up other rules while connections live.
    fn reconfigure(&self, rules: &str) {
        let text = inbound(&self.pki, &self.own, self.service.address, EVERYBODY, rules, "[log]\naccess = true\n");
        self.sidecar.reconfigure(&text);
    }

    /// The only access event of a request with this path.
    fn access_event(&self, path: &str) -> Value {
        self.sidecar.wait_for("access event", |event| event["message"] == "request" && event["path"] == path)
    }
}

/// Sends `METHOD TARGET` with more headers, and reads the answer.
fn ask(connection: &mut KeptAlive<TlsClient>, request: &str, headers: &[(&str, &str)]) -> Answer {
    let headers = lines(headers);
    connection.send(&format!("{request} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 0\r\n{headers}\r\n")).unwrap();
    connection.answer().unwrap()
}

/// Header fields as HTTP/1.1 writes them.
fn lines(headers: &[(&str, &str)]) -> String {
    headers.iter().flat_map(|&(name, value)| [name, ": ", value, "\r\n"]).collect()
}

/// What the service saw of a header.
fn seen(answer: &Answer, name: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    let headers = body["headers"].as_array().unwrap().iter();
    let named = headers.filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap().to_owned());
    named.collect()
}

fn user_headers(subject: &str, claims: &Value) -> Vec<(String, String)> {
    let issuer = "https://issuer.fleamarket.example".to_owned();
    let user = User { issuer, subject: subject.to_owned(), claims: claims.as_object().unwrap().clone() };
    let mut headers = HeaderMap::new();
    UserHeaders::of(&user).unwrap().set(&mut headers);
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

fn borrowed(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

const READ_ADS: &str = r#"
[[inbound.rule]]
name = "read ads"
methods = ["GET", "OPTIONS"]
paths = ["/ads", "/ads/{id}", "/static/*"]
"#;

#[test]
fn whatever_no_rule_allows_is_denied_and_the_service_hears_nothing_of_it() {
    let ruled = Ruled::by(READ_ADS);
    for (request, status) in [
        ("GET /ads", 200),
        ("GET /ads?near=52.5,13.4", 200),
        ("GET /ads/7", 200),
        ("GET /static/", 200),
        ("GET /static/css/x.css", 200),
        ("GET /%61ds", 200),
        ("GET /", 403),
        ("GET /ads/", 403),
        ("GET /ads/7/", 403),
        ("GET /ads/7/photos", 403),
        ("GET /static", 403),
        ("GET /Ads", 403),
        ("GET /users", 403),
        ("POST /ads", 403),
        ("DELETE /ads/7", 403),
        ("get /ads", 403),
        ("OPTIONS *", 403),
    ] {
        assert_eq!(ruled.status(request), status, "{request}");
    }
    for (method, path, end) in
        [("GET", "/ads", OK), ("GET", "/ads/7?x=/../", OK), ("POST", "/ads", FORBIDDEN), ("GET", "/users", FORBIDDEN)]
    {
        assert_eq!(ruled.status_over_http2(method, path), End::Headers(end), "{method} {path}");
    }
}

#[test]
fn a_path_that_could_be_read_in_two_ways_is_a_bad_request() {
    let ruled = Ruled::by(READ_ADS);
    for path in [
        "//ads",
        "/static//x",
        "/static/./x",
        "/static/../users",
        "/static/..",
        "/static/%2e%2e/users",
        "/static/.%2E/users",
        "/static/%2e/x",
        "/static%2F..%2Fusers",
        "/static/..%2fusers",
        "/static/..%5cusers",
        "/static/..;/users",
        "/static/x;y=z",
        "/ads/7%3b",
        "/ads/7%00",
        "/ads/7%0d%0aX:y",
        "/ads/%",
        "/ads/%zz",
        "/ads/%c0%af",
        "/static/%252e%252e/users",
        "http://adservice/static/../users",
    ] {
        let answer = ruled.ask(Some(&ruled.gateway), &format!("GET {path}"));
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains("the path is ambiguous: it has "), "{path} {}", answer.body);
        if path.starts_with('/') {
            assert_eq!(ruled.status_over_http2("GET", path), End::Headers(BAD_REQUEST), "{path}");
        }
    }
    let event = ruled.sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!(event["reason"], "ambiguous_path", "{event}");
}

#[test]
fn an_absolute_target_is_judged_by_its_path() {
    let ruled = Ruled::by(READ_ADS);
    assert_eq!(ruled.status("GET http://adservice/ads"), 200);
    assert_eq!(ruled.status("GET http://adservice/users"), 403);
    assert_eq!(ruled.status("GET http://adservice"), 403);
}

/// What one of two rules says.
fn admin_or_all(name: &str) -> &'static str {
    match name {
        "no admin" => "action = \"deny\"\npaths = [\"/ads/admin/*\"]\n",
        _ => "paths = [\"/ads/*\"]\n",
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = |first: &str, second: &str| {
        let one = |name: &str| format!("[[inbound.rule]]\nname = \"{name}\"\n{}", admin_or_all(name));
        one(first) + &one(second)
    };
    let ruled = Ruled::by(&rules("no admin", "all ads"));
    // What a careless service would take for the same is denied as well.
    for path in ["/ads/admin/x", "/ads/admin/", "/ads/admin", "/ads/ADMIN/x", "/ads/%61dmin/x"] {
        let answer = ruled.ask(Some(&ruled.gateway), &format!("GET {path}"));
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.body.contains("the rule \\\"no admin\\\" denies GET "), "{}", answer.body);
    }
    assert_eq!(ruled.status("GET /ads/7"), 200);
    ruled.reconfigure(&rules("all ads", "no admin"));
    assert_eq!(ruled.status("GET /ads/admin/x"), 200);
}

#[test]
fn a_rule_is_about_the_callers_that_it_names() {
    let rules = r#"
[[inbound.rule]]
name = "gateway reads"
from = ["spiffe://fleamarket.internal/gateway"]
methods = ["GET"]
[[inbound.rule]]
name = "anybody asks how it is"
paths = ["/healthz"]
"#;
    let ruled = Ruled::by(rules);
    let status = |caller, request: &str| ruled.ask(Some(caller), request).status;
    assert_eq!((status(&ruled.gateway, "GET /ads"), status(&ruled.batch, "GET /ads")), (200, 403));
    assert_eq!((status(&ruled.gateway, "POST /ads"), status(&ruled.batch, "GET /healthz")), (403, 200));
}

#[test]
fn a_method_override_is_not_looked_at() {
    let ruled = Ruled::by("[[inbound.rule]]\nname = \"post\"\nmethods = [\"POST\"]\n");
    let mut connection = ruled.open(Some(&ruled.gateway));
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        assert_eq!(ask(&mut connection, "DELETE /ads/7", &[(name, "POST")]).status, 403, "{name}");
        assert_eq!(ask(&mut connection, "POST /ads/7", &[(name, "DELETE")]).status, 200, "{name}");
    }
}

#[test]
fn health_is_open_to_anonymous_callers_and_nothing_else_is() {
    let rules = r#"
client_auth = "optional"
[[inbound.rule]]
name = "health"
from = ["anonymous", "spiffe://fleamarket.internal/*"]
methods = ["GET"]
paths = ["/healthz", "/grpc.health.v1.Health/Check"]
[[inbound.rule]]
name = "the rest"
"#;
    let ruled = Ruled::allowing(&["anonymous", EVERYBODY[0]], rules);
    assert_eq!(ruled.ask(None, "GET /healthz").status, 200);
    for request in ["GET /", "GET /ads", "POST /healthz", "GET /healthz/", "GET /healthz/x", "GET /Healthz"] {
        assert_eq!(ruled.ask(None, request).status, 403, "{request}");
    }
    assert_eq!(ruled.ask(None, "GET /healthz/../ads").status, 400);
    assert_eq!((ruled.status("GET /healthz"), ruled.status("POST /ads")), (200, 200));
}

const SELLERS: &str = r#"
user_from = ["spiffe://fleamarket.internal/gateway"]
[[inbound.rule]]
name = "sellers"
methods = ["POST"]
claims = { role = ["seller", "admin"] }
[[inbound.rule]]
name = "users"
methods = ["PUT"]
user = true
[[inbound.rule]]
name = "read"
methods = ["GET"]
"#;

#[test]
fn claims_of_the_user_decide_and_are_passed_on_to_the_service() {
    let ruled = Ruled::by(SELLERS);
    let mut connection = ruled.open(Some(&ruled.gateway));
    let seller = user_headers("ann \u{e9}", &json!({"sub": "ann \u{e9}", "role": ["buyer", "seller"]}));
    let answer = ask(&mut connection, "POST /ads", &borrowed(&seller));
    assert_eq!(answer.status, 200, "{answer:?}");
    for (name, value) in &seller {
        assert_eq!(&seen(&answer, name), std::slice::from_ref(value), "{name}");
    }
    let buyer = user_headers("bob", &json!({"role": "buyer"}));
    assert_eq!(ask(&mut connection, "POST /ads/bob", &borrowed(&buyer)).status, 403);
    assert_eq!(ask(&mut connection, "PUT /ads", &borrowed(&buyer)).status, 200);
    for request in ["POST /ads", "PUT /ads"] {
        assert_eq!(ask(&mut connection, request, &[]).status, 403, "{request}");
    }
    assert_eq!(ask(&mut connection, "GET /ads", &[]).status, 200);
    let event = ruled.sidecar.wait_for("access event", |event| event["rule"] == "sellers");
    assert_eq!((&event["user"], &event["status"]), (&json!("ann \u{e9}"), &json!(200)), "{event}");
    assert_eq!(event["user.issuer"], "https://issuer.fleamarket.example", "{event}");
    let event = ruled.access_event("/ads/bob");
    assert_eq!(
        (&event["user"], &event["rule"], &event["status"]),
        (&json!("bob"), &Value::Null, &json!(403)),
        "{event}"
    );
}

#[test]
fn nobody_else_can_say_who_the_user_is() {
    let ruled = Ruled::by(SELLERS);
    let seller = user_headers("ann", &json!({"role": "seller"}));
    let mut connection = ruled.open(Some(&ruled.batch));
    assert_eq!(ask(&mut connection, "POST /ads", &borrowed(&seller)).status, 403);
    assert_eq!(ask(&mut connection, "PUT /ads", &borrowed(&seller)).status, 403);
    let answer = ask(&mut connection, "GET /ads", &borrowed(&seller));
    assert_eq!(answer.status, 200);
    for (name, _) in &seller {
        assert_eq!(seen(&answer, name), Vec::<String>::new(), "{name}");
    }
    // Not even by what the service might merge: another spelling, or a trailer.
    let mut other: Vec<(String, String)> = seller.iter().map(|(n, v)| (n.replace('-', "_"), v.clone())).collect();
    other.extend(seller.iter().map(|(name, value)| (name.replace('-', "."), value.clone())));
    for caller in [&ruled.batch, &ruled.gateway] {
        let answer = ask(&mut ruled.open(Some(caller)), "GET /ads", &borrowed(&other));
        assert!(!answer.body.contains("mantlet_user") && !answer.body.contains("mantlet.user"), "{answer:?}");
        let trailers = lines(&borrowed(&seller));
        let mut connection = ruled.open(Some(caller));
        connection
            .send(&format!(
                "GET /ads HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\nTrailer: x-mantlet-user\r\n\r\n0\r\n{trailers}x-sum: 1\r\n\r\n"
            ))
            .unwrap();
        let answer = connection.answer().unwrap();
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(!told["trailers"].to_string().contains("x-mantlet"), "{told}");
    }
}

#[test]
fn a_trusted_caller_tells_of_the_user_exactly_once_or_not_at_all() {
    let ruled = Ruled::by(SELLERS);
    let seller = user_headers("ann", &json!({"role": "seller"}));
    let good = borrowed(&seller);
    let large = "A".repeat(16 * 1024 + 4);
    for (index, name) in ["x-mantlet-user", "x-mantlet-user-issuer", "x-mantlet-user-claims"].into_iter().enumerate() {
        let place = good.iter().position(|(known, _)| *known == name).unwrap();
        let mut doubled = good.clone();
        doubled.push(good[place]);
        let mut missing = good.clone();
        missing.remove(place);
        let mut spoiled = good.clone();
        spoiled[place] = (name, ["%zz", "%", &large][index]);
        let mut hidden = good.clone();
        hidden.push(("Connection", name));
        for headers in [doubled, missing, spoiled, hidden] {
            for method in ["POST", "GET"] {
                let answer = ask(&mut ruled.open(Some(&ruled.gateway)), &format!("{method} /ads"), &headers);
                assert_eq!(answer.status, 400, "{method} {headers:?}");
            }
        }
    }
}

#[test]
fn a_service_behind_an_outbound_listener_cannot_say_who_the_user_is() {
    let keys = r#"
user_from = ["spiffe://fleamarket.internal/gateway"]
[[inbound.rule]]
name = "users"
paths = ["/ads"]
user = true
[[inbound.rule]]
name = "all"
"#;
    let mesh = Mesh::with(keys, "", "");
    let seller = user_headers("ann", &json!({"role": "seller"}));
    let headers = lines(&borrowed(&seller));
    let ask = |path: &str| {
        raw(mesh.entry(), format!("GET {path} HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n{headers}\r\n").as_bytes())
    };
    let answer = ask("/ads");
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("x-mantlet-user"), "{answer}");
    mesh.inbound.reconfigure(&mesh_without_the_last_rule(&mesh, keys));
    assert!(ask("/ads").starts_with("HTTP/1.1 403"));
}

fn mesh_without_the_last_rule(mesh: &Mesh, keys: &str) -> String {
    let keys = keys.split("[[inbound.rule]]\nname = \"all\"").next().unwrap();
    inbound(&mesh.pki, &mesh.callee, mesh.service.address, &[&mesh.caller.spiffe], keys, "")
}

#[test]
fn a_denied_request_is_told_everywhere_and_leaves_the_connection_alone() {
    let ruled = Ruled::by(READ_ADS);
    let mut connection = ruled.open(Some(&ruled.gateway));
    let denied = ask(&mut connection, "POST /ads/7?token=secret", &[]);
    assert_eq!((denied.status, denied.closes()), (403, false));
    assert!(denied.body.contains("no rule allows POST /ads/7 to spiffe://fleamarket.internal/gateway"), "{denied:?}");
    assert_eq!(ask(&mut connection, "GET /ads/7", &[]).status, 200);
    let event = ruled.sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!(
        (&event["reason"], &event["peer.serial"]),
        (&json!("no_rule_matches"), &json!(ruled.gateway.serial_hex()))
    );
    assert!(event["hint"].as_str().unwrap().contains("mantlet policy explain"), "{event}");
    let labels = HashMap::from([("listener", "ads"), ("direction", "inbound"), ("reason", "no_rule_matches")]);
    ruled.sidecar.wait_for_metric("mantlet_denials_total", &labels, 1.0);
    let status = ruled.sidecar.status();
    assert_eq!(status["refusals"][0]["reason"], "no_rule_matches", "{status}");
    let rule = json!({
        "name": "read ads", "action": "allow", "from": [], "methods": ["GET", "OPTIONS"],
        "paths": ["/ads", "/ads/{id}", "/static/*"], "user": false, "claims": [],
    });
    assert_eq!(status["listeners"][0]["rules"], json!([rule]), "{status}");
    assert!(!ruled.sidecar.text().contains("secret"));
}

#[test]
fn other_rules_hold_for_the_next_request_of_a_live_connection() {
    let ruled = Ruled::by(READ_ADS);
    let (mut gateway, mut batch) = (ruled.open(Some(&ruled.gateway)), ruled.open(Some(&ruled.batch)));
    assert_eq!((ask(&mut gateway, "GET /ads", &[]).status, ask(&mut batch, "GET /ads", &[]).status), (200, 200));
    ruled.reconfigure(
        "[[inbound.rule]]\nname = \"gateway writes\"\nfrom = [\"spiffe://fleamarket.internal/gateway\"]\nmethods = [\"POST\"]\n",
    );
    assert_eq!(ask(&mut gateway, "GET /ads", &[]).status, 403);
    assert_eq!(ask(&mut gateway, "POST /ads", &[]).status, 200);
    // To whom no rule could allow anything any more, the connection is cut.
    let event = ruled.sidecar.wait_for("cut", |event| event["message"] == "connection cut");
    assert_eq!(
        (&event["peer"], &event["reason"]),
        (&json!(ruled.batch.spiffe), &json!("no_longer_allowed")),
        "{event}"
    );
    assert!(batch.get("/ads").is_err());
    assert_eq!(ruled.ask(Some(&ruled.batch), "POST /ads").status, 403);
    ruled.reconfigure("");
    assert_eq!(ask(&mut gateway, "GET /users/1", &[]).status, 200);
    assert_eq!(ruled.ask(Some(&ruled.batch), "DELETE /ads").status, 200);
}

#[test]
fn an_upgrade_is_judged_by_the_same_rules() {
    let ruled = Ruled::by("[[inbound.rule]]\nname = \"live\"\nmethods = [\"GET\"]\npaths = [\"/upgrade\"]\n");
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "echo")];
    assert_eq!(ask(&mut ruled.open(Some(&ruled.gateway)), "GET /other", &upgrade).status, 403);
    assert_eq!(ask(&mut ruled.open(Some(&ruled.gateway)), "POST /upgrade", &upgrade).status, 403);
    let mut connection = ruled.open(Some(&ruled.gateway));
    connection
        .send(&format!("GET /upgrade HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"))
        .unwrap();
    assert!(connection.head().unwrap().starts_with("HTTP/1.1 101 "));
    connection.send("hello").unwrap();
    let mut echoed = Vec::new();
    connection.exactly(5, &mut echoed).unwrap();
    assert_eq!(echoed, b"hello");
}

#[test]
fn grpc_methods_are_paths() {
    let service = GrpcService::start();
    let address = service.address;
    let rules = "[[inbound.rule]]\nname = \"no fail\"\naction = \"deny\"\npaths = [\"/test.Echo/Fail\"]\n\
                 [[inbound.rule]]\nname = \"echo\"\nmethods = [\"POST\"]\npaths = [\"/test.Echo/*\"]\n";
    let mesh = Mesh::around(service, address, rules, "", "");
    block_on(async {
        let channel = Endpoint::from_shared(format!("http://{}", mesh.entry())).unwrap().connect().await.unwrap();
        let mut client = Grpc::new(channel);
        for (path, denied) in [
            ("/test.Echo/Echo", None),
            ("/test.Echo/Fail", Some("the rule \"no fail\" denies POST /test.Echo/Fail")),
            ("/test.Other/Echo", Some("no rule allows POST /test.Other/Echo")),
            ("/test.echo/Echo", Some("no rule allows POST /test.echo/Echo")),
        ] {
            client.ready().await.unwrap();
            let answer =
                client.unary(Request::new(Bytes::from_static(b"hello")), PathAndQuery::from_static(path), Raw).await;
            match (answer, denied) {
                (Ok(answer), None) => assert_eq!(answer.into_inner(), "hello", "{path}"),
                (Err(status), Some(why)) => {
                    assert_eq!(status.code(), Code::PermissionDenied, "{path} {status:?}");
                    assert!(status.message().contains(why), "{path} {status:?}");
                }
                (answer, _) => panic!("{path} {answer:?}"),
            }
        }
    });
}

fn explain(file: &std::path::Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mantlet")).args(["policy", "explain"]).arg(file).args(more).output().unwrap()
}

#[test]
fn policy_explain_says_what_the_running_sidecar_does() {
    let ruled = Ruled::by(SELLERS);
    let file = &ruled.sidecar.config;
    let claims = json!({"role": "seller"});
    let written = claims.to_string();
    for (caller, method, claims) in [
        (&ruled.gateway, "GET", None),
        (&ruled.gateway, "POST", None),
        (&ruled.gateway, "POST", Some(&claims)),
        (&ruled.batch, "POST", Some(&claims)),
        (&ruled.gateway, "DELETE", Some(&claims)),
    ] {
        let mut arguments = vec!["--peer", &caller.spiffe, "--method", method, "--path", "/ads"];
        arguments.extend(claims.iter().flat_map(|_| ["--claims", written.as_str()]));
        let output = explain(file, &arguments);
        let headers = claims.map(|claims| user_headers("ann", claims)).unwrap_or_default();
        let status = ask(&mut ruled.open(Some(caller)), &format!("{method} /ads"), &borrowed(&headers)).status;
        let expected = if status == 200 { Some(0) } else { Some(1) };
        assert_eq!(output.status.code(), expected, "{arguments:?} {output:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["allowed"], json!(status == 200), "{answer}");
        assert_eq!(answer["rules"].as_array().unwrap().len(), 3, "{answer}");
    }
    let output =
        explain(file, &["--peer", &ruled.batch.spiffe, "--method", "POST", "--path", "/ads", "--claims", "{}"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["user"], &answer["user_disbelieved"]), (&Value::Null, &json!(true)), "{answer}");
    assert_eq!(answer["rules"][0]["mismatches"], json!(["no user"]), "{answer}");
    assert_eq!(answer["reason"], "no_rule_matches", "{answer}");
}

#[test]
fn policy_explain_exits_2_where_it_cannot_answer() {
    let ruled = Ruled::by(READ_ADS);
    let file = &ruled.sidecar.config;
    let good = ["--peer", "anonymous", "--method", "GET", "--path", "/ads"];
    for (change, said) in [
        ((1, "spiffe://fm/*"), "a caller has one name"),
        ((1, "not a name"), "neither a SPIFFE ID"),
        ((3, "G T"), "invalid HTTP method"),
        ((5, "ads"), "path does not start with slash"),
    ] {
        let mut arguments = good;
        arguments[change.0] = change.1;
        let output = explain(file, &arguments);
        assert_eq!(output.status.code(), Some(2), "{change:?} {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{change:?} {output:?}");
    }
    for (more, said) in [
        (["--listener", "users"], "there is no inbound listener \"users\" for HTTP; there are: ads"),
        (["--claims", "[]"], "expected a JSON object"),
    ] {
        let output = explain(file, &[&good[..], &more].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{output:?}");
    }
    let output = explain(&file.with_extension("none"), &good);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
}
