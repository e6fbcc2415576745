//! The other end of a finished handshake.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
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

/// The trust at the beginning of a handshake, to be told from a later one. It is dropped with the handshake: a connection holds
/// neither certificates nor CRLs that are out of use.
#[derive(Debug)]
pub struct TrustSnapshot {
    material: Arc<TrustMaterial>,
    lists: u64,
}

impl TrustSnapshot {
    /// The trust as it is now.
    pub fn of(trust: &ArcSwap<TrustMaterial>) -> Self {
        let material = trust.load_full();
        Self { lists: material.lists().version(), material }
    }

    fn is_current(&self, trust: &ArcSwap<TrustMaterial>) -> bool {
        let now = trust.load();
        Arc::ptr_eq(&self.material, &now) && self.lists == now.lists().version()
    }
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
        then: &TrustSnapshot,
        trust: &ArcSwap<TrustMaterial>,
        usage: Usage,
    ) -> Result<(), Box<Refusal>> {
        match self.chain.split_first() {
            Some((end_entity, presented)) if !then.is_current(trust) => {
                trust.load().verify(end_entity, presented, usage, SystemTime::now()).map(drop)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn authenticated(path: VerifiedPath, chain: &[CertificateDer<'static>]) -> Self {
        let identity = PeerIdentity::Authenticated(path.end_entity.names.clone());
        Self { identity, path: Some(path), chain: chain.to_vec() }
    }
}
