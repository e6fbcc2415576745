//! Path validation (RFC 5280 section 6).
//!
//! webpki builds the path and judges signatures, validity, basic constraints, extended key usage and name constraints.
//! What is ours is judged on each path that it finds, in [`Candidate`]: key usage, key kinds, depth, the anchor's own
//! validity and limits, and revocation.

use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::identity::PeerPattern;

use super::algorithms::key_fault;
use super::candidate::Candidate;
use super::crl::{Status, Subject};
use super::diagnosis;
use super::facts::{Facts, IssuerKey};
use super::instant::unix_seconds;
use super::names::proves_name;
use super::{CertificateInfo, Refusal, RefusalReason, SerialNumber, TrustMaterial};

/// Most intermediates that a peer may present.
const MAX_PRESENTED: usize = 16;

/// What a certificate is to be used for: the extended key usage it must allow (RFC 5280 section 4.2.1.12).
///
/// A certificate without the extension may be used for both, as the RFC has it: in a closed PKI the anchors are chosen by
/// the operator, and the extension is how the CA narrows what it issues. Where it is present it must name the usage; the
/// anyExtendedKeyUsage purpose does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// id-kp-clientAuth
    Client,
    /// id-kp-serverAuth
    Server,
}

/// A path that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPath {
    /// The peer's own certificate.
    pub end_entity: CertificateInfo,
    /// The intermediates between it and the anchor, nearest first.
    pub intermediates: Vec<CertificateInfo>,
    /// The trust anchor at its end.
    pub anchor: CertificateInfo,
    /// What each certificate below the anchor is looked up by, the end entity's first.
    lookups: Vec<Lookup>,
    /// It leads to the anchor of another trust domain than ours, so that the SPIFFE ID alone is proven.
    is_foreign: bool,
}

/// What a certificate of a verified path is looked up by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lookup {
    serial: SerialNumber,
    is_ca: bool,
    points: Option<Box<[u8]>>,
    has_no_revocation: bool,
    issuer_key: IssuerKey,
}

/// Which certificates of a path are looked up in the CRLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RevocationCheck {
    AsConfigured,
    /// For our own chain, whose revocation must not keep a newer CRL from being loaded.
    Skip,
}

impl Usage {
    /// The key purpose's name in RFC 5280 section 4.2.1.12.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Client => "clientAuth",
            Self::Server => "serverAuth",
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

impl VerifiedPath {
    /// A path that is known to be good from elsewhere, to be shown.
    pub fn known(end_entity: CertificateInfo, intermediates: Vec<CertificateInfo>, anchor: CertificateInfo) -> Self {
        Self { end_entity, intermediates, anchor, lookups: Vec::new(), is_foreign: false }
    }

    /// When the first certificate of the path ends.
    pub fn not_after(&self) -> SystemTime {
        let rest = self.intermediates.iter().chain([&self.anchor]).map(|certificate| certificate.not_after);
        rest.fold(self.end_entity.not_after, SystemTime::min)
    }

    /// Holds the path against the names that were expected of the peer.
    ///
    /// # Errors
    /// [`RefusalReason::NameMismatch`] where it proves none of them.
    pub fn expect_one_of(
        self,
        end_entity: &CertificateDer<'_>,
        expected: &[PeerPattern],
    ) -> Result<Self, Box<Refusal>> {
        let names = &self.end_entity.names;
        let is_proven = |pattern: &PeerPattern| {
            if self.is_foreign { pattern.matches_names(names) } else { proves_name(end_entity, pattern, names) }
        };
        if expected.iter().any(is_proven) {
            return Ok(self);
        }
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        let reason =
            RefusalReason::NameMismatch { expected: expected.join(" or "), found: self.end_entity.names.to_string() };
        Err(Box::new(refusal(Some(self.end_entity), reason)))
    }
}

impl TrustMaterial {
    /// Judges a presented chain: signatures, validity, usage, constraints, depth, key policy and revocation.
    ///
    /// # Errors
    /// The reason of the path that came furthest, with what the certificate says of itself.
    pub fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: SystemTime,
    ) -> Result<VerifiedPath, Box<Refusal>> {
        self.verify_with(end_entity, intermediates, usage, now, RevocationCheck::AsConfigured)
    }

