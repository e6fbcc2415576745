//! Which files the configuration names.

use std::path::PathBuf;

use crate::config::{Config, Edge, Enrolment, Identity, Located, Revocation, Trust};

use super::revocation::RevocationPolicy;
use super::{MaterialSources, PublicSources};

impl MaterialSources {
    /// The files that these sections name.
    pub fn new(identity: &Identity, trust: &Trust, revocation: Option<&Revocation>) -> Self {
        let (certificate, private_key) = identity.files();
        let served = identity.enrolment().filter(|_| trust.anchors_from_authority);
        // There are none before the authority was first asked.
        let served = served.map(Enrolment::anchors_file).filter(|file| file.exists());
        let anchors = paths(&trust.anchors).into_iter().chain(served);
        Self {
            certificate,
            private_key,
            anchors: anchors.collect(),
            intermediates: paths(&trust.intermediates),
            max_depth: trust.max_depth,
            revocation: revocation.map(RevocationPolicy::from),
            kept_in: identity.enrolment().map(|enrolment| enrolment.state_dir.value.clone()),
        }
    }
}

impl From<&Config> for MaterialSources {
    fn from(config: &Config) -> Self {
        Self::new(&config.identity, &config.trust, config.revocation.as_ref())
    }
}

impl From<&Edge> for PublicSources {
    fn from(edge: &Edge) -> Self {
        Self {
            certificate: edge.certificate.value.clone(),
            private_key: edge.private_key.as_ref().map(|path| path.value.clone()),
        }
    }
}

fn paths(located: &[Located<PathBuf>]) -> Vec<PathBuf> {
    located.iter().map(|path| path.value.clone()).collect()
}
