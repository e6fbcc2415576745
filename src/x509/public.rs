//! The certificates that edge listeners present to the public. They are none of our mesh identity, and lead to no anchor of ours.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;

use super::{CertificateInfo, MaterialProblem, load};

/// The files of one public certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicSources {
    /// PEM chain, end entity first; may hold the key too.
    pub certificate: PathBuf,
    /// PEM private key; absent where `certificate` holds it.
    pub private_key: Option<PathBuf>,
}

/// A public certificate with its key. `Debug` shows no key.
#[derive(Clone)]
pub struct PublicCertificate {
    /// Certificate and key for rustls.
    pub credential: Arc<CertifiedKey>,
    /// What the certificate says of itself.
    pub info: CertificateInfo,
}

impl PublicCertificate {
    /// Reads and checks both files: PEM, key matches certificate, in its time. `edge` is the index of the listener, which the
    /// problems name. The second value holds what is not fatal.
    ///
    /// # Errors
    /// Every problem, fatal or not, if any is fatal.
    pub fn load(
        sources: &PublicSources,
        edge: usize,
        now: SystemTime,
    ) -> Result<(Self, Vec<MaterialProblem>), Vec<MaterialProblem>> {
        load::load_public(sources, edge, now)
    }
}

impl fmt::Debug for PublicCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicCertificate").field("info", &self.info).finish_non_exhaustive()
    }
}
