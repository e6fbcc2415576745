//! `[[edge]]`: public listeners, whose routes lead to peers over mutual TLS.

use std::path::PathBuf;
use std::time::Duration;

use crate::net::{Address, IpRange};

use super::cors::{self, Cors};
use super::edge_route::{self, EdgeRoute};
use super::listeners::{Claims, LISTEN_REMEDY, read_address, read_name};
use super::nearest::nearest;
use super::reader::TableReader;
use super::{ClientAuth, Located, Rate, RateLimit};

/// One public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Its name in logs and metrics, unique among all listeners.
    pub name: Located<String>,
    /// Where the public connects, with TLS always.
    pub listen: Located<Address>,
    /// PEM chain of the public certificate, end entity first; may hold the key too. It is none of our mesh identity.
    pub certificate: Located<PathBuf>,
    /// PEM private key; absent where `certificate` holds it.
    pub private_key: Option<Located<PathBuf>>,
    /// Whether clients may present a certificate, judged by `[trust]` and `[revocation]`; default none.
    pub client_auth: ClientAuth,
    /// `max-age` of `Strict-Transport-Security`; absent where none is sent, which is the default.
    pub hsts: Option<Duration>,
    /// Which pages of other origins may call; default none.
    pub cors: Option<Cors>,
    /// Proxies before us whose word on the client's address is taken; default none.
    pub trusted_proxies: Vec<IpRange>,
    /// Most bytes of a request's body; default 10 MiB. Absent where there is no bound.
    pub max_body: Option<u64>,
    /// Open connections of one client address, an IPv6 one by its first 64 bits; default 256.
    pub max_connections_per_address: u32,
    /// Requests of one client address; default no bound.
    pub rate_per_address: Option<Rate>,
    /// Requests of one user; default no bound.
    pub rate_per_user: Option<Rate>,
    /// Tokens of one client address that are not good; default 60 a minute.
    pub rate_of_bad_tokens: Option<Rate>,
    /// Where requests go, in the order in which they are tried.
    pub routes: Vec<EdgeRoute>,
}

const CLIENT_AUTHS: [(&str, ClientAuth); 2] = [("none", ClientAuth::None), ("optional", ClientAuth::Optional)];
/// What to write where a rate is none.
pub(super) const RATE_REMEDY: &str = "write a rate such as \"20/s\", \"100/m\" or \"20/s burst 50\", or \"off\"";
const MAX_BODY: u64 = 10 * 1024 * 1024;
const MAX_CONNECTIONS_PER_ADDRESS: u32 = 256;
const RATE_OF_BAD_TOKENS: &str = "60/m";
const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

pub(super) fn read(t: &mut TableReader<'_, '_, '_>, claims: &mut Claims) -> Option<Edge> {
    let name = read_name(t, claims);
    let listen = read_address(t, "listen", LISTEN_REMEDY);
    t.require("listen", "say where the public connects, such as listen = \"0.0.0.0:443\"");
    claims.listen(t.title(), listen.as_ref(), true);
    let certificate = t.path("certificate");
    t.require("certificate", "name the PEM file of the public certificate: an edge speaks TLS alone");
    let private_key = t.path("private_key");
    let client_auth = t.choice("client_auth", &CLIENT_AUTHS).map_or(ClientAuth::None, |choice| choice.value);
    let hsts = t.duration("hsts", Duration::ZERO..=YEARS).filter(|age| !age.is_zero());
    let cors = cors::read(t);
    let remedy = "write an IP address or a range such as \"10.0.0.0/8\"";
    let trusted_proxies = t.parsed_list::<IpRange>("trusted_proxies", remedy).unwrap_or_default();
    let max_body = read_max_body(t).unwrap_or(Some(MAX_BODY));
    let max_connections_per_address =
        t.integer("max_connections_per_address", 1..=1_000_000).unwrap_or(MAX_CONNECTIONS_PER_ADDRESS);
    let rate_per_address = read_rate(t, "rate_per_address").flatten();
    let rate_per_user = read_rate(t, "rate_per_user").flatten();
    let rate_of_bad_tokens = read_rate(t, "rate_of_bad_tokens")
        .unwrap_or_else(|| RATE_OF_BAD_TOKENS.parse::<RateLimit>().expect("a rate").0);
    let routes = t.sections("route", edge_route::read);
    if routes.is_empty() {
        let message = format!("{} has no [[edge.route]]: no request leads anywhere", t.title());
        t.warn(t.header(), message, "add an [[edge.route]] with name, paths and upstream");
    }
    Some(Edge {
        name: name?,
        listen: listen?,
        certificate: certificate?,
        private_key,
        client_auth,
        hsts,
        cors,
        trusted_proxies: trusted_proxies.into_iter().map(|range| range.value).collect(),
        max_body,
        max_connections_per_address,
        rate_per_address,
        rate_per_user,
        rate_of_bad_tokens,
        routes: routes.into_iter().collect::<Option<_>>()?,
    })
}

