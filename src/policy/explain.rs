//! Why a request is let in or not: the decision, and of each rule what it says to the request.

use super::rule::Judged;
use super::{AccessRequest, Denial, Mismatch, Permit, Policy, RequestPath, RequestRule};

/// A decision and its reasons.
#[derive(Debug)]
pub struct Explanation<'p> {
    /// The decision, from [`Policy::authorize`] itself.
    pub decision: Result<Permit, Denial>,
    /// What each rule says, in their order; empty where there are none, or where they were not asked.
    pub rules: Vec<RuleVerdict<'p>>,
}

/// What one rule says to a request.
#[derive(Debug)]
pub struct RuleVerdict<'p> {
    /// The rule.
    pub rule: &'p RequestRule,
    /// Everything that keeps it from matching; empty where it matches.
    pub mismatches: Vec<Mismatch>,
    /// Whether it is the one that decided.
    pub decides: bool,
}

impl Policy {
    /// Decides, and tells of each rule why it does or does not match.
    pub fn explain(&self, request: AccessRequest<'_>) -> Explanation<'_> {
        let decision = self.authorize(request);
        let facts = request.request.filter(|_| self.allow.contains(request.peer) && !request.is_withdrawn);
        let (Some(rules), Some(facts)) = (&self.rules, facts) else {
            return Explanation { decision, rules: Vec::new() };
        };
        let path = match RequestPath::parse(facts.path) {
            Err(_) if rules.looks_at_paths() => return Explanation { decision, rules: Vec::new() },
            path => path.unwrap_or_else(|_| RequestPath::unseen()),
        };
        let judged = Judged { peer: request.peer, method: facts.method, path: &path, user: request.user };
        let decisive = rules.first_match(judged);
        let verdict = |rule| RuleVerdict {
            rule,
            mismatches: rule.mismatches(judged),
            decides: decisive.is_some_and(|decisive| std::ptr::eq(decisive, rule)),
        };
        Explanation { decision, rules: rules.iter().map(verdict).collect() }
    }
}
