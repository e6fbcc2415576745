//! Who may do what: the one place where access is decided. It reads nothing and asks nobody.
//!
//! Whatever is forwarded takes a [`Permit`], which only this module can make.

mod claims;
mod edge;
mod explain;
mod host;
mod method;
mod path;
mod path_index;
mod peer_list;
mod rule;

pub use claims::{ClaimRule, ClaimRules, ClaimValue};
pub use edge::{RouteAccess, RouteDenial};
pub use explain::{Explanation, RuleVerdict};
pub use host::{HostPattern, HostPatternError, host_of};
pub use method::{MethodName, MethodNameError, Methods};
pub use path::{AmbiguousPath, PathPattern, PathPatternError, RequestPath};
pub use rule::{Action, Mismatch, RequestRule};

use std::fmt;
use std::sync::Arc;

use crate::identity::{PeerIdentity, PeerPattern, User};

use peer_list::PeerList;
use rule::{Judged, RuleSet};

/// The most bytes of a request's target that a denial tells of.
const MAX_TOLD: usize = 200;

/// What one listener lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Who may call at all.
    allow: PeerList,
    /// Who may say who the end user is.
    user_from: PeerList,
    /// What decides each request; absent where the allow list alone does.
    rules: Option<RuleSet>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    /// Who asks.
    pub peer: &'a PeerIdentity,
    /// Its certificate was revoked since its handshake, or whether it was is no longer known.
    pub is_withdrawn: bool,
    /// The request; absent for a connection as such, which is let in where any request could be.
    pub request: Option<RequestFacts<'a>>,
    /// The end user on whose behalf it is, where somebody who may say so did.
    pub user: Option<&'a User>,
}

/// What rules look at of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// Its method, as it was received.
    pub method: &'a str,
    /// Its path without the query, as it was received.
    pub path: &'a str,
}

/// The right to forward one connection or request. It can only be had from [`Policy::authorize`] or, for what the local
/// service sends out itself, from [`Permit::for_local_service`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a permit that is not used forwards nothing"]
pub struct Permit {
    rule: Option<Arc<str>>,
}

/// Why access is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Who asked.
    pub peer: String,
    /// What was asked for, such as `GET /ads`, cut where it is long; absent where it does not matter.
    pub request: Option<String>,
    /// The rule that decided.
    pub rule: Rule,
    /// The name of the listener's rule that decided, where one did.
    pub name: Option<Arc<str>>,
}

/// Which rule denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The peer's certificate was withdrawn since its handshake.
    CertificateWithdrawn,
    /// The allow list is empty, so nobody may call.
    NobodyAllowed,
    /// The peer is on the allow list under no name that it proved.
    NotOnAllowList,
    /// A caller without a certificate, and `anonymous` is not on the allow list.
    AnonymousNotAllowed,
    /// There are rules about requests, and none that allows could ever match one of this peer.
    NoRuleForPeer,
    /// The path can be taken for two different ones, and there are rules about paths.
    AmbiguousPath(AmbiguousPath),
    /// The first rule that matches the request denies it.
    DeniedByRule,
    /// There are rules about requests, and none matches this one.
    NoRuleMatches,
}

impl Policy {
    /// The policy of an allow list. An empty one admits nobody.
    pub fn allowing(allow: &[PeerPattern]) -> Self {
        Self::new(allow, &[], &[])
    }

    /// The policy of an allow list, of rules about the requests of those whom it admits, and of those who may say who the end
    /// user is. Without any rule the allow list decides alone; with one, whatever no rule allows is denied.
    pub fn new(allow: &[PeerPattern], rules: &[RequestRule], user_from: &[PeerPattern]) -> Self {
        Self {
            allow: PeerList::of(allow),
            user_from: PeerList::of(user_from),
            rules: (!rules.is_empty()).then(|| RuleSet::new(rules)),
        }
    }

    /// Decides. The same function judges live connections again when the policy changes.
    ///
    /// # Errors
    /// The rule that denies.
    pub fn authorize(&self, request: AccessRequest<'_>) -> Result<Permit, Denial> {
        if self.allow.contains(request.peer) && !request.is_withdrawn {
            return match &self.rules {
                None => Ok(Permit { rule: None }),
                Some(rules) => decide(rules, request),
            };
        }
        let rule = match request.peer {
            _ if request.is_withdrawn => Rule::CertificateWithdrawn,
            _ if self.allow.is_empty() => Rule::NobodyAllowed,
            PeerIdentity::Anonymous => Rule::AnonymousNotAllowed,
            PeerIdentity::Authenticated(_) => Rule::NotOnAllowList,
        };
        Err(Denial { peer: request.peer.to_string(), request: None, rule, name: None })
    }

