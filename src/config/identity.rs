//! `[identity]`: the certificate and key that prove who we are.

use std::path::PathBuf;

use super::Located;
use super::enrolment::{self, Enrolment};
use super::reader::TableReader;

/// Where our own certificate and key come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Files that somebody else renews.
    Files(IdentityFiles),
    /// An authority that certifies a key of ours, again and again.
    Authority(Box<Enrolment>),
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
    /// The authority that certifies us; nothing where files are named.
    pub fn enrolment(&self) -> Option<&Enrolment> {
        match self {
            Self::Files(_) => None,
            Self::Authority(enrolment) => Some(enrolment),
        }
    }

    /// The file of our chain, and that of our key where it is another one.
    pub fn files(&self) -> (PathBuf, Option<PathBuf>) {
        match self {
            Self::Files(IdentityFiles { certificate, private_key }) => {
                (certificate.value.clone(), private_key.as_ref().map(|path| path.value.clone()))
            }
            Self::Authority(enrolment) => (enrolment.credential_file(), None),
        }
    }
}

/// What `[identity]` says of an authority, for the tables that depend on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AuthorityKeys {
    /// `authority` is there.
    pub(super) enrols: bool,
    /// `authority_fingerprint` is there.
    pub(super) pinned: bool,
}

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> (Option<Identity>, AuthorityKeys) {
    let keys =
        AuthorityKeys { enrols: t.span("authority").is_some(), pinned: t.span("authority_fingerprint").is_some() };
    let certificate = t.path("certificate");
    let private_key = t.path("private_key");
    let enrolment = enrolment::read(t);
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
        "name the PEM file of our chain, such as certificate = \"certs/service.pem\", or the authority that certifies us, such as authority = \"https://ca:8444\"",
    );
    (certificate.map(|certificate| Identity::Files(IdentityFiles { certificate, private_key })), keys)
}