/// `max_body`, whose 0 is no bound; `None` where the key is absent.
#[expect(clippy::option_option, reason = "absent and without a bound are two things")]
pub(super) fn read_max_body(t: &mut TableReader<'_, '_, '_>) -> Option<Option<u64>> {
    t.integer("max_body", 0..=1_u64 << 40).map(|bytes| Some(bytes).filter(|bytes| *bytes != 0))
}

/// A rate; `None` where the key is absent.
#[expect(clippy::option_option, reason = "absent and off are two things")]
pub(super) fn read_rate(t: &mut TableReader<'_, '_, '_>, key: &'static str) -> Option<Option<Rate>> {
    t.parsed::<RateLimit>(key, RATE_REMEDY).map(|limit| limit.value.0)
}

/// What the tables that routes name are called.
pub(super) struct Known<'a> {
    pub(super) upstreams: &'a [&'a str],
    /// Absent where something is wrong before them.
    pub(super) issuers: Option<&'a [&'a str]>,
}

/// Reports what is wrong with the edges together with the tables that they name.
pub(super) fn check(t: &mut TableReader<'_, '_, '_>, edges: &[Edge], known: &Known<'_>) {
    for edge in edges {
        for (index, route) in edge.routes.iter().enumerate() {
            let thing = format!("edge {:?}: route {:?}", edge.name.value, route.name.value);
            check_route(t, &thing, route, known);
            let earlier = &edge.routes[..index];
            if let Some(same) = earlier.iter().find(|earlier| earlier.name.value == route.name.value) {
                let message = format!("{thing}: the name {:?} is taken by an earlier route", same.name.value);
                t.rule(Some(route.name.span.clone()), message, "give each route of a listener a name of its own");
            } else if let Some(shadow) = earlier.iter().find(|earlier| earlier.covers(route)) {
                let message = format!(
                    "{thing} is never used: the earlier route {:?} takes all of its requests",
                    shadow.name.value
                );
                t.rule(Some(route.name.span.clone()), message, "put it before that route, or remove it");
            }
        }
    }
}

fn check_route(t: &mut TableReader<'_, '_, '_>, thing: &str, route: &EdgeRoute, known: &Known<'_>) {
    check_name(t, &format!("{thing}: upstream"), "upstream", &route.upstream, known.upstreams);
    let Some(issuers) = known.issuers else { return };
    for issuer in &route.issuers {
        check_name(t, &format!("{thing}: issuers"), "issuer", issuer, issuers);
    }
    if !route.is_public && issuers.is_empty() {
        let message = format!("{thing} needs a user, but there is no [[issuer]] whose tokens could name one");
        let remedy = "add an [[issuer]], or write public = true if anybody may use it";
        t.rule(Some(route.name.span.clone()), message, remedy);
    }
}