    /// Whether a peer may say who the end user is. What anybody else says of it is removed.
    pub fn believes_of_users(&self, peer: &PeerIdentity) -> bool {
        !self.user_from.is_empty() && self.user_from.contains(peer)
    }
}

/// Decides about a request of a peer on the allow list: the first rule that matches does, and where none matches it is denied.
fn decide(rules: &RuleSet, AccessRequest { peer, request, user, .. }: AccessRequest<'_>) -> Result<Permit, Denial> {
    let deny = |rule, name: Option<&Arc<str>>| {
        let what = request.map(|RequestFacts { method, path }| told(&format!("{method} {path}")));
        Err(Denial { peer: peer.to_string(), request: what, rule, name: name.cloned() })
    };
    let Some(RequestFacts { method, path }) = request else {
        return if rules.could_admit(peer) { Ok(Permit { rule: None }) } else { deny(Rule::NoRuleForPeer, None) };
    };
    let path = match RequestPath::parse(path) {
        Ok(path) => path,
        Err(why) if rules.looks_at_paths() => return deny(Rule::AmbiguousPath(why), None),
        // No rule looks at it.
        Err(_) => RequestPath::unseen(),
    };
    match rules.first_match(Judged { peer, method, path: &path, user }) {
        Some(RequestRule { action: Action::Allow, name, .. }) => Ok(Permit { rule: Some(Arc::clone(name)) }),
        Some(RequestRule { action: Action::Deny, name, .. }) => deny(Rule::DeniedByRule, Some(name)),
        None if rules.could_admit(peer) => deny(Rule::NoRuleMatches, None),
        None => deny(Rule::NoRuleForPeer, None),
    }
}

/// The beginning of a text that a peer chose, without what a terminal would obey.
fn told(text: &str) -> String {
    let mut told: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(MAX_TOLD).collect();
    if told.len() < text.len() {
        told.push_str("...");
    }
    told
}

impl Permit {
    /// The local service may send out whatever its outbound listeners carry: they are reachable for it alone, and the peer
    /// decides about us.
    pub fn for_local_service() -> Self {
        Self { rule: None }
    }

    /// The name of the listener's rule that allowed it; absent where the allow list alone decided.
    pub fn rule(&self) -> Option<&Arc<str>> {
        self.rule.as_ref()
    }
}

