//! Which anchors may vouch for whom.
//!
//! Only they are searched: webpki tries every anchor that bears an issuer's name, and gives up after about a hundred signatures, so
//! that anchors of one trust domain that bear the names of another's CAs could have that domain's members refused.

use rustls_pki_types::TrustAnchor;

use crate::identity::{SpiffeId, TrustDomain};

/// The anchors that may vouch for the members of a trust domain, or for whoever is a member of none.
#[derive(Clone, Default)]
pub(super) struct AnchorView {
    /// Absent: whoever is a member of no domain that has anchors of its own.
    domain: Option<TrustDomain>,
    /// As webpki takes them.
    pub(super) points: Vec<TrustAnchor<'static>>,
    /// Where each of them stands among all anchors.
    pub(super) places: Vec<usize>,
}

/// All of them.
#[derive(Clone, Default)]
pub(super) struct AnchorViews {
    /// Those that vouch for anyone.
    anyone: AnchorView,
    /// These and a domain's own, for each domain that has some.
    domains: Vec<AnchorView>,
    /// All anchors, to tell why somebody is refused. Nobody is believed by it.
    all: AnchorView,
}

impl AnchorViews {
    /// Of all anchors, and of the domain whose members alone each vouches for, in the same order.
    pub(super) fn new(points: &[TrustAnchor<'static>], domains: &[Option<TrustDomain>]) -> Self {
        let view = |domain: Option<&TrustDomain>| AnchorView::new(points, domains, domain);
        let mut own: Vec<&TrustDomain> = Vec::new();
        for domain in domains.iter().flatten() {
            if !own.contains(&domain) {
                own.push(domain);
            }
        }
        let all = AnchorView { domain: None, points: points.to_vec(), places: (0..points.len()).collect() };
        Self { anyone: view(None), domains: own.into_iter().map(|domain| view(Some(domain))).collect(), all }
    }

    /// The anchors that may vouch for a certificate with this SPIFFE ID, or with none.
    pub(super) fn of(&self, id: Option<&SpiffeId>) -> &AnchorView {
        let domain = id.map(SpiffeId::trust_domain);
        let is_of = |view: &&AnchorView| view.domain.as_ref().map(TrustDomain::as_str) == domain;
        domain.and_then(|_| self.domains.iter().find(is_of)).unwrap_or(&self.anyone)
    }

    /// Those that vouch for anyone.
    pub(super) fn anyone(&self) -> &AnchorView {
        &self.anyone
    }

    /// All anchors, where some may not vouch for whom `view` is for.
    pub(super) fn beyond(&self, view: &AnchorView) -> Option<&AnchorView> {
        (view.places.len() < self.all.places.len()).then_some(&self.all)
    }
}

impl AnchorView {
    fn new(points: &[TrustAnchor<'static>], domains: &[Option<TrustDomain>], domain: Option<&TrustDomain>) -> Self {
        let vouches = |place: &usize| domains[*place].is_none() || domains[*place].as_ref() == domain;
        let places: Vec<usize> = (0..points.len()).filter(vouches).collect();
        let points = places.iter().map(|place| points[*place].clone()).collect();
        Self { domain: domain.cloned(), points, places }
    }

    /// Where this anchor stands among all. By address: two anchors may share subject and key and differ in validity.
    pub(super) fn place_of(&self, anchor: &TrustAnchor<'_>) -> Option<usize> {
        let position = self.points.iter().position(|point| std::ptr::eq(point, anchor))?;
        self.places.get(position).copied()
    }
}
