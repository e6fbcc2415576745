//! The signature algorithms and keys that are accepted in certificates and CRLs.

use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::aws_lc_rs as algorithms;

use super::RefusalReason;
use super::facts::KeyKind;

/// Fewest bits of an RSA key.
pub(super) const MIN_RSA_BITS: usize = 2048;

/// ECDSA P-256 and P-384 with SHA-256 and SHA-384, Ed25519, RSA of 2048 bits or more with SHA-256, SHA-384 and SHA-512.
/// SHA-1, MD5, DSA and P-521 are absent.
pub(super) static SIGNATURE_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// Why a key is not accepted, whatever it signed.
pub(super) fn key_fault(key: &KeyKind, subject: &str) -> Option<RefusalReason> {
    let subject = || subject.to_owned();
    match key {
        KeyKind::Rsa { bits } if *bits < MIN_RSA_BITS => {
            Some(RefusalReason::WeakKey { subject: subject(), bits: *bits })
        }
        KeyKind::Other(name) => {
            Some(RefusalReason::UnsupportedAlgorithm { subject: subject(), algorithm: format!("has a key of {name}") })
        }
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::Ed25519 | KeyKind::Rsa { .. } => None,
    }
}
