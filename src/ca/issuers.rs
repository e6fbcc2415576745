//! The authority's own certificates: which are published, and which one issues.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::store::StoreState;
use super::{CaError, IssuerId, Tier};

/// The authority's own certificates at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuers {
    state: StoreState,
    /// Every one that ever was, by generation and tier.
    ders: Vec<(IssuerId, Vec<u8>)>,
}

impl Issuers {
    pub(super) fn new(state: StoreState, ders: Vec<(IssuerId, Vec<u8>)>) -> Self {
        Self { state, ders }
    }

    /// The counters of the store at that moment.
    pub fn state(&self) -> &StoreState {
        &self.state
    }

    /// Whose key signs end-entity certificates.
    pub fn issuing(&self) -> IssuerId {
        self.issuing_of(self.state.issuing_generation)
    }

    /// Whose key signs, or signed, the end-entity certificates of a generation.
    pub fn issuing_of(&self, generation: u32) -> IssuerId {
        let below = IssuerId { generation, tier: Tier::Intermediate };
        if self.has(below) { below } else { below.with_tier(Tier::Root) }
    }

    /// True where an intermediate of this generation issues.
    pub fn has_intermediate(&self, generation: u32) -> bool {
        self.has(IssuerId { generation, tier: Tier::Intermediate })
    }

    /// Those of every generation whose anchor is published, the one that issues first.
    pub fn live(&self) -> impl Iterator<Item = (IssuerId, &[u8])> {
        let state = &self.state;
        let live = move |id: &IssuerId| (state.oldest_generation..=state.newest_generation).contains(&id.generation);
        let mut found: Vec<_> = self.ders.iter().filter(|(id, _)| live(id)).collect();
        // Issuing before issued-by, and the generation in use before the others.
        found.sort_by_key(|(id, _)| (id.generation != state.issuing_generation, id.generation, id.tier == Tier::Root));
        found.into_iter().map(|(id, der)| (*id, der.as_slice()))
    }

    /// The anchors that are published.
    pub fn anchors(&self) -> impl Iterator<Item = (IssuerId, &[u8])> {
        self.live().filter(|(id, _)| id.tier == Tier::Root)
    }

    /// What stands between an end-entity certificate of the generation that issues and its anchor.
    pub fn intermediate(&self) -> Option<&[u8]> {
        let id = self.issuing();
        if id.tier == Tier::Root { None } else { self.der(id).ok() }
    }

    /// The certificate of an issuer.
    pub(super) fn der(&self, id: IssuerId) -> Result<&[u8], CaError> {
        let found = self.ders.iter().find(|(known, _)| *known == id).map(|(_, der)| der.as_slice());
        found.ok_or_else(|| CaError::StoreCorrupt {
            place: "the store".to_owned(),
            reason: format!("the {id} certificate is not in it"),
        })
    }

    fn has(&self, id: IssuerId) -> bool {
        self.ders.iter().any(|(known, _)| *known == id)
    }
}

/// A PEM block (RFC 7468).
pub fn pem_of(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or("")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
