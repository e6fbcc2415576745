//! `[[inbound.rule]]`: what decides each request of the callers that an inbound listener lets in.

use crate::identity::{PeerIdentity, PeerPattern, ProvenNames};
use crate::policy::{Action, RequestRule};

use super::access::{self, refuse_empty_list};
use super::inbound::PATTERN_REMEDY;
use super::reader::TableReader;
use super::{ClientAuth, Located};

const ACTIONS: [(&str, Action); 2] = [("allow", Action::Allow), ("deny", Action::Deny)];

/// Reads every rule of a listener and who may say who the end user is. A rule that is unusable is `None`.
pub(super) fn read_all(
    t: &mut TableReader<'_, '_, '_>,
    client_auth: ClientAuth,
    allow: &[PeerPattern],
) -> (Vec<Option<RequestRule>>, Vec<PeerPattern>) {
    let user_from = read_user_from(t, allow);
    let mut names: Vec<Located<String>> = Vec::new();
    let mut before: Option<String> = None;
    let rules = t.sections("rule", |t| {
        let rule = read(t, client_auth, allow, !user_from.is_empty(), &mut names)?;
        if let Some(name) = before.as_ref().filter(|_| !names_anonymous(&rule)) {
            let message = format!("{} is never asked: the rule {name:?} before it decides everything", t.title());
            t.warn(t.header(), message, "move it up, or remove one of the two");
        } else if decides_everything(&rule) {
            before = Some(rule.name.to_string());
        }
        Some(rule)
    });
    if t.is_empty_list("rule") {
        refuse_empty_list(t, "rule", "write [[inbound.rule]] tables, or remove it to let the allow list decide alone");
    }
    if !rules.is_empty() && rules.iter().all(|rule| rule.as_ref().is_some_and(|rule| rule.action == Action::Deny)) {
        let message = format!("{} has no rule that allows anything: every request is denied", t.title());
        t.warn(t.header(), message, "add an [[inbound.rule]] that allows, after those that deny");
    }
    (rules, user_from)
}

fn read_user_from(t: &mut TableReader<'_, '_, '_>, allow: &[PeerPattern]) -> Vec<PeerPattern> {
    let patterns = t.parsed_list::<PeerPattern>("user_from", PATTERN_REMEDY).unwrap_or_default();
    for pattern in &patterns {
        if pattern.value == PeerPattern::Anonymous {
            let message = format!("{} lists \"anonymous\": anybody could say who the user is", t.thing("user_from"));
            t.error(Some(pattern.span.clone()), message, "list the identities of your edge, or remove it");
        }
    }
    warn_of_strangers(t, "user_from", &patterns, allow);
    patterns.into_iter().map(|pattern| pattern.value).collect()
}

fn read(
    t: &mut TableReader<'_, '_, '_>,
    client_auth: ClientAuth,
    allow: &[PeerPattern],
    has_users: bool,
    names: &mut Vec<Located<String>>,
) -> Option<RequestRule> {
    let name = access::read_name(t, "read ads");
    if let Some(name) = &name {
        if names.contains(name) {
            let message = format!("the name {:?} is taken by an earlier rule of this listener", name.value);
            t.rule(Some(name.span.clone()), message, "give each rule a name of its own");
        }
        names.push(name.clone());
    }
    let action = t.choice("action", &ACTIONS).map_or_else(Action::default, |choice| choice.value);
    let from = read_from(t, client_auth, allow);
    let methods = access::read_methods(t);
    let paths = access::read_paths(t);
    let user = t.boolean("user");
    let claims = access::read_claims(t);
    let needs_user = user.as_ref().is_some_and(|user| user.value);
    let user = user.filter(|user| user.value).map(|_| "user");
    if let Some(key) = user.or_else(|| t.span("claims").map(|_| "claims")).filter(|_| !has_users) {
        let message = format!("{} asks about the end user, but nobody may say who that is", t.thing(key));
        t.rule(t.whole_span(key), message, "list your edge in user_from of the [[inbound]], or remove it");
    }
    Some(RequestRule { name: name?.value.into(), action, from, methods, paths, needs_user, claims })
}

fn read_from(
    t: &mut TableReader<'_, '_, '_>,
    client_auth: ClientAuth,
    allow: &[PeerPattern],
) -> Option<Vec<PeerPattern>> {
    let patterns = t.parsed_list::<PeerPattern>("from", PATTERN_REMEDY);
    refuse_empty_list(t, "from", "list callers, or remove it for every caller with a certificate");
    let patterns = patterns?;
    let anonymous = patterns.iter().find(|pattern| pattern.value == PeerPattern::Anonymous);
    if let Some(anonymous) = anonymous.filter(|_| client_auth == ClientAuth::Required) {
        let message = format!(
            "{} lists \"anonymous\", but client_auth is \"required\": no such caller gets through the handshake",
            t.thing("from"),
        );
        t.rule(Some(anonymous.span.clone()), message, "remove \"anonymous\", or write client_auth = \"optional\"");
    } else {
        warn_of_strangers(t, "from", &patterns, allow);
    }
    Some(patterns.into_iter().map(|pattern| pattern.value).collect())
}

/// Warns of single names that the allow list keeps out. Whether a wildcard is kept out as a whole is not looked at.
fn warn_of_strangers(
    t: &mut TableReader<'_, '_, '_>,
    key: &'static str,
    patterns: &[Located<PeerPattern>],
    allow: &[PeerPattern],
) {
    for pattern in patterns {
        let peer = match &pattern.value {
            PeerPattern::Spiffe(id) => {
                PeerIdentity::Authenticated(ProvenNames { spiffe_id: Some(id.clone()), ..Default::default() })
            }
            PeerPattern::Anonymous if key == "from" => PeerIdentity::Anonymous,
            _ => continue,
        };
        if !allow.is_empty() && !allow.iter().any(|allowed| allowed.matches(&peer)) {
            let message = format!("{} lists \"{}\", which allow does not let in", t.thing(key), pattern.value);
            t.warn(Some(pattern.span.clone()), message, "add it to allow of the [[inbound]], or remove it here");
        }
    }
}

/// Whether no request of a caller with a certificate gets past the rule.
fn decides_everything(rule: &RequestRule) -> bool {
    rule.from.is_none() && rule.methods.names().is_empty() && rule.paths.is_empty() && !rule.asks_for_user()
}

fn names_anonymous(rule: &RequestRule) -> bool {
    rule.from.as_ref().is_some_and(|from| from.contains(&PeerPattern::Anonymous))
}