    pub(super) fn verify_with(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: SystemTime,
        revocation: RevocationCheck,
    ) -> Result<VerifiedPath, Box<Refusal>> {
        let mut facts = Facts::read(end_entity)
            .map_err(|error| Box::new(refusal(None, RefusalReason::Malformed { detail: error.detail })))?;
        match self.judge(end_entity, &facts, intermediates, usage, now, revocation) {
            Ok((cas, anchor)) => {
                let issuers = cas.iter().chain([&self.anchor_facts[anchor]]);
                let lookups = [&facts].into_iter().chain(&cas).zip(issuers).map(|(subject, issuer)| Lookup {
                    serial: subject.info.serial.clone(),
                    is_ca: subject.is_ca,
                    points: subject.distribution_points.clone(),
                    has_no_revocation: subject.has_no_revocation(),
                    issuer_key: issuer.issuer_key,
                });
                let (lookups, is_foreign) = (lookups.collect(), self.is_foreign(anchor));
                let anchor = self.anchors[anchor].clone();
                let intermediates = cas.into_iter().map(|ca| ca.info).collect();
                if is_foreign {
                    facts.info.names.dns_names.clear();
                    facts.info.names.ip_addresses.clear();
                }
                Ok(VerifiedPath { end_entity: facts.info, intermediates, anchor, lookups, is_foreign })
            }
            Err(reason) => Err(Box::new(refusal(Some(facts.info), reason))),
        }
    }

    /// Whether the CRLs in use still find every certificate of a verified path good. Where they do not, [`TrustMaterial::verify`]
    /// has the last word: another path may be good, and what is unknown may be allowed.
    pub fn is_unrevoked(&self, path: &VerifiedPath, now: SystemTime) -> bool {
        let Some(policy) = &self.revocation else { return true };
        let index = self.lists.load();
        path.lookups.iter().take(policy.looked_up()).all(|lookup| {
            let subject = Subject { serial: &lookup.serial, is_ca: lookup.is_ca, points: lookup.points.as_deref() };
            match index.look_up(subject, &lookup.issuer_key, policy.grace, now) {
                Status::Good => true,
                Status::Revoked { .. } => false,
                Status::Expired { .. } | Status::Unknown => lookup.has_no_revocation,
            }
        })
    }

    /// The intermediates of the path and the index of its anchor.
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        facts: &Facts,
        presented: &[CertificateDer<'_>],
        usage: Usage,
        now: SystemTime,
        revocation: RevocationCheck,
    ) -> Result<(Vec<Facts>, usize), RefusalReason> {
        if presented.len() > MAX_PRESENTED {
            return Err(RefusalReason::TooManyCertificates { count: presented.len(), limit: MAX_PRESENTED });
        }
        let parsed = EndEntityCert::try_from(end_entity)
            .map_err(|error| diagnosis::unparsed(&error, end_entity, &facts.info.title()))?;
        let pool = self.pool(presented);
        diagnosis::bound_paths(&parsed, presented, &pool)?;
        let view = self.anchor_views.of(facts.info.names.spiffe_id.as_ref());
        // Dates in certificates have whole seconds; a fraction must not make the last second too late.
        let seconds = u64::try_from(unix_seconds(now)).unwrap_or(0);
        let candidate = |view| Candidate {
            material: self,
            view,
            end_entity: facts,
            usage,
            now: UNIX_EPOCH + Duration::from_secs(seconds),
            revocation,
            accepted: RefCell::new(None),
            refused: RefCell::new(None),
        };
        let (beyond, candidate) = (self.anchor_views.beyond(view).map(candidate), candidate(view));
        match candidate.search(&parsed, &pool) {
            Ok(()) => {
                end_entity_rules(facts)?;
                // webpki accepts only what the candidate accepted last, so this is the path it returned.
                candidate.accepted.into_inner().ok_or(RefusalReason::PathsTooMany)
            }
            Err(error) => {
                let ours = candidate.refused.into_inner();
                let ours = ours.or_else(|| beyond.and_then(|beyond| beyond.other_domain(&parsed, &pool, &error)));
                Err(ours.unwrap_or_else(|| diagnosis::explain(&error, self, facts, end_entity, &pool, usage)))
            }
        }
    }

    /// The intermediates that a path may use: the presented and the configured.
    fn pool<'a>(&'a self, presented: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
        let borrowed = |der: &'a CertificateDer<'_>| CertificateDer::from(der.as_ref());
        presented.iter().map(borrowed).chain(self.intermediates.iter().map(|known| borrowed(&known.der))).collect()
    }
}

/// What is asked of the end entity whatever its path.
fn end_entity_rules(facts: &Facts) -> Result<(), RefusalReason> {
    let title = facts.info.title();
    if let Some(fault) = key_fault(&facts.key, &title) {
        return Err(fault);
    }
    if !facts.allows(x509_parser::extensions::KeyUsage::digital_signature) {
        return Err(RefusalReason::KeyUsage { subject: title, missing: "digitalSignature" });
    }
    facts.identity_fault.clone().map_or(Ok(()), Err)
}

fn refusal(certificate: Option<CertificateInfo>, reason: RefusalReason) -> Refusal {
    Refusal { certificate: certificate.map(Box::new), reason }
}
