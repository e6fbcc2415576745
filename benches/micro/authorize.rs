//! Access by allow lists and by rules of growing length.

use divan::{Bencher, black_box};
use mantlet::identity::{PeerIdentity, PeerPattern, ProvenNames};
use mantlet::policy::{AccessRequest, Action, ClaimRules, Methods, Policy, RequestFacts, RequestRule};

const LENGTHS: [usize; 3] = [1, 100, 1000];

#[divan::bench(args = LENGTHS, sample_size = 100, min_time = 0.5)]
fn exact_allowed(bencher: Bencher, rules: usize) {
    allowed(bencher, &exact(rules));
}

#[divan::bench(args = LENGTHS, sample_size = 100, min_time = 0.5)]
fn exact_denied(bencher: Bencher, rules: usize) {
    denied(bencher, &exact(rules));
}

#[divan::bench(args = LENGTHS, sample_size = 100, min_time = 0.5)]
fn wildcard_allowed(bencher: Bencher, rules: usize) {
    allowed(bencher, &wildcards(rules));
}

#[divan::bench(args = LENGTHS, sample_size = 100, min_time = 0.5)]
fn wildcard_denied(bencher: Bencher, rules: usize) {
    denied(bencher, &wildcards(rules));
}

/// Each rule is about a path of its own, so that a request meets one of them.
#[divan::bench(args = LENGTHS, sample_size = 100, min_time = 0.5)]
fn rules_by_path_allowed(bencher: Bencher, rules: usize) {
    request(bencher, &by_path(rules), "/services/0000/items/7", true);
}

#[divan::bench(args = LENGTHS, sample_size = 100, min_time = 0.5)]
fn rules_by_path_denied(bencher: Bencher, rules: usize) {
    request(bencher, &by_path(rules), "/services/none/items/7", false);
}

/// A path that has to be decoded before it is looked up.
#[divan::bench(args = [1000], sample_size = 100, min_time = 0.5)]
fn rules_by_path_escaped(bencher: Bencher, rules: usize) {
    request(bencher, &by_path(rules), "/services/0000/items/caf%C3%A9", true);
}

/// Each rule is about any path of another caller, so that a request meets all of them.
#[divan::bench(args = LENGTHS, sample_size = 100, min_time = 0.5)]
fn rules_by_caller_allowed(bencher: Bencher, rules: usize) {
    request(bencher, &by_caller(rules), "/services/0000/items/7", true);
}

fn by_path(rules: usize) -> Policy {
    with_rules((0..rules).map(|number| rule(None, &[format!("/services/{number:04}/items/{{id}}")])))
}

fn by_caller(rules: usize) -> Policy {
    with_rules((0..rules).map(|number| rule(Some(format!("spiffe://fleamarket.internal/ns/{number:04}/service")), &[])))
}

fn with_rules(rules: impl DoubleEndedIterator<Item = RequestRule>) -> Policy {
    let allow = ["spiffe://fleamarket.internal/*".parse().expect("a pattern")];
    Policy::new(&allow, &rules.rev().collect::<Vec<_>>(), &[])
}

fn rule(from: Option<String>, paths: &[String]) -> RequestRule {
    RequestRule {
        name: "rule".into(),
        action: Action::Allow,
        from: from.map(|id| vec![id.parse().expect("a pattern")]),
        methods: Methods::listed(vec!["GET".parse().expect("a method"), "HEAD".parse().expect("a method")]),
        paths: paths.iter().map(|path| path.parse().expect("a path")).collect(),
        needs_user: false,
        claims: ClaimRules::default(),
    }
}

fn exact(rules: usize) -> Policy {
    policy((0..rules).map(|number| format!("spiffe://fleamarket.internal/ns/{number:04}/service")))
}

fn wildcards(rules: usize) -> Policy {
    policy((0..rules).map(|number| format!("spiffe://fleamarket.internal/ns/{number:04}/*")))
}

fn policy(patterns: impl DoubleEndedIterator<Item = String>) -> Policy {
    // Backwards, so that the caller who is allowed by every list is the one that is found last.
    let patterns: Vec<PeerPattern> = patterns.rev().map(|pattern| pattern.parse().expect("a pattern")).collect();
    Policy::allowing(&patterns)
}

fn caller(id: &str) -> PeerIdentity {
    PeerIdentity::Authenticated(ProvenNames { spiffe_id: Some(id.parse().expect("an ID")), ..Default::default() })
}

fn allowed(bencher: Bencher, policy: &Policy) {
    let peer = caller("spiffe://fleamarket.internal/ns/0000/service");
    bencher.bench(|| {
        black_box(policy)
            .authorize(AccessRequest { peer: black_box(&peer), is_withdrawn: false, request: None, user: None })
            .expect("allowed")
    });
}

fn denied(bencher: Bencher, policy: &Policy) {
    let peer = caller("spiffe://fleamarket.internal/ns/none/service");
    bencher.bench(|| {
        black_box(policy)
            .authorize(AccessRequest { peer: black_box(&peer), is_withdrawn: false, request: None, user: None })
            .expect_err("denied")
    });
}

fn request(bencher: Bencher, policy: &Policy, path: &str, is_allowed: bool) {
    let peer = caller("spiffe://fleamarket.internal/ns/0000/service");
    bencher.bench(|| {
        let request = Some(RequestFacts { method: "GET", path: black_box(path) });
        let asked = AccessRequest { peer: black_box(&peer), is_withdrawn: false, request, user: None };
        let judged = black_box(policy).authorize(asked);
        assert_eq!(judged.is_ok(), is_allowed);
        judged
    });
}
