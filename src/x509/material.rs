//! Everything that trust is decided on, as one immutable snapshot.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::config::{OnUnknown, RevocationDepth};

use super::crl::RevocationIndex;
use super::facts::Facts;
use super::{CertificateInfo, CrlInfo, load};

/// The files that trust material is read from, and how revocation is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterialSources {
    /// PEM chain, end-entity first; may hold the key too. Absent for a tool that only verifies others.
    pub certificate: Option<PathBuf>,
    /// PEM private key; absent where `certificate` holds it.
    pub private_key: Option<PathBuf>,
    /// PEM trust anchors.
    pub anchors: Vec<PathBuf>,
    /// PEM intermediates.
    pub intermediates: Vec<PathBuf>,
    /// Most intermediates in a path.
    pub max_depth: u8,
    /// Absent: nothing is checked.
    pub revocation: Option<RevocationSources>,
}

/// See [`crate::config::Revocation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationSources {
    /// Files of CRLs, PEM or DER.
    pub sources: Vec<PathBuf>,
    /// How long a CRL serves after its next update.
    pub grace: Duration,
    /// What an older CRL means.
    pub on_stale: OnUnknown,
    /// What an issuer without a CRL means.
    pub on_missing: OnUnknown,
    /// Which certificates of a path are looked up.
    pub depth: RevocationDepth,
}

/// Which file, or which entry of a list of files, a problem concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaterialPart {
    /// `identity.certificate`
    Certificate,
    /// `identity.private_key`
    PrivateKey,
    /// The entry of `trust.anchors` with this index.
    Anchor(usize),
    /// The entry of `trust.intermediates` with this index.
    Intermediate(usize),
    /// The entry of `revocation.sources` with this index.
    Crl(usize),
}

/// Something wrong with the material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterialProblem {
    /// Where.
    pub part: MaterialPart,
    /// False for what should be known but does not prevent use, such as a key file that others can read.
    pub fatal: bool,
    /// The file, the value and what was expected.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Everything that trust is decided on, as one immutable snapshot. `Debug` shows no key.
pub struct TrustMaterial {
    /// Our own certificate and key for rustls; absent for a tool that only verifies others.
    pub credential: Option<Arc<CertifiedKey>>,
    /// What our own certificate says of itself.
    pub own: Option<CertificateInfo>,
    /// The trust anchors.
    pub anchors: Vec<CertificateInfo>,
    /// The anchors as webpki takes them, as rules read them and as they are, in the order of `anchors`.
    pub(super) anchor_points: Vec<TrustAnchor<'static>>,
    pub(super) anchor_facts: Vec<Facts>,
    pub(super) anchor_ders: Vec<CertificateDer<'static>>,
    pub(super) intermediates: Vec<Known>,
    pub(super) max_depth: u8,
    /// Absent: nothing is checked.
    pub(super) revocation: Option<RevocationIndex>,
}

/// A certificate with what was read of it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) der: CertificateDer<'static>,
    pub(super) facts: Facts,
}

impl TrustMaterial {
    /// Reads and checks every file: PEM, key matches certificate, our own chain leads to an anchor, CRLs are signed by their
    /// issuer. The second value holds what is not fatal.
    ///
    /// # Errors
    /// Every problem, fatal or not, if any is fatal.
    pub fn load(sources: &MaterialSources) -> Result<(Self, Vec<MaterialProblem>), Vec<MaterialProblem>> {
        Self::load_at(sources, SystemTime::now())
    }

    /// As [`TrustMaterial::load`], with validity and freshness judged at another time than now, so that expired material can
    /// be looked into.
    ///
    /// # Errors
    /// Every problem, fatal or not, if any is fatal.
    pub fn load_at(
        sources: &MaterialSources,
        now: SystemTime,
    ) -> Result<(Self, Vec<MaterialProblem>), Vec<MaterialProblem>> {
        load::load(sources, now)
    }

    /// The CRLs in use, one for each issuer key; none where revocation is not checked.
    pub fn crls(&self) -> impl Iterator<Item = &CrlInfo> {
        self.revocation.iter().flat_map(RevocationIndex::crls)
    }
}

impl fmt::Debug for TrustMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustMaterial")
            .field("own", &self.own)
            .field("anchors", &self.anchors)
            .field("intermediates", &self.intermediates.len())
            .field("crls", &self.crls().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
