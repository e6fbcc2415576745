//! Rules about requests: what one of them says, and which of many is the first to match.

use std::fmt;
use std::sync::Arc;

use crate::identity::{PeerIdentity, PeerPattern, User};

use super::path_index::PathIndex;
use super::peer_list::PeerList;
use super::{ClaimRules, Methods, PathPattern, RequestPath};

/// What a rule does with the requests that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Lets them in.
    #[default]
    Allow,
    /// Refuses them.
    Deny,
}

/// One rule about requests. It matches those of which everything that it asks holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRule {
    /// Its name in logs and answers.
    pub name: Arc<str>,
    /// What it does; default allow.
    pub action: Action,
    /// The callers; absent for every caller with a certificate. Never empty.
    pub from: Option<Vec<PeerPattern>>,
    /// The methods; default any.
    pub methods: Methods,
    /// The paths; empty for any.
    pub paths: Vec<PathPattern>,
    /// Whether there has to be an end user; default not. Claims need one in any case.
    pub needs_user: bool,
    /// What the claims of the end user have to say; default nothing.
    pub claims: ClaimRules,
}

/// Why a rule does not match a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// It is about other callers.
    Caller,
    /// It is about other methods.
    Method,
    /// It is about other paths.
    Path,
    /// It needs an end user, and there is none.
    NoUser,
    /// A claim has to say this, and does not.
    Claim(String),
}

/// A request as rules look at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged<'a> {
    pub(super) peer: &'a PeerIdentity,
    pub(super) method: &'a str,
    pub(super) path: &'a RequestPath<'a>,
    pub(super) user: Option<&'a User>,
}

/// The rules of one listener, of which the first that matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuleSet {
    rules: Vec<Ready>,
    by_path: PathIndex,
    looks_at_paths: bool,
    /// Those to whom some rule could allow something.
    admissible: PeerList,
    /// Whether these are all callers with a certificate.
    admits_authenticated: bool,
}

/// A rule with its callers looked up at once.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ready {
    rule: RequestRule,
    from: Option<PeerList>,
}

impl RuleSet {
    pub(super) fn new(rules: &[RequestRule]) -> Self {
        let allowing = || rules.iter().filter(|rule| rule.action == Action::Allow);
        Self {
            by_path: PathIndex::of(rules),
            looks_at_paths: rules.iter().any(|rule| !rule.paths.is_empty()),
            admissible: PeerList::of(allowing().filter_map(|rule| rule.from.as_ref()).flatten()),
            admits_authenticated: allowing().any(|rule| rule.from.is_none()),
            rules: rules
                .iter()
                .map(|rule| Ready { rule: rule.clone(), from: rule.from.as_ref().map(PeerList::of) })
                .collect(),
        }
    }

    /// Every rule, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RequestRule> {
        self.rules.iter().map(|ready| &ready.rule)
    }

    /// Whether any rule looks at paths, so that it matters what a path is taken for.
    pub(super) fn looks_at_paths(&self) -> bool {
        self.looks_at_paths
    }

    /// Whether some rule could allow something to a peer.
    pub(super) fn could_admit(&self, peer: &PeerIdentity) -> bool {
        (self.admits_authenticated && is_authenticated(peer)) || self.admissible.contains(peer)
    }

    /// The first rule that matches. Only rules about the request's path, and those about any, are tried.
    pub(super) fn first_match(&self, request: Judged<'_>) -> Option<&RequestRule> {
        let mut first = None;
        self.by_path.visit(request.path, &mut |numbers| {
            let earlier = numbers.iter().take_while(|number| first.is_none_or(|first| **number < first));
            if let Some(number) = earlier.copied().find(|number| self.rules[*number].matches_at_path(request)) {
                first = Some(number);
            }
        });
        first.map(|number| &self.rules[number].rule)
    }
}

impl Ready {
    /// Whether everything but the path, at which the rule was found, is as the rule asks.
    fn matches_at_path(&self, Judged { peer, method, user, .. }: Judged<'_>) -> bool {
        let RequestRule { needs_user, claims, .. } = &self.rule;
        self.from.as_ref().map_or_else(|| is_authenticated(peer), |from| from.contains(peer))
            && self.rule.is_about_method(method)
            && match user {
                Some(user) => claims.hold_for(&user.claims),
                None => !needs_user && claims.is_empty(),
            }
    }
}

impl RequestRule {
    /// Whether it asks anything of the end user.
    pub fn asks_for_user(&self) -> bool {
        self.needs_user || !self.claims.is_empty()
    }

