//! `[identity]`: the certificate and key that prove who we are.

use std::path::PathBuf;

use super::Located;
use super::enrolment::{self, Enrolment};
use super::reader::TableReader;
use super::workload_api::{self, WorkloadApi};

/// Where our own certificate and key come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Files that somebody else renews.
    Files(IdentityFiles),
    /// An authority that certifies a key of ours, again and again.
    Authority(Box<Enrolment>),
    /// A SPIFFE agent on this machine that gives us certificate, key and anchors, again and again.
    WorkloadApi(WorkloadApi),
}

/// The files of our own certificate chain and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// PEM chain, end-entity certificate first. A combined file may hold the key too.
    pub certificate: Located<PathBuf>,
    /// PEM private key; absent where the certificate file holds it.
    pub private_key: Option<Located<PathBuf>>,
}

impl Identity {
    /// The authority that certifies us; nothing where there is none.
    pub fn enrolment(&self) -> Option<&Enrolment> {
        match self {
            Self::Authority(enrolment) => Some(enrolment),
            Self::Files(_) | Self::WorkloadApi(_) => None,
        }
    }

    /// The agent that gives us our identity; nothing where there is none.
    pub fn workload_api(&self) -> Option<&WorkloadApi> {
        match self {
            Self::WorkloadApi(workload_api) => Some(workload_api),
            Self::Files(_) | Self::Authority(_) => None,
        }
    }

    /// The file of our chain, and that of our key where it is another one. A SPIFFE agent gives none.
    pub fn files(&self) -> (Option<PathBuf>, Option<PathBuf>) {
        match self {
            Self::Files(IdentityFiles { certificate, private_key }) => {
                (Some(certificate.value.clone()), private_key.as_ref().map(|path| path.value.clone()))
            }
            Self::Authority(enrolment) => (Some(enrolment.credential_file()), None),
            Self::WorkloadApi(_) => (None, None),
        }
    }
}

/// What `[identity]` says of who gives it, for the tables that depend on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GiverKeys {
    /// `authority` is there.
    pub(super) enrols: bool,
    /// `authority_fingerprint` is there.
    pub(super) pinned: bool,
    /// `workload_api` is there.
    pub(super) workload_api: bool,
}

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> (Option<Identity>, GiverKeys) {
    let keys = GiverKeys {
        enrols: t.span("authority").is_some(),
        pinned: t.span("authority_fingerprint").is_some(),
        workload_api: t.span("workload_api").is_some(),
    };
    let certificate = t.path("certificate");
    let private_key = t.path("private_key");
    let enrolment = enrolment::read(t);
    let workload_api = workload_api::read(t);
    if keys.workload_api {
        for key in ["certificate", "private_key", "authority"] {
            if let Some(span) = t.whole_span(key) {
                let message =
                    format!("{} is there beside {}: expected one of the two", t.thing(key), t.thing("workload_api"));
                t.rule(
                    Some(span),
                    message,
                    "remove it, for the agent gives certificate and key; or remove workload_api",
                );
            }
        }
        return (workload_api.map(Identity::WorkloadApi), keys);
    }
    if keys.enrols {
        for key in ["certificate", "private_key"] {
            if let Some(span) = t.whole_span(key) {
                let message =
                    format!("{} is there beside {}: expected one of the two", t.thing(key), t.thing("authority"));
                t.rule(
                    Some(span),
                    message,
                    "remove it, for the authority certifies a key that is made here; or remove authority to use files",
                );
            }
        }
        return (enrolment.map(Box::new).map(Identity::Authority), keys);
    }
    t.require(
        "certificate",
        "name the PEM file of our chain, such as certificate = \"certs/service.pem\", or the authority that certifies us, such as authority = \"https://ca:8444\", or the SPIFFE agent that gives it, such as workload_api = \"unix:///run/spire/agent.sock\"",
    );
    (certificate.map(|certificate| Identity::Files(IdentityFiles { certificate, private_key })), keys)
}
