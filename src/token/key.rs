//! One public key of an issuer, and the set of them that is in use.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::SystemTime;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    VerificationAlgorithm,
};

use crate::config::TokenAlgorithm;

use super::error::shown;

/// Octets of a coordinate on P-256, and of a key of Ed25519.
const COORDINATE: usize = 32;
/// Bits of an RSA modulus, fewest and most.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// A public key, bound to the one algorithm that it verifies by.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) algorithm: TokenAlgorithm,
    /// When the certificate that it came in is valid; absent where it came in none.
    pub(super) validity: Option<RangeInclusive<SystemTime>>,
    public: ParsedPublicKey,
}

impl Key {
    /// Of an RSA modulus and exponent, big-endian.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn rsa(kid: Option<String>, modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        let significant = |octets: &[u8]| octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len());
        let (modulus, exponent) = (&modulus[significant(modulus)..], &exponent[significant(exponent)..]);
        let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
            return Err(format!("is an RSA key of {bits} bits: expected {least} to {most}"));
        }
        // With an exponent of 1 every signature would be its own message.
        if exponent.len() > 4 || exponent.last().is_none_or(|last| last % 2 == 0) || exponent == [1] {
            return Err("is an RSA key whose exponent is not odd, from 3 to 4294967295".to_owned());
        }
        let components = RsaPublicKeyComponents { n: modulus, e: exponent };
        let public = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
        let public = public.map_err(|error| format!("is no RSA key: {error}"))?;
        Ok(Self { kid, algorithm: TokenAlgorithm::Rs256, validity: None, public })
    }

    /// Of the coordinates of a point on P-256, whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn p256(kid: Option<String>, x: &[u8], y: &[u8]) -> Result<Self, String> {
        if x.len() != COORDINATE || y.len() != COORDINATE {
            return Err("is a key on P-256 whose coordinates are not of 32 octets".to_owned());
        }
        Self::parse(kid, TokenAlgorithm::Es256, &ECDSA_P256_SHA256_FIXED, &[&[4], x, y].concat())
    }

    /// Of Ed25519.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn ed25519(kid: Option<String>, x: &[u8]) -> Result<Self, String> {
        if x.len() != COORDINATE {
            return Err("is a key of Ed25519 that is not of 32 octets".to_owned());
        }
        Self::parse(kid, TokenAlgorithm::EdDsa, &ED25519, x)
    }

    /// The same, good for as long as the certificate that it came in.
    pub(super) fn within(self, validity: RangeInclusive<SystemTime>) -> Self {
        Self { validity: Some(validity), ..self }
    }

    fn parse(
        kid: Option<String>,
        algorithm: TokenAlgorithm,
        verification: &'static dyn VerificationAlgorithm,
        octets: &[u8],
    ) -> Result<Self, String> {
        let public = ParsedPublicKey::new(verification, octets);
        let public = public.map_err(|error| format!("is no key for {}: {error}", algorithm.name()))?;
        Ok(Self { kid, algorithm, validity: None, public })
    }

    /// Whether this key made the signature over the message.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }
}

/// Its algorithm and `kid`, for people.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.name())?;
        match &self.kid {
            Some(kid) => write!(f, " {}", shown(kid)),
            None => f.write_str(" without a \"kid\""),
        }
    }
}

/// The keys that an answer of an issuer held.
#[derive(Debug, Default)]
pub(super) struct Keys {
    by_kid: HashMap<String, Vec<Key>>,
    nameless: Vec<Key>,
}

/// Why a token's key was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotFound {
    /// No key has this `kid`.
    Unknown,
    /// The token has no `kid`, and so many keys could be meant.
    Ambiguous(usize),
}

impl Keys {
    /// Adds a key, unless one of its `kid` and algorithm is there.
    pub(super) fn add(&mut self, key: Key) -> Result<(), String> {
        let Some(kid) = key.kid.clone() else {
            self.nameless.push(key);
            return Ok(());
        };
        let namesakes = self.by_kid.entry(kid).or_default();
        if namesakes.iter().any(|earlier| earlier.algorithm == key.algorithm) {
            return Err("has the \"kid\" of an earlier key".to_owned());
        }
        namesakes.push(key);
        Ok(())
    }

    /// The key of a token: that of its `kid`, or without one the only one for its algorithm.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: TokenAlgorithm) -> Result<&Key, NotFound> {
        if let Some(kid) = kid {
            let mut namesakes = self.by_kid.get(kid).into_iter().flatten();
            return namesakes.find(|key| key.algorithm == algorithm).ok_or(NotFound::Unknown);
        }
        let mut fitting = self.iter().filter(|key| key.algorithm == algorithm);
        match (fitting.next(), fitting.count()) {
            (Some(only), 0) => Ok(only),
            (first, others) => Err(NotFound::Ambiguous(usize::from(first.is_some()) + others)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.by_kid.values().flatten().chain(&self.nameless)
    }
}
