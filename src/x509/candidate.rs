//! Our own rules on a path that webpki found good.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;
use x509_parser::extensions::KeyUsage;

use super::algorithms::{SIGNATURE_ALGORITHMS, key_fault};
use super::anchor_view::AnchorView;
use super::facts::Facts;
use super::path::RevocationCheck;
use super::{CertificateInfo, RefusalReason, TrustMaterial, Usage};

/// One verification: what its paths are judged against, and the verdicts so far.
///
/// webpki calls [`Candidate::judge`] for each path that is good by its own rules, and goes on to the next where the
/// verdict is no, so that a good cross-signed alternative is found.
pub(super) struct Candidate<'a> {
    pub(super) material: &'a TrustMaterial,
    /// The anchors that are searched.
    pub(super) view: &'a AnchorView,
    pub(super) end_entity: &'a Facts,
    pub(super) usage: Usage,
    pub(super) now: SystemTime,
    pub(super) revocation: RevocationCheck,
    /// The intermediates of the accepted path and the index of its anchor.
    pub(super) accepted: RefCell<Option<(Vec<Facts>, usize)>>,
    /// The most telling refusal so far.
    pub(super) refused: RefCell<Option<RefusalReason>>,
}

impl Candidate<'_> {
    /// Has webpki look for a path to one of the anchors of the view.
    pub(super) fn search(
        &self,
        end_entity: &EndEntityCert<'_>,
        pool: &[CertificateDer<'_>],
    ) -> Result<(), webpki::Error> {
        let usage = match self.usage {
            Usage::Client => webpki::KeyUsage::client_auth(),
            Usage::Server => webpki::KeyUsage::server_auth(),
        };
        let now = UnixTime::since_unix_epoch(self.now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let judge = |path: &webpki::VerifiedPath<'_>| self.judge(path);
        let (algorithms, points) = (SIGNATURE_ALGORITHMS, &self.view.points);
        end_entity.verify_for_usage(algorithms, points, pool, now, usage, None, Some(&judge)).map(drop)
    }

    /// Whether whom no anchor certifies that may vouch for it is certified by one that may not. It is refused in any case: this
    /// says why.
    pub(super) fn other_domain(
        self,
        end_entity: &EndEntityCert<'_>,
        pool: &[CertificateDer<'_>],
        error: &webpki::Error,
    ) -> Option<RefusalReason> {
        use webpki::Error::{InvalidSignatureForPublicKey, UnknownIssuer};
        if !matches!(error, UnknownIssuer | InvalidSignatureForPublicKey) {
            return None;
        }
        let _ = self.search(end_entity, pool);
        self.refused.into_inner().filter(|reason| matches!(reason, RefusalReason::OtherTrustDomain { .. }))
    }

    /// The verdict for webpki; its error only says no, the reason is kept in `refused`.
    pub(super) fn judge(&self, path: &webpki::VerifiedPath<'_>) -> Result<(), webpki::Error> {
        match self.verdict(path) {
            Ok(accepted) => {
                *self.accepted.borrow_mut() = Some(accepted);
                Ok(())
            }
            Err(reason) => {
                let mut refused = self.refused.borrow_mut();
                if refused.as_ref().is_none_or(|known| weight(&reason) > weight(known)) {
                    *refused = Some(reason);
                }
                Err(webpki::Error::CertDistrusted)
            }
        }
    }

    fn verdict(&self, path: &webpki::VerifiedPath<'_>) -> Result<(Vec<Facts>, usize), RefusalReason> {
        let Some(anchor) = self.view.place_of(path.anchor()) else {
            return Err(RefusalReason::PathsTooMany);
        };
        let (mut cas, mut ca_ders) = (Vec::new(), Vec::new());
        for certificate in path.intermediate_certificates() {
            let der = certificate.der();
            cas.push(self.facts(&der)?);
            ca_ders.push(der);
        }
        ca_ders.push(self.material.anchor_ders[anchor].clone());
        self.anchor_rules(&self.material.anchor_facts[anchor], cas.len())?;
        self.domain_rule(anchor)?;
        if cas.len() > usize::from(self.material.max_depth) {
            let by = "trust.max_depth".to_owned();
            return Err(RefusalReason::PathTooLong { limit: self.material.max_depth.into(), by });
        }
        cas.iter().try_for_each(ca_rules)?;
        if self.revocation == RevocationCheck::AsConfigured {
            self.revocation_rules(&cas, &self.material.anchor_facts[anchor], &ca_ders)?;
        }
        Ok((cas, anchor))
    }

    fn facts(&self, der: &[u8]) -> Result<Facts, RefusalReason> {
        if let Some(known) = self.material.intermediates.iter().find(|known| known.der.as_ref() == der) {
            return Ok(known.facts.clone());
        }
        Facts::read(der).map_err(|error| RefusalReason::Malformed { detail: error.detail })
    }

    fn anchor_rules(&self, anchor: &Facts, intermediates: usize) -> Result<(), RefusalReason> {
        let CertificateInfo { not_before, not_after, .. } = anchor.info;
        let subject = || anchor.info.title();
        if self.now < not_before || self.now > not_after {
            return Err(RefusalReason::AnchorExpired { subject: subject(), not_before, not_after });
        }
        // RFC 5280 section 6.2 leaves the anchor's own limits to us. The operator chose the anchor with them.
        if let Some(limit) = anchor.path_len.and_then(|limit| usize::try_from(limit).ok())
            && intermediates > limit
        {
            return Err(RefusalReason::PathTooLong { limit, by: subject() });
        }
        if !anchor.has_purpose(self.usage) {
            return Err(RefusalReason::WrongUsage { subject: subject(), usage: self.usage });
        }
        Ok(())
    }

    /// An anchor that was given for a trust domain vouches for its members alone.
    fn domain_rule(&self, anchor: usize) -> Result<(), RefusalReason> {
        let Some(domain) = &self.material.anchor_domains[anchor] else { return Ok(()) };
        let names = &self.end_entity.info.names;
        if names.spiffe_id.as_ref().is_some_and(|id| id.trust_domain() == domain.as_str()) {
            return Ok(());
        }
        let found = if names.is_empty() { "no name".to_owned() } else { names.to_string() };
        let (anchor, trust_domain) = (self.material.anchors[anchor].title(), domain.to_string());
        Err(RefusalReason::OtherTrustDomain { anchor, trust_domain, found })
    }

    /// Looks the end entity and the intermediates up under the key of the certificate above each.
    fn revocation_rules(
        &self,
        cas: &[Facts],
        anchor: &Facts,
        issuer_ders: &[CertificateDer<'_>],
    ) -> Result<(), RefusalReason> {
        let Some(policy) = &self.material.revocation else {
            return Ok(());
        };
        let below_anchor = &cas.last().unwrap_or(anchor).issuer_key;
        let issuers = cas.iter().map(|ca| (ca, below_anchor)).chain([(anchor, &anchor.issuer_key)]).zip(issuer_ders);
        let subjects = [self.end_entity].into_iter().chain(cas);
        subjects.zip(issuers).take(policy.looked_up()).try_for_each(|(subject, ((issuer, branch), issuer_der))| {
            self.material.lists.check(policy, subject, issuer, issuer_der, branch, self.now)
        })
    }
}

/// What is asked of every intermediate and, when it is loaded, of every anchor.
pub(super) fn ca_rules(ca: &Facts) -> Result<(), RefusalReason> {
    let title = ca.info.title();
    if !ca.is_ca {
        return Err(RefusalReason::NotACa { subject: title });
    }
    if !ca.allows(KeyUsage::key_cert_sign) {
        return Err(RefusalReason::KeyUsage { subject: title, missing: "keyCertSign" });
    }
    key_fault(&ca.key, &title).map_or(Ok(()), Err)
}

/// How telling a reason is among those of several paths: a withdrawn certificate before an anchor that ran out.
fn weight(reason: &RefusalReason) -> u8 {
    match reason {
        RefusalReason::Revoked { .. } => 3,
        RefusalReason::RevocationStale { .. } | RefusalReason::RevocationUnknown { .. } => 2,
        RefusalReason::AnchorExpired { .. } => 0,
        _ => 1,
    }
}
