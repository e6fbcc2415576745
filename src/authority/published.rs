//! What the authority publishes: CRLs and anchors, as the listeners hand them out.

use std::time::SystemTime;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use crate::ca::{Issuers, StoreState, StoredCrl, Tier, UnlistedRevocation, pem_of};

use super::cms;

/// All of it at one moment. It is replaced whole.
#[derive(Debug, Clone)]
pub(super) struct Published {
    /// The counters of the store that it was made from.
    pub(super) state: StoreState,
    /// The last CRL of each issuer that is in use, the one that issues first, and then the last delta CRLs.
    pub(super) crls: Vec<StoredCrl>,
    /// What these lack for want of a key.
    pub(super) unlisted: Vec<UnlistedRevocation>,
    /// Files by their paths under the CRL listener.
    files: Vec<(String, File)>,
    /// `/.well-known/est/cacerts`
    pub(super) ca_certificates: Bytes,
    pub(super) tags: Tags,
}

/// What changes tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tags {
    pub(super) crls: String,
    pub(super) anchors: String,
}

/// One file that is handed out.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) content: Bytes,
    pub(super) content_type: &'static str,
    /// In quotes, as the header has it.
    pub(super) etag: String,
    /// Until when it need not be asked for again, where that is known.
    pub(super) due: Option<SystemTime>,
}

pub(super) const ANCHORS: &str = "/ca.pem";
pub(super) const ALL_CRLS: &str = "/crls.pem";

const DER_CRL: &str = "application/pkix-crl";
const PEM: &str = "application/x-pem-file";

impl Published {
    pub(super) fn new(issuers: &Issuers, stored: Vec<StoredCrl>, unlisted: Vec<UnlistedRevocation>) -> Self {
        let live: Vec<_> = issuers.live().map(|(id, _)| id).collect();
        let mut crls: Vec<StoredCrl> =
            stored.into_iter().filter(|crl| live.contains(&crl.record.issuer) && !crl.der.is_empty()).collect();
        crls.sort_by_key(|crl| {
            let record = crl.record;
            (record.base_number.is_some(), live.iter().position(|id| *id == record.issuer))
        });
        let anchors: String = issuers.anchors().map(|(_, der)| pem_of("CERTIFICATE", der)).collect();
        let ca_certificates = cms::in_lines(&cms::certificates_alone(issuers.live().map(|(_, der)| der)));
        let mut files = vec![(ANCHORS.to_owned(), File::new(anchors, PEM, None))];
        if !crls.is_empty() {
            let bundle: String = crls.iter().map(StoredCrl::pem).collect();
            files.push((ALL_CRLS.to_owned(), File::new(bundle, PEM, crls.iter().map(due_of).min())));
        }
        let oldest = issuers.state().oldest_generation;
        for crl in &crls {
            let id = crl.record.issuer;
            let file = File::new(crl.der.clone(), DER_CRL, Some(due_of(crl)));
            let own = id == issuers.issuing_of(id.generation);
            let name = if own { "ca" } else { "root" };
            // As the complete CRL says, its delta CRL is beside it.
            let kind = if crl.record.base_number.is_some() { "-delta" } else { "" };
            // The plain name is that of the first generation's certificates for as long as they may live.
            if id.generation == oldest {
                files.push((format!("/{name}{kind}.crl"), file.clone()));
                if own && id.tier == Tier::Root {
                    files.push((format!("/root{kind}.crl"), file.clone()));
                }
            }
            files.push((format!("/{name}-{}{kind}.crl", id.generation), file));
        }
        let tags = Tags {
            crls: tag(crls.iter().map(|crl| crl.der.as_slice())),
            anchors: tag(issuers.anchors().map(|(_, der)| der)),
        };
        Self { state: issuers.state().clone(), crls, unlisted, files, ca_certificates: ca_certificates.into(), tags }
    }

    /// The file at a path.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|(name, _)| name == path).map(|(_, file)| file)
    }

    /// The paths that there are.
    pub(super) fn paths(&self) -> Vec<&str> {
        self.files.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl File {
    fn new(content: impl Into<Bytes>, content_type: &'static str, due: Option<SystemTime>) -> Self {
        let content = content.into();
        let etag = format!("\"{}\"", tag([&*content].into_iter()));
        Self { content, content_type, etag, due }
    }
}

/// When half of a CRL's time has passed, by which its successor is there.
fn due_of(crl: &StoredCrl) -> SystemTime {
    let (from, to) = (crl.record.this_update.to_system(), crl.record.next_update.to_system());
    from + to.duration_since(from).unwrap_or_default() / 2
}

fn tag<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.for_each(|part| context.update(part));
    URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..12])
}