    /// Everything that keeps the rule from matching; nothing where it matches. It says at length what [`RuleSet::first_match`]
    /// asks in short.
    pub(super) fn mismatches(&self, request: Judged<'_>) -> Vec<Mismatch> {
        let is_from = match &self.from {
            Some(from) => from.iter().any(|pattern| pattern.matches(request.peer)),
            None => is_authenticated(request.peer),
        };
        let is_about_path =
            self.paths.is_empty() || self.paths.iter().any(|path| self.is_about_path(path, request.path));
        let mut mismatches = Vec::new();
        mismatches.extend((!is_from).then_some(Mismatch::Caller));
        mismatches.extend((!self.is_about_method(request.method)).then_some(Mismatch::Method));
        mismatches.extend((!is_about_path).then_some(Mismatch::Path));
        match request.user {
            None => mismatches.extend(self.asks_for_user().then_some(Mismatch::NoUser)),
            Some(user) => {
                let unmet = self.claims.all().iter().filter(|claim| !claim.holds_for(&user.claims));
                mismatches.extend(unmet.map(|claim| Mismatch::Claim(claim.to_string())));
            }
        }
        mismatches
    }

    /// What is denied is denied to those, too, who spell it as a careless service would understand it.
    fn is_about_path(&self, pattern: &PathPattern, path: &RequestPath<'_>) -> bool {
        match self.action {
            Action::Allow => pattern.matches(path),
            Action::Deny => pattern.resembles(path),
        }
    }

    fn is_about_method(&self, method: &str) -> bool {
        match self.action {
            Action::Allow => self.methods.contain(method),
            Action::Deny => self.methods.resemble(method),
        }
    }
}

fn is_authenticated(peer: &PeerIdentity) -> bool {
    matches!(peer, PeerIdentity::Authenticated(_))
}

impl Action {
    /// Its name in the file: `allow` or `deny`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => f.write_str("other callers"),
            Self::Method => f.write_str("other methods"),
            Self::Path => f.write_str("other paths"),
            Self::NoUser => f.write_str("no user"),
            Self::Claim(needed) => write!(f, "not {needed}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::{ClaimRule, ClaimValue};
    use super::*;
    use crate::identity::ProvenNames;

    fn peer(name: &str) -> PeerIdentity {
        match name {
            "anonymous" => PeerIdentity::Anonymous,
            _ => PeerIdentity::Authenticated(ProvenNames {
                spiffe_id: Some(format!("spiffe://fm/{name}").parse().expect("valid")),
                ..Default::default()
            }),
        }
    }

    fn ann(role: &str) -> User {
        let claims = json!({ "role": role }).as_object().expect("an object").clone();
        User { issuer: "https://issuer".into(), subject: "ann".into(), claims }
    }

    /// A few names each, so that rules often overlap.
    fn rules() -> impl Strategy<Value = Vec<RequestRule>> {
        let from = prop::option::of(prop::sample::select(vec!["spiffe://fm/a", "spiffe://fm/*", "anonymous"]));
        let method = prop::option::of(prop::sample::select(vec!["GET", "POST"]));
        let path =
            "(/(a|b|\\{x\\})){0,2}(/|/\\*)?".prop_filter_map("a pattern", |text| text.parse::<PathPattern>().ok());
        let user = (any::<bool>(), prop::option::of(prop::sample::select(vec!["seller", "buyer"])));
        let rule = (any::<bool>(), from, method, prop::collection::vec(path, 0..3), user).prop_map(
            |(denies, from, method, paths, (needs_user, role))| RequestRule {
                name: "r".into(),
                action: if denies { Action::Deny } else { Action::Allow },
                from: from.map(|pattern| vec![pattern.parse().expect("valid")]),
                methods: Methods::listed(method.map(|name| name.parse().expect("valid")).into_iter().collect()),
                paths,
                needs_user,
                claims: ClaimRules::new(
                    role.map(|role| ClaimRule {
                        path: vec!["role".into()],
                        one_of: vec![ClaimValue::Text(role.to_owned())],
                    })
                    .into_iter()
                    .collect(),
                ),
            },
        );
        prop::collection::vec(rule, 0..12).prop_map(|mut rules| {
            for (number, rule) in rules.iter_mut().enumerate() {
                rule.name = number.to_string().into();
            }
            rules
        })
    }

    proptest! {
        #[test]
        fn the_rule_that_is_looked_up_is_the_first_of_which_nothing_is_otherwise(
            rules in rules(),
            caller in prop::sample::select(vec!["a", "b", "anonymous"]),
            method in prop::sample::select(vec!["GET", "POST", "post"]),
            path in "(/[abAB]){0,2}/?",
            role in prop::option::of(prop::sample::select(vec!["seller", "x"])),
        ) {
            let (peer, user) = (peer(caller), role.map(ann));
            let path = RequestPath::parse(&path).expect("unambiguous");
            let request = Judged { peer: &peer, method, path: &path, user: user.as_ref() };
            let set = RuleSet::new(&rules);
            let first = rules.iter().find(|rule| rule.mismatches(request).is_empty());
            prop_assert_eq!(set.first_match(request), first);
            if first.is_some_and(|rule| rule.action == Action::Allow) {
                prop_assert!(set.could_admit(&peer));
            }
        }
    }
}