impl Rule {
    /// A short fixed name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::CertificateWithdrawn => "certificate_withdrawn",
            Self::NobodyAllowed => "nobody_allowed",
            Self::NotOnAllowList => "not_on_allow_list",
            Self::AnonymousNotAllowed => "anonymous_not_allowed",
            Self::NoRuleForPeer => "no_rule_for_peer",
            Self::AmbiguousPath(_) => "ambiguous_path",
            Self::DeniedByRule => "denied_by_rule",
            Self::NoRuleMatches => "no_rule_matches",
        }
    }

    /// Whether it denied one request to a peer that may make others.
    pub fn is_about_one_request(self) -> bool {
        matches!(self, Self::AmbiguousPath(_) | Self::DeniedByRule | Self::NoRuleMatches)
    }

    /// What the reader can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::CertificateWithdrawn => "the peer's CA revoked it, or its CRL has expired; the log tells which",
            Self::NobodyAllowed => "the listener's allow list is empty; add the identities that may call",
            Self::NotOnAllowList => "add this identity to the listener's allow list if it should call",
            Self::AnonymousNotAllowed => "give the caller a certificate, or add \"anonymous\" to the allow list",
            Self::NoRuleForPeer => {
                "add a rule for this identity if it should call; an anonymous caller has to be named"
            }
            Self::AmbiguousPath(_) => "let the caller send the path in its plain form",
            Self::DeniedByRule | Self::NoRuleMatches => {
                "\"mantlet policy explain\" tells of each rule why it does or does not match; the first that does decides"
            }
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, request, name, .. } = self;
        let (what, name) = (request.as_deref().unwrap_or("anything"), name.as_deref().unwrap_or_default());
        match self.rule {
            Rule::CertificateWithdrawn => write!(f, "the certificate of {peer} was withdrawn since its handshake"),
            Rule::NobodyAllowed => write!(f, "{peer} is refused because the allow list is empty"),
            Rule::NotOnAllowList => write!(f, "{peer} is not on the allow list"),
            Rule::AnonymousNotAllowed => f.write_str("a caller without a certificate is not on the allow list"),
            Rule::NoRuleForPeer => write!(f, "no rule allows anything to {peer}"),
            Rule::AmbiguousPath(why) => write!(f, "the path is ambiguous: it has {why}"),
            Rule::DeniedByRule => write!(f, "the rule \"{name}\" denies {what} to {peer}"),
            Rule::NoRuleMatches => write!(f, "no rule allows {what} to {peer}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ProvenNames;

    fn policy(allow: &[&str]) -> Policy {
        Policy::allowing(&allow.iter().map(|text| text.parse().expect("valid")).collect::<Vec<_>>())
    }

    fn rule(policy: &Policy, peer: &PeerIdentity) -> Option<Rule> {
        policy
            .authorize(AccessRequest { peer, is_withdrawn: false, request: None, user: None })
            .err()
            .map(|denial| denial.rule)
    }

    fn spiffe(id: &str) -> PeerIdentity {
        PeerIdentity::Authenticated(ProvenNames { spiffe_id: Some(id.parse().expect("valid")), ..Default::default() })
    }

    #[test]
    fn an_empty_list_admits_nobody() {
        for peer in [spiffe("spiffe://fm/ads"), PeerIdentity::Anonymous] {
            assert_eq!(rule(&policy(&[]), &peer), Some(Rule::NobodyAllowed));
        }
    }

    #[test]
    fn only_listed_identities_are_admitted() {
        let policy = policy(&["spiffe://fm/gateway", "spiffe://fm/batch/*"]);
        assert_eq!(rule(&policy, &spiffe("spiffe://fm/gateway")), None);
        assert_eq!(rule(&policy, &spiffe("spiffe://fm/batch/nightly")), None);
        assert_eq!(rule(&policy, &spiffe("spiffe://fm/ads")), Some(Rule::NotOnAllowList));
        assert_eq!(rule(&policy, &PeerIdentity::Anonymous), Some(Rule::AnonymousNotAllowed));
    }

    #[test]
    fn anonymous_admits_those_without_a_certificate_and_no_one_else() {
        let policy = policy(&["anonymous"]);
        assert_eq!(rule(&policy, &PeerIdentity::Anonymous), None);
        assert_eq!(rule(&policy, &spiffe("spiffe://fm/ads")), Some(Rule::NotOnAllowList));
    }

    fn toml_like(name: &str, action: Action, from: Option<&[&str]>, methods: &[&str], paths: &[&str]) -> RequestRule {
        RequestRule {
            name: name.into(),
            action,
            from: from.map(|from| from.iter().map(|text| text.parse().expect("valid")).collect()),
            methods: Methods::listed(methods.iter().map(|text| text.parse().expect("valid")).collect()),
            paths: paths.iter().map(|text| text.parse().expect("valid")).collect(),
            needs_user: false,
            claims: ClaimRules::default(),
        }
    }

    fn judge(policy: &Policy, peer: &PeerIdentity, method: &str, path: &str) -> Result<Option<String>, Rule> {
        let request = Some(RequestFacts { method, path });
        let judged = policy.authorize(AccessRequest { peer, is_withdrawn: false, request, user: None });
        judged.map(|permit| permit.rule().map(ToString::to_string)).map_err(|denial| denial.rule)
    }

    fn with_rules(rules: &[RequestRule]) -> Policy {
        let allow = ["spiffe://fm/*", "anonymous"].map(|text| text.parse().expect("valid"));
        Policy::new(&allow, rules, &[])
    }

    #[test]
    fn with_any_rule_whatever_no_rule_allows_is_denied() {
        let policy = with_rules(&[toml_like("read", Action::Allow, None, &["GET"], &["/ads"])]);
        let gateway = spiffe("spiffe://fm/gateway");
        assert_eq!(judge(&policy, &gateway, "GET", "/ads"), Ok(Some("read".into())));
        for (method, path) in [("POST", "/ads"), ("get", "/ads"), ("GET", "/ads/"), ("GET", "/users")] {
            assert_eq!(judge(&policy, &gateway, method, path), Err(Rule::NoRuleMatches), "{method} {path}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let deny = toml_like("no admin", Action::Deny, None, &[], &["/ads/admin/*"]);
        let allow = toml_like("all", Action::Allow, None, &[], &["/ads/*"]);
        let gateway = spiffe("spiffe://fm/gateway");
        let first_denies = with_rules(&[deny.clone(), allow.clone()]);
        assert_eq!(judge(&first_denies, &gateway, "GET", "/ads/admin/x"), Err(Rule::DeniedByRule));
        assert_eq!(judge(&first_denies, &gateway, "GET", "/ads/7"), Ok(Some("all".into())));
        let first_allows = with_rules(&[allow, deny]);
        assert_eq!(judge(&first_allows, &gateway, "GET", "/ads/admin/x"), Ok(Some("all".into())));
    }

    #[test]
    fn what_is_denied_is_denied_in_every_spelling_that_a_careless_service_takes() {
        let policy = with_rules(&[
            toml_like("no admin", Action::Deny, None, &["DELETE"], &["/admin/*"]),
            toml_like("all", Action::Allow, None, &[], &["/*"]),
        ]);
        let gateway = spiffe("spiffe://fm/gateway");
        for path in ["/admin", "/admin/", "/Admin/x", "/ADMIN/x/", "/%61dmin/x"] {
            assert_eq!(judge(&policy, &gateway, "delete", path), Err(Rule::DeniedByRule), "{path}");
        }
        assert_eq!(judge(&policy, &gateway, "GET", "/admin/x"), Ok(Some("all".into())));
    }

    #[test]
    fn an_anonymous_caller_matches_only_rules_that_name_it() {
        let policy = with_rules(&[
            toml_like("health", Action::Allow, Some(&["anonymous"]), &["GET"], &["/healthz"]),
            toml_like("all", Action::Allow, None, &[], &[]),
        ]);
        assert_eq!(judge(&policy, &PeerIdentity::Anonymous, "GET", "/healthz"), Ok(Some("health".into())));
        assert_eq!(judge(&policy, &PeerIdentity::Anonymous, "GET", "/ads"), Err(Rule::NoRuleMatches));
        assert_eq!(judge(&policy, &spiffe("spiffe://fm/gateway"), "GET", "/ads"), Ok(Some("all".into())));
    }

    #[test]
    fn an_ambiguous_path_is_refused_where_any_rule_looks_at_paths() {
        let ambiguous = Rule::AmbiguousPath(AmbiguousPath::DotSegment);
        let gateway = spiffe("spiffe://fm/gateway");
        let looking = with_rules(&[toml_like("all", Action::Allow, None, &[], &["/*"])]);
        assert_eq!(judge(&looking, &gateway, "GET", "/a/../b"), Err(ambiguous));
        let not_looking = with_rules(&[toml_like("read", Action::Allow, None, &["GET"], &[])]);
        assert_eq!(judge(&not_looking, &gateway, "GET", "/a/../b"), Ok(Some("read".into())));
        assert_eq!(judge(&not_looking, &gateway, "POST", "/a/../b"), Err(Rule::NoRuleMatches));
    }

    #[test]
    fn a_connection_is_let_in_where_a_rule_could_allow_one_of_its_requests() {
        let policy = with_rules(&[
            toml_like("no", Action::Deny, None, &[], &[]),
            toml_like("ads", Action::Allow, Some(&["spiffe://fm/ads"]), &[], &["/x"]),
        ]);
        assert_eq!(rule(&policy, &spiffe("spiffe://fm/ads")), None);
        assert_eq!(rule(&policy, &spiffe("spiffe://fm/users")), Some(Rule::NoRuleForPeer));
        assert_eq!(rule(&policy, &PeerIdentity::Anonymous), Some(Rule::NoRuleForPeer));
        assert_eq!(rule(&policy, &spiffe("spiffe://other/ads")), Some(Rule::NotOnAllowList));
    }

    #[test]
    fn a_denial_tells_the_rule_and_the_request_within_bounds() {
        let policy = with_rules(&[toml_like("no", Action::Deny, None, &[], &[])]);
        let (peer, path) = (spiffe("spiffe://fm/ads"), format!("/{}", "x".repeat(10_000)));
        let request = |path| Some(RequestFacts { method: "GET", path });
        let denial = |path| {
            let asked = AccessRequest { peer: &peer, is_withdrawn: false, request: request(path), user: None };
            policy.authorize(asked).expect_err("denied").to_string()
        };
        assert_eq!(denial("/a\u{1b}"), "the rule \"no\" denies GET /a\u{fffd} to spiffe://fm/ads");
        assert!(denial(&path).len() < 300, "{}", denial(&path));
    }
}