fn check_name(t: &mut TableReader<'_, '_, '_>, thing: &str, table: &str, name: &Located<String>, known: &[&str]) {
    if known.contains(&name.value.as_str()) {
        return;
    }
    let remedy = match nearest(&name.value, known.iter().copied()) {
        Some(meant) => format!("write {meant:?}, or add an [[{table}]] of this name"),
        None => format!("add an [[{table}]] of this name"),
    };
    t.rule(Some(name.span.clone()), format!("{thing} names {:?}: there is no such [[{table}]]", name.value), remedy);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    const GOOD: &str = r#"
[identity]
certificate = "own.pem"
[trust]
anchors = ["ca.pem"]
[revocation]
sources = ["ca.crl"]
[[issuer]]
name = "market"
issuer = "https://issuer.example"
audiences = ["flea-market"]
algorithms = ["RS256"]
jwks_url = "https://issuer.example/jwks"
[[upstream]]
name = "ads"
connect_to = "adservice:8443"
[[edge]]
name = "public"
listen = "0.0.0.0:443"
certificate = "public.pem"
#keys
[[edge.route]]
name = "offer"
paths = ["/ads/{id}"]
methods = ["POST"]
upstream = "ads"
#route
"#;

    /// What is to say of the good file with one text in place of another.
    fn problems(from: &str, to: &str) -> Vec<String> {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replace(from, to);
        let list = match Config::parse_with(Path::new("edge.toml"), &text, &|_| None) {
            Ok((_, warnings)) => warnings,
            Err(problems) => problems.list,
        };
        list.into_iter().map(|problem| format!("{}; {}", problem.message, problem.remedy)).collect()
    }

    #[test]
    fn an_edge_alone_is_a_whole_configuration() {
        assert_eq!(problems("#keys", ""), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_about_an_edge_is_reported_with_its_remedy() {
        let route = "edge \"public\": route \"offer\"";
        let same = "[[edge.route]]\nname = \"offer\"\nhost = \"market.example\"\nupstream = \"ads\"";
        let shadowed = "[[edge.route]]\nname = \"late\"\nhost = \"market.example\"\npaths = [\"/ads/7\"]\nmethods = [\"POST\"]\nupstream = \"ads\"";
        for (from, to, problem) in [
            (
                "certificate = \"public.pem\"",
                "",
                "edge \"public\" has no \"certificate\"; name the PEM file of the public certificate: an edge speaks TLS alone".to_owned(),
            ),
            (
                "upstream = \"ads\"",
                "upstream = \"adds\"",
                format!("{route}: upstream names \"adds\": there is no such [[upstream]]; write \"ads\", or add an [[upstream]] of this name"),
            ),
            (
                "#route",
                "issuers = [\"firebase\"]",
                format!("{route}: issuers names \"firebase\": there is no such [[issuer]]; add an [[issuer]] of this name"),
            ),
            (
                "#route",
                "public = true\nclaims = { role = \"seller\" }",
                format!("{route}: claims does not apply to a public route, which needs no user; remove it, or remove public = true"),
            ),
            (
                "#route",
                "host = \"https://market.example\"",
                format!("{route}: host: \"https://market.example\" is no host: expected a DNS name, \"*.domain\" or an IP address, without a port; write a DNS name such as \"market.example\" or \"*.market.example\""),
            ),
            (
                "#route",
                "rate = \"20\"",
                format!("{route}: rate: \"20\" is no rate: expected a number from 1 to 1000000 for each s, m or h, or \"off\"; {}", super::RATE_REMEDY),
            ),
            ("#route", same, format!("{route}: the name \"offer\" is taken by an earlier route; give each route of a listener a name of its own")),
            (
                "#route",
                shadowed,
                "edge \"public\": route \"late\" is never used: the earlier route \"offer\" takes all of its requests; put it before that route, or remove it".to_owned(),
            ),
            (
                "#keys",
                "client_auth = \"required\"",
                "edge \"public\": client_auth is \"required\": expected \"none\" or \"optional\"; write \"none\" or \"optional\"".to_owned(),
            ),
            (
                "#keys",
                "cors_origins = [\"*\"]",
                "edge \"public\": cors_origins: \"*\" is no origin: expected one such as \"https://market.example\"; write scheme and host, and a port that is not the scheme's own, such as \"https://market.example\"".to_owned(),
            ),
            (
                "#keys",
                "trusted_proxies = [\"10.0.0.1/8\"]",
                "edge \"public\": trusted_proxies: \"10.0.0.1/8\" has bits set behind its first 8: the range begins at 10.0.0.0; write an IP address or a range such as \"10.0.0.0/8\"".to_owned(),
            ),
            (
                "[[edge]]",
                "[[upstream]]\nname = \"users\"\nconnect_to = \"userservice:8443\"\n[[edge]]",
                "upstream \"users\" is never used: no [[edge.route]] leads to it; remove it, or name it in a route".to_owned(),
            ),
        ] {
            let found = problems(from, to);
            assert!(found.contains(&problem), "{to}: {found:#?}");
        }
        let issuer =
            GOOD.split_once("[[issuer]]").and_then(|(_, rest)| rest.split_once("[[upstream]]")).expect("there").0;
        let missing = format!(
            "{route} needs a user, but there is no [[issuer]] whose tokens could name one; add an [[issuer]], or write public = true if anybody may use it"
        );
        assert_eq!(problems(&format!("[[issuer]]{issuer}"), ""), [missing]);
    }
}
