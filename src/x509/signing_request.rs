//! Requests for certificates (PKCS #10, RFC 2986), of which the public key alone counts.

use rustls_pki_types::SubjectPublicKeyInfoDer;
use thiserror::Error;
use webpki::RawPublicKeyEntity;
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

use super::algorithms::{MIN_RSA_BITS, SIGNATURE_ALGORITHMS};
use super::facts::{KeyKind, key_kind};
use super::signature::Signed;

/// The most bytes of a request; one with an RSA key of 8192 bits takes 2,200.
pub const MAX_SIGNING_REQUEST_BYTES: usize = 16 * 1024;
/// The most bits of an RSA key.
const MAX_RSA_BITS: usize = 8192;

/// A request whose sender has the private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningRequest {
    public_key: Vec<u8>,
}

/// Why a request is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SigningRequestError {
    /// Not PKCS #10 in DER.
    #[error("the request is not PKCS #10 in DER")]
    Malformed,
    /// A key that nobody should use.
    #[error("the request's key is {found}: expected ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits")]
    Key {
        /// What it is.
        found: String,
    },
    /// The signature was not made with the private key (RFC 2986 section 3).
    #[error("the request's signature does not prove possession of its key")]
    Possession,
}

impl SigningRequest {
    /// Reads a request, and verifies that its sender has the private key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_der(der: &[u8]) -> Result<Self, SigningRequestError> {
        if der.len() > MAX_SIGNING_REQUEST_BYTES {
            return Err(SigningRequestError::Malformed);
        }
        let Ok(([], request)) = X509CertificationRequest::from_der(der) else {
            return Err(SigningRequestError::Malformed);
        };
        let key = &request.certification_request_info.subject_pki;
        match key_kind(key) {
            KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::Ed25519 => {}
            KeyKind::Rsa { bits } if (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) => {}
            other => return Err(SigningRequestError::Key { found: other.to_string() }),
        }
        let signed = Signed::split(der).map_err(|_| SigningRequestError::Malformed)?;
        let public_key = key.raw.to_vec();
        verify(&signed, &public_key)?;
        Ok(Self { public_key })
    }

    /// The public key: a `SubjectPublicKeyInfo` in DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }
}

fn verify(signed: &Signed<'_>, public_key: &[u8]) -> Result<(), SigningRequestError> {
    let key = SubjectPublicKeyInfoDer::from(public_key);
    let entity = RawPublicKeyEntity::try_from(&key).map_err(|_| SigningRequestError::Malformed)?;
    let algorithms = SIGNATURE_ALGORITHMS.iter().filter(|known| known.signature_alg_id().as_ref() == signed.algorithm);
    let proved = algorithms
        .into_iter()
        .any(|algorithm| entity.verify_signature(*algorithm, signed.tbs, signed.signature).is_ok());
    if proved { Ok(()) } else { Err(SigningRequestError::Possession) }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn request(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let request = CertificateParams::default().serialize_request(&key).expect("a request");
        request.der().to_vec()
    }

    #[test]
    fn requests_with_good_keys_are_read() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            assert!(SigningRequest::from_der(&request(algorithm)).is_ok());
        }
    }

    #[test]
    fn a_request_that_was_changed_anywhere_or_cut_is_refused() {
        let good = request(&rcgen::PKCS_ECDSA_P256_SHA256);
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            assert!(SigningRequest::from_der(&bad).is_err(), "octet {index}");
            assert!(SigningRequest::from_der(&good[..index]).is_err(), "cut at {index}");
        }
        assert_eq!(SigningRequest::from_der(&[good, vec![0]].concat()), Err(SigningRequestError::Malformed));
        assert_eq!(SigningRequest::from_der(&vec![0x30; 20_000]), Err(SigningRequestError::Malformed));
    }
}
