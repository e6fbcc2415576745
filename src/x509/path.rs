//! Path validation (RFC 5280 section 6).

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

use super::{CertificateInfo, Refusal, TrustMaterial};

/// What a certificate is to be used for: the extended key usage it must allow (RFC 5280 section 4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// id-kp-clientAuth
    Client,
    /// id-kp-serverAuth
    Server,
}

/// A path that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPath {
    /// The peer's own certificate.
    pub end_entity: CertificateInfo,
    /// The intermediates between it and the anchor, nearest first.
    pub intermediates: Vec<CertificateInfo>,
    /// The trust anchor at its end.
    pub anchor: CertificateInfo,
}

impl TrustMaterial {
    /// Judges a presented chain: signatures, validity, usage, constraints, depth, key policy and revocation.
    ///
    /// # Errors
    /// The first reason of the best path tried, with what the certificate says of itself.
    pub fn verify(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _usage: Usage,
        _now: SystemTime,
    ) -> Result<VerifiedPath, Box<Refusal>> {
        todo!()
    }
}
