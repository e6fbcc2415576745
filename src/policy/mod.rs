//! Who may do what: the one place where access is decided. It reads nothing and asks nobody.
//!
//! Whatever is forwarded takes a [`Permit`], which only this module can make.

mod claims;
mod method;
mod path;

pub use claims::{ClaimRule, ClaimRules, ClaimValue};
pub use method::{MethodName, MethodNameError, Methods};
pub use path::{AmbiguousPath, PathPattern, PathPatternError, RequestPath};

use std::collections::HashSet;
use std::fmt;

use crate::identity::{PeerIdentity, PeerPattern};

/// The rules of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Exact SPIFFE IDs, looked up at once, so that a long list costs no more than a short one.
    exact: HashSet<String>,
    /// All other patterns, tried in turn.
    patterns: Vec<PeerPattern>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    /// Who asks.
    pub peer: &'a PeerIdentity,
    /// Its certificate was revoked since its handshake, or whether it was is no longer known.
    pub is_withdrawn: bool,
}

/// The right to forward one connection or request. It can only be had from [`Policy::authorize`] or, for what the local
/// service sends out itself, from [`Permit::for_local_service`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a permit that is not used forwards nothing"]
pub struct Permit(());

/// Why access is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Who asked.
    pub peer: String,
    /// The rule that decided.
    pub rule: Rule,
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
}

impl Policy {
    /// The policy of an allow list. An empty one admits nobody.
    pub fn allowing(allow: &[PeerPattern]) -> Self {
        let mut policy = Self { exact: HashSet::new(), patterns: Vec::new() };
        for pattern in allow {
            match pattern {
                PeerPattern::Spiffe(id) => drop(policy.exact.insert(id.as_str().to_owned())),
                _ => policy.patterns.push(pattern.clone()),
            }
        }
        policy
    }

    /// Decides. The same function judges live connections again when the policy changes.
    ///
    /// # Errors
    /// The rule that denies.
    pub fn authorize(&self, request: AccessRequest<'_>) -> Result<Permit, Denial> {
        if self.is_listed(request.peer) && !request.is_withdrawn {
            return Ok(Permit(()));
        }
        let rule = match request.peer {
            _ if request.is_withdrawn => Rule::CertificateWithdrawn,
            _ if self.exact.is_empty() && self.patterns.is_empty() => Rule::NobodyAllowed,
            PeerIdentity::Anonymous => Rule::AnonymousNotAllowed,
            PeerIdentity::Authenticated(_) => Rule::NotOnAllowList,
        };
        Err(Denial { peer: request.peer.to_string(), rule })
    }

    fn is_listed(&self, peer: &PeerIdentity) -> bool {
        let listed_by_id = match peer {
            PeerIdentity::Authenticated(names) => {
                names.spiffe_id.as_ref().is_some_and(|id| self.exact.contains(id.as_str()))
            }
            PeerIdentity::Anonymous => false,
        };
        listed_by_id || self.patterns.iter().any(|pattern| pattern.matches(peer))
    }
}

impl Permit {
    /// The local service may send out whatever its outbound listeners carry: they are reachable for it alone, and the peer
    /// decides about us.
    pub fn for_local_service() -> Self {
        Self(())
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
        }
    }

    /// What the reader can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::CertificateWithdrawn => "the peer's CA revoked it, or its CRL has expired; the log tells which",
            Self::NobodyAllowed => "the listener's allow list is empty; add the identities that may call",
            Self::NotOnAllowList => "add this identity to the listener's allow list if it should call",
            Self::AnonymousNotAllowed => "give the caller a certificate, or add \"anonymous\" to the allow list",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Rule::CertificateWithdrawn => {
                write!(f, "the certificate of {} was withdrawn since its handshake", self.peer)
            }
            Rule::NobodyAllowed => write!(f, "{} is refused because the allow list is empty", self.peer),
            Rule::NotOnAllowList => write!(f, "{} is not on the allow list", self.peer),
            Rule::AnonymousNotAllowed => f.write_str("a caller without a certificate is not on the allow list"),
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
        policy.authorize(AccessRequest { peer, is_withdrawn: false }).err().map(|denial| denial.rule)
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
}
