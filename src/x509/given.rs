//! A chain, its key, anchors and CRLs that are given to us while we run, instead of files.

use std::fmt;

use der::{Reader as _, SliceReader};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::identity::{SpiffeId, TrustDomain};

/// What somebody on this machine gave us, as one whole. Nothing of it is verified: [`super::TrustMaterial::load_given`] does.
/// `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct GivenMaterial {
    /// Who gave it, such as `unix:///run/spire/agent.sock`, for messages.
    pub giver: String,
    /// Who we are said to be. The certificate has to prove it.
    pub spiffe_id: SpiffeId,
    /// Our chain, end entity first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Our private key in PKCS#8 DER.
    pub key: Zeroizing<Vec<u8>>,
    /// The anchors of our trust domain and of those that ours is federated with, one entry for each domain.
    pub bundles: Vec<Bundle>,
    /// CRLs in DER.
    pub crls: Vec<Vec<u8>>,
}

/// The anchors of a trust domain. They vouch for its members and for nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The domain.
    pub trust_domain: TrustDomain,
    /// Its anchors.
    pub anchors: Vec<CertificateDer<'static>>,
    /// Why none could be told apart in what was given, such as `is empty`.
    pub fault: Option<String>,
}

impl fmt::Debug for GivenMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenMaterial")
            .field("giver", &self.giver)
            .field("spiffe_id", &self.spiffe_id)
            .field("bundles", &self.bundles.len())
            .field("crls", &self.crls.len())
            .finish_non_exhaustive()
    }
}

/// Certificates in DER that stand one behind the other, `most` at the most. What each of them holds is not looked at.
///
/// # Errors
/// What is wrong with them.
pub fn split_certificates(octets: &[u8], most: usize) -> Result<Vec<CertificateDer<'static>>, String> {
    let malformed = |error: der::Error| format!("is no DER: {error}");
    let mut reader = SliceReader::new(octets).map_err(malformed)?;
    let mut certificates = Vec::new();
    while !reader.is_finished() {
        if certificates.len() == most {
            return Err(format!("holds more than {most} certificates"));
        }
        certificates.push(reader.tlv_bytes().map_err(malformed)?.to_vec().into());
    }
    if certificates.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_one_behind_the_other_are_split_and_bounded() {
        let split = |octets: &[u8]| split_certificates(octets, 2).map(|split| split.len());
        assert_eq!(split(&[0x30, 0]), Ok(1));
        assert_eq!(split(&[0x30, 1, 0xff, 0x30, 0]), Ok(2));
        assert_eq!(split(&[0x30, 0, 0x30, 0, 0x30, 0]), Err("holds more than 2 certificates".to_owned()));
        assert_eq!(split(&[]), Err("is empty".to_owned()));
        for bad in [&[0x30][..], &[0x30, 5, 1], &[0x30, 0, 0x30, 2, 0], &[0x30, 0x80, 0, 0]] {
            assert!(split(bad).is_err_and(|error| error.starts_with("is no DER")), "{bad:?}");
        }
    }
}
