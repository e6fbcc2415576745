//! `[[edge.route]]`: which requests of a public listener go where, and who may make them.

use crate::policy::{ClaimRules, HostPattern, Methods, PathPattern, RequestPath};

use super::access::{read_claims, read_methods, read_name, read_paths, refuse_empty_list};
use super::edge::{read_max_body, read_rate};
use super::reader::TableReader;
use super::{Located, Rate};

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeRoute {
    /// Its name in logs and metrics, unique in its listener.
    pub name: Located<String>,
    /// The host of its requests; absent for any.
    pub host: Option<HostPattern>,
    /// Their paths; empty for any.
    pub paths: Vec<PathPattern>,
    /// Their methods; default any.
    pub methods: Methods,
    /// The name of the `[[upstream]]` that they go to.
    pub upstream: Located<String>,
    /// Whether no user is needed; default false.
    pub is_public: bool,
    /// The names of the issuers whose users may come; empty for any.
    pub issuers: Vec<Located<String>>,
    /// What the claims of the user have to say; default nothing.
    pub claims: ClaimRules,
    /// Whether `Authorization` is passed on inward; default false.
    pub forward_token: bool,
    /// Requests of all clients together; default no bound.
    pub rate: Option<Rate>,
    /// Most bytes of a request's body, in place of the listener's; `Some(None)` is no bound.
    pub max_body: Option<Option<u64>>,
}

impl EdgeRoute {
    /// True where every request of another route behind this one comes to this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let host = match (&self.host, &other.host) {
            (None, _) => true,
            (Some(own), Some(other)) => own.covers(other),
            (Some(_), None) => false,
        };
        host && covers_methods(&self.methods, &other.methods) && covers_paths(&self.paths, &other.paths)
    }
}

fn covers_methods(own: &Methods, other: &Methods) -> bool {
    own.names().is_empty() || (!other.names().is_empty() && other.names().iter().all(|name| own.contain(name.as_str())))
}

fn covers_paths(own: &[PathPattern], other: &[PathPattern]) -> bool {
    let covers =
        |path: &str| RequestPath::parse(path).is_ok_and(|path| own.iter().any(|pattern| pattern.matches(&path)));
    own.is_empty() || (!other.is_empty() && other.iter().all(|pattern| covers(&sample_of(pattern))))
}

/// A path that the pattern means, and that no pattern means which means less: templates stand as they are, which no path of a client
/// has to be, and what a `*` stands for is deeper than what templates could reach.
fn sample_of(pattern: &PathPattern) -> String {
    let text = pattern.to_string();
    text.strip_suffix('*').map_or_else(|| text.clone(), |prefix| prefix.to_owned() + &"{}/".repeat(64) + "{}")
}

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Option<EdgeRoute> {
    let name = read_name(t, "ads");
    let host = t.parsed::<HostPattern>("host", "write a DNS name such as \"market.example\" or \"*.market.example\"");
    let paths = read_paths(t);
    let methods = read_methods(t);
    let upstream = t.string("upstream");
    t.require("upstream", "name the [[upstream]] that its requests go to");
    let public = t.boolean("public");
    let is_public = public.as_ref().is_some_and(|public| public.value);
    let issuers = t.list("issuers", |_, _, text| Some(text.value.clone())).unwrap_or_default();
    refuse_empty_list(t, "issuers", "list the names of [[issuer]] tables, or remove it for any");
    let claims = read_claims(t);
    if is_public {
        for key in ["issuers", "claims"] {
            if let Some(span) = t.whole_span(key) {
                let message = format!("{} does not apply to a public route, which needs no user", t.thing(key));
                t.rule(Some(span), message, "remove it, or remove public = true");
            }
        }
    }
    let forward_token = t.boolean("forward_token").is_some_and(|found| found.value);
    let rate = read_rate(t, "rate").flatten();
    let max_body = read_max_body(t);
    Some(EdgeRoute {
        name: name?,
        host: host.map(|host| host.value),
        paths,
        methods,
        upstream: upstream?,
        is_public,
        issuers,
        claims,
        forward_token,
        rate,
        max_body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Vec<PathPattern> {
        list.iter().map(|text| text.parse().expect("valid")).collect()
    }

    #[test]
    fn patterns_cover_what_means_no_more() {
        for (own, other) in [
            (&[][..], &["/ads"][..]),
            (&["/*"], &["/ads", "/ads/{id}", "/ads/*"]),
            (&["/ads/*"], &["/ads/{id}", "/ads/{id}/x", "/ads/new"]),
            (&["/ads/{id}"], &["/ads/new", "/ads/{other}"]),
            (&["/ads"], &["/ads"]),
        ] {
            assert!(covers_paths(&patterns(own), &patterns(other)), "{own:?} {other:?}");
        }
        for (own, other) in [
            (&["/*"][..], &[][..]),
            (&["/ads"], &["/ads", "/users"]),
            (&["/ads/new"], &["/ads/{id}"]),
            (&["/ads/{id}", "/ads/{id}/{part}"], &["/ads/*"]),
            (&["/ads/*"], &["/*"]),
        ] {
            assert!(!covers_paths(&patterns(own), &patterns(other)), "{own:?} {other:?}");
        }
    }
}
