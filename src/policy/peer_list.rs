//! Lists of peers, looked up at once.

use std::collections::HashSet;

use crate::identity::{PeerIdentity, PeerPattern};

/// The peers that some patterns mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct PeerList {
    /// Exact SPIFFE IDs, looked up at once, so that a long list costs no more than a short one.
    exact: HashSet<String>,
    /// All other patterns, tried in turn.
    patterns: Vec<PeerPattern>,
}

impl PeerList {
    /// The peers that one of these patterns means.
    pub(super) fn of<'p>(patterns: impl IntoIterator<Item = &'p PeerPattern>) -> Self {
        let mut list = Self::default();
        for pattern in patterns {
            match pattern {
                PeerPattern::Spiffe(id) => drop(list.exact.insert(id.as_str().to_owned())),
                _ => list.patterns.push(pattern.clone()),
            }
        }
        list
    }

    /// True where nobody is meant.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }

    /// True where the peer is meant.
    pub(super) fn contains(&self, peer: &PeerIdentity) -> bool {
        let listed_by_id = match peer {
            PeerIdentity::Authenticated(names) => {
                names.spiffe_id.as_ref().is_some_and(|id| self.exact.contains(id.as_str()))
            }
            PeerIdentity::Anonymous => false,
        };
        listed_by_id || self.patterns.iter().any(|pattern| pattern.matches(peer))
    }
}
