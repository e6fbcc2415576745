//! Which files the configuration names.

use std::path::PathBuf;

use crate::config::{Config, Edge, Identity, Located, Revocation, Trust};

use super::revocation::RevocationPolicy;
use super::{MaterialSources, PublicSources};

impl MaterialSources {
    /// The files that these sections name.
    pub fn new(identity: &Identity, trust: &Trust, revocation: Option<&Revocation>) -> Self {
        Self {
            certificate: Some(identity.certificate.value.clone()),
            private_key: identity.private_key.as_ref().map(|path| path.value.clone()),
            anchors: paths(&trust.anchors),
            intermediates: paths(&trust.intermediates),
            max_depth: trust.max_depth,
            revocation: revocation.map(RevocationPolicy::from),
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
