//! How often a client, a user and a route may ask: told by counting, not by the clock.

use crate::support::gateway::{ForUsers, Gateway, OPEN, request};

/// How many of these requests on one connection are answered with what is not 429, and the last answer.
fn admitted(gateway: &Gateway, tries: usize, line: &str, fields: &[&str]) -> (usize, crate::support::exchange::Answer) {
    let mut connection = gateway.connect();
    let answers: Vec<_> = (0..tries)
        .map(|_| {
            connection.send(&request(line, fields)).unwrap();
            connection.answer().unwrap()
        })
        .collect();
    let count = answers.iter().filter(|answer| answer.status != 429).count();
    (count, answers.into_iter().last().unwrap())
}

#[test]
fn a_client_has_so_many_requests_and_no_more() {
    let gateway = Gateway::open("rate_per_address = \"1/h burst 5\"");
    let (count, last) = admitted(&gateway, 8, "GET /ads", &["x-forwarded-for: 192.0.2.1"]);
    assert_eq!((count, last.status), (5, 429), "{last:?}");
    assert_eq!(last.header("ratelimit-policy"), ["\"address\";q=5;w=18000"]);
    assert!(last.header("ratelimit")[0].starts_with("\"address\";r=0;t="), "{last:?}");
    let wait: u32 = last.header("retry-after")[0].parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    gateway.edge.wait_for_metric("mantlet_throttled_total", &[("by", "address")].into(), 3.0);
    let (count, _) = admitted(&gateway, 2, "GET /ads", &[]);
    assert_eq!(count, 0, "another connection of the same client");
}

#[test]
fn a_rate_that_stays_the_same_goes_on_over_a_reload() {
    let rate = "rate_per_address = \"1/h burst 5\"";
    let gateway = Gateway::open(rate);
    assert_eq!(admitted(&gateway, 8, "GET /ads", &[]).0, 5);
    gateway.edge.reconfigure(&gateway.config(&format!("{rate}\nhsts = \"1d\""), OPEN, ""));
    assert_eq!(admitted(&gateway, 2, "GET /ads", &[]).0, 0);
    gateway.edge.reconfigure(&gateway.config("rate_per_address = \"1/h burst 2\"", OPEN, ""));
    assert_eq!(admitted(&gateway, 4, "GET /ads", &[]).0, 2);
}

#[test]
fn each_client_behind_a_trusted_proxy_has_its_own_bucket() {
    let gateway = Gateway::open("trusted_proxies = [\"127.0.0.1\"]\nrate_per_address = \"1/h burst 3\"");
    assert_eq!(admitted(&gateway, 5, "GET /ads", &["x-forwarded-for: 192.0.2.1"]).0, 3);
    assert_eq!(admitted(&gateway, 5, "GET /ads", &["x-forwarded-for: 192.0.2.2"]).0, 3);
    assert_eq!(admitted(&gateway, 5, "GET /ads", &["x-forwarded-for: 198.51.100.1, 192.0.2.2"]).0, 0, "hearsay");
}

#[test]
fn users_and_routes_have_buckets_of_their_own() {
    let routes = "[[edge.route]]\nname = \"rare\"\npaths = [\"/rare\"]\nupstream = \"ads\"\nrate = \"1/h burst 2\"\n\
        [[edge.route]]\nname = \"all\"\nupstream = \"ads\"\n";
    let market = ForUsers::with("rate_per_user = \"1/h burst 4\"", routes);
    let (ana, bob) = (market.bearer(|_| {}), market.bearer(|claims| claims["sub"] = "bob".into()));
    let (count, last) = admitted(&market.gateway, 3, "GET /rare", &[&ana]);
    assert_eq!((count, last.status), (2, 429));
    assert!(
        last.header("ratelimit-policy")[0].contains("\"user\"")
            && last.header("ratelimit")[0].contains("\"route\";r=0")
    );
    assert_eq!(admitted(&market.gateway, 3, "GET /rare", &[&bob]).0, 0, "the route's bucket is everybody's");
    assert_eq!(admitted(&market.gateway, 3, "GET /ads", &[&ana]).0, 1, "refused or not, three were asked for");
    assert_eq!(admitted(&market.gateway, 3, "GET /ads", &[&bob]).0, 1);
}

#[test]
fn who_sends_too_many_bad_tokens_has_no_further_one_looked_at() {
    let routes = "[[edge.route]]\nname = \"page\"\npaths = [\"/\"]\nupstream = \"ads\"\npublic = true\n\
        [[edge.route]]\nname = \"all\"\nupstream = \"ads\"\n";
    let market = ForUsers::with("rate_of_bad_tokens = \"1/h burst 3\"", routes);
    let bad = "Authorization: Bearer a.b.c";
    assert_eq!(admitted(&market.gateway, 5, "GET /ads", &[bad]).0, 3);
    let (count, last) = admitted(&market.gateway, 1, "GET /ads", &[&market.bearer(|_| {})]);
    assert_eq!((count, last.status), (0, 429), "{last:?}");
    assert_eq!(admitted(&market.gateway, 2, "GET /", &[bad]).0, 2, "a public route looks at no token");
    assert_eq!(admitted(&market.gateway, 2, "GET /ads", &[]).0, 2, "no token is no bad one");
}

#[test]
fn one_client_cannot_have_all_the_connections() {
    let gateway = Gateway::open("max_connections_per_address = 3");
    let mut kept: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
    let refused = std::net::TcpStream::connect(gateway.address()).unwrap();
    let config = crate::support::tls_client::client_config(&gateway.public, None, &[]);
    assert!(crate::support::tls_client::handshake(refused, crate::support::gateway::HOST, config).is_err());
    gateway.edge.wait_for_metric("mantlet_throttled_total", &[("by", "connections")].into(), 1.0);
    assert_eq!(kept[0].get("/ads").unwrap().status, 200, "those that are there are not disturbed");
}
