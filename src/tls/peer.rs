//! The other end of a finished handshake.

use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

use crate::identity::PeerIdentity;
use crate::x509::{Refusal, TrustMaterial, Usage, VerifiedPath};

/// Who is at the other end, and what proved it.
#[derive(Debug)]
pub struct Peer {
    /// Its identity.
    pub identity: PeerIdentity,
    /// The path that was verified; absent for an anonymous caller.
    pub path: Option<VerifiedPath>,
    /// The chain as it was presented, end entity first, to be judged again when trust changes; empty for an anonymous caller.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Peer {
    pub(super) fn anonymous() -> Self {
        Self { identity: PeerIdentity::Anonymous, path: None, chain: Vec::new() }
    }

    /// Judges the presented chain again where trust has changed since the handshake began, which judged it by the trust of then.
    ///
    /// # Errors
    /// Why the peer would be refused now.
    pub fn verify_again(
        &self,
        then: &Arc<TrustMaterial>,
        now: &Arc<TrustMaterial>,
        usage: Usage,
    ) -> Result<(), Box<Refusal>> {
        match self.chain.split_first() {
            Some((end_entity, presented)) if !Arc::ptr_eq(then, now) => {
                now.verify(end_entity, presented, usage, SystemTime::now()).map(drop)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn authenticated(path: VerifiedPath, chain: &[CertificateDer<'static>]) -> Self {
        let identity = PeerIdentity::Authenticated(path.end_entity.names.clone());
        Self { identity, path: Some(path), chain: chain.to_vec() }
    }
}
