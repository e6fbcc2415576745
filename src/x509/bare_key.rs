//! The public key of a certificate that is nothing but its wrapping, as issuers of tokens publish them. Who signed it is not looked at.

use std::ops::RangeInclusive;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::MalformedCertificate;
use super::facts::{Facts, KeyKind};

/// A key and the dates of the certificate around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BareKey {
    /// The key.
    pub key: BareKeyKind,
    /// When the certificate is valid, first and last second included.
    pub validity: RangeInclusive<SystemTime>,
}

/// A key by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BareKeyKind {
    /// RSA, big-endian.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The exponent.
        exponent: Vec<u8>,
    },
    /// A point on P-256 as SEC 1 writes it.
    P256(Vec<u8>),
    /// Ed25519.
    Ed25519(Vec<u8>),
    /// A kind that verifies no token, by its name.
    Other(String),
}

impl BareKey {
    /// The key of a certificate.
    ///
    /// # Errors
    /// As [`CertificateInfo::from_der`](super::CertificateInfo::from_der).
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, MalformedCertificate> {
        let facts = Facts::read(certificate)?;
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| MalformedCertificate { detail: error.to_string() })?;
        let info = parsed.public_key();
        let octets = || info.subject_public_key.data.to_vec();
        let key = match (facts.key, info.parsed()) {
            (KeyKind::Rsa { .. }, Ok(PublicKey::RSA(rsa))) => {
                BareKeyKind::Rsa { modulus: rsa.modulus.to_vec(), exponent: rsa.exponent.to_vec() }
            }
            (KeyKind::EcdsaP256, _) => BareKeyKind::P256(octets()),
            (KeyKind::Ed25519, _) => BareKeyKind::Ed25519(octets()),
            (other, _) => BareKeyKind::Other(other.to_string()),
        };
        Ok(Self { key, validity: facts.info.not_before..=facts.info.not_after })
    }
}
