//! Access by allow lists of growing length.

use divan::{Bencher, black_box};
use mantlet::identity::{PeerIdentity, PeerPattern, ProvenNames};
use mantlet::policy::{AccessRequest, Policy};

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
