//! Everything that trust is decided on, as one immutable snapshot.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use crate::identity::TrustDomain;

use super::anchor_view::AnchorViews;
use super::facts::Facts;
use super::revocation::{RevocationLists, RevocationPolicy};
use super::{CertificateInfo, CrlIssuers, GivenMaterial, Refusal, RefusalReason, Usage, load};

/// The files that trust material is read from, and how revocation is judged. The CRLs themselves are another's to find.
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
    pub revocation: Option<RevocationPolicy>,
    /// The folder of what we keep ourselves. Its files are refused where others may write to them, and no link is followed.
    pub kept_in: Option<PathBuf>,
}

/// Which file, or which entry of a list of files, a problem concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaterialPart {
    /// `identity.certificate`
    Certificate,
    /// `identity.private_key`
    PrivateKey,
    /// The entry of `trust.anchors` with this index; the one after the last for those that the authority served.
    Anchor(usize),
    /// The entry of `trust.intermediates` with this index.
    Intermediate(usize),
    /// The entry of `revocation.sources` with this index.
    Crl(usize),
    /// `revocation.cache_dir`
    CrlCache,
    /// The entry of an issuer's `jwks_anchors`.
    IssuerAnchor {
        /// The index of the issuer.
        issuer: usize,
        /// The index of the file.
        file: usize,
    },
    /// `certificate` of the edge listener with this index.
    EdgeCertificate(usize),
    /// `private_key` of the edge listener with this index.
    EdgePrivateKey(usize),
    /// `identity.bootstrap` or `identity.bootstrap_secret_file`
    Bootstrap,
    /// `identity.state_dir`
    State,
    /// What `identity.workload_api` gave.
    Given,
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

/// Every problem, where one of them is fatal.
#[derive(Debug)]
pub struct UnusableMaterial {
    /// Them, fatal or not.
    pub problems: Vec<MaterialProblem>,
    /// Those whose CRLs can be verified all the same, so that their problems can be told in the same run.
    pub crl_issuers: CrlIssuers,
}

/// Everything that trust is decided on, as one immutable snapshot. `Debug` shows no key.
pub struct TrustMaterial {
    /// Our own certificate and key for rustls; absent for a tool that only verifies others.
    pub credential: Option<Arc<CertifiedKey>>,
    /// What our own certificate says of itself.
    pub own: Option<CertificateInfo>,
    /// The trust anchors.
    pub anchors: Vec<CertificateInfo>,
    /// The anchors as webpki takes them, by whom they may vouch for.
    pub(super) anchor_views: AnchorViews,
    /// The anchors as rules read them and as they are, in the order of `anchors`.
    pub(super) anchor_facts: Vec<Facts>,
    pub(super) anchor_ders: Vec<CertificateDer<'static>>,
    /// Whose members alone an anchor vouches for; nothing for those that the operator names.
    pub(super) anchor_domains: Vec<Option<TrustDomain>>,
    pub(super) intermediates: Vec<Known>,
    pub(super) max_depth: u8,
    /// Our own chain as we present it, end entity first.
    pub(super) own_chain: Vec<Known>,
    /// Absent: nothing is checked.
    pub(super) revocation: Option<RevocationPolicy>,
    pub(super) lists: Arc<RevocationLists>,
    /// What was given to us, beside what was read.
    pub(super) given: Option<Arc<GivenMaterial>>,
}

/// A certificate with what was read of it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) der: CertificateDer<'static>,
    pub(super) facts: Facts,
}

impl TrustMaterial {
    /// Reads and checks every file: PEM, key matches certificate, our own chain leads to an anchor. Certificates will be looked
    /// up in `lists`. The second value holds what is not fatal.
    ///
    /// # Errors
    /// Every problem, fatal or not, if any is fatal.
    pub fn load(
        sources: &MaterialSources,
        lists: &Arc<RevocationLists>,
    ) -> Result<(Self, Vec<MaterialProblem>), UnusableMaterial> {
        Self::load_at(sources, lists, SystemTime::now())
    }

    /// As [`TrustMaterial::load`], with validity and freshness judged at another time than now, so that expired material can
    /// be looked into.
    ///
    /// # Errors
    /// Every problem, fatal or not, if any is fatal.
    pub fn load_at(
        sources: &MaterialSources,
        lists: &Arc<RevocationLists>,
        now: SystemTime,
    ) -> Result<(Self, Vec<MaterialProblem>), UnusableMaterial> {
        load::load(sources, None, lists, now)
    }

    /// As [`TrustMaterial::load_at`], with our own chain and key, and further anchors, as they were given to us. The files of
    /// `sources` name neither chain nor key.
    ///
    /// # Errors
    /// Every problem, fatal or not, if any is fatal.
    pub fn load_given(
        sources: &MaterialSources,
        given: &Arc<GivenMaterial>,
        lists: &Arc<RevocationLists>,
        now: SystemTime,
    ) -> Result<(Self, Vec<MaterialProblem>), UnusableMaterial> {
        load::load(sources, Some(given), lists, now)
    }

    /// Without any anchor, so that nobody is believed, and without a certificate of our own.
    pub fn nothing(lists: &Arc<RevocationLists>) -> Self {
        Self {
            credential: None,
            own: None,
            anchors: Vec::new(),
            anchor_views: AnchorViews::default(),
            anchor_facts: Vec::new(),
            anchor_ders: Vec::new(),
            anchor_domains: Vec::new(),
            intermediates: Vec::new(),
            max_depth: 0,
            own_chain: Vec::new(),
            revocation: None,
            lists: Arc::clone(lists),
            given: None,
        }
    }

    /// The CRLs that certificates are looked up in.
    pub fn lists(&self) -> &Arc<RevocationLists> {
        &self.lists
    }

    /// The trust anchors as the TLS library takes them, for servers of which a name alone is expected. Those that vouch for the
    /// members of one trust domain are not among them.
    pub fn root_store(&self) -> RootCertStore {
        RootCertStore { roots: self.anchor_views.anyone().points.clone() }
    }

    /// What was given to us, where it was.
    pub fn given(&self) -> Option<&GivenMaterial> {
        self.given.as_deref()
    }

    /// The trust domain that an anchor vouches for, where that is another than ours: what its members prove beside their SPIFFE ID
    /// does not count here.
    pub(super) fn is_foreign(&self, anchor: usize) -> bool {
        let own = self.given.as_ref().map(|given| given.spiffe_id.trust_domain());
        self.anchor_domains[anchor].as_ref().is_some_and(|domain| Some(domain.as_str()) != own)
    }

    /// How revocation is judged; absent where it is not.
    pub fn revocation(&self) -> Option<&RevocationPolicy> {
        self.revocation.as_ref()
    }

    /// Whose CRLs can be verified: those of the anchors, the intermediates and the issuers in our own chain.
    pub fn crl_issuers(&self) -> CrlIssuers {
        let anchors = self.anchor_ders.iter().zip(&self.anchor_facts);
        let others = self.intermediates.iter().chain(&self.own_chain).map(|known| (&known.der, &known.facts));
        CrlIssuers::new(anchors.chain(others))
    }

    /// Judges our own chain as a peer would that has our anchors and our CRLs; nothing without one. A chain that is good for one
    /// usage is good.
    ///
    /// # Errors
    /// Why such a peer would refuse us.
    pub fn verify_own(&self, now: SystemTime) -> Option<Result<(), Box<Refusal>>> {
        let (first, rest) = self.own_chain.split_first()?;
        let presented: Vec<CertificateDer<'_>> = rest.iter().map(|known| known.der.clone()).collect();
        let verify = |usage| self.verify(&first.der, &presented, usage, now);
        Some(match (verify(Usage::Client), verify(Usage::Server)) {
            (Ok(_), _) | (_, Ok(_)) => Ok(()),
            (Err(client), Err(server)) if matches!(client.reason, RefusalReason::WrongUsage { .. }) => Err(server),
            (Err(client), Err(_)) => Err(client),
        })
    }
}

impl fmt::Debug for TrustMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustMaterial")
            .field("own", &self.own)
            .field("anchors", &self.anchors)
            .field("intermediates", &self.intermediates.len())
            .field("revocation", &self.revocation)
            .finish_non_exhaustive()
    }
}
