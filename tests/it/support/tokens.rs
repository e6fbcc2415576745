//! Keys that sign end-user tokens, and tokens right and wrong.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// What tokens of [`claims`] are issued by.
pub(crate) const ISS: &str = "https://issuer.fleamarket.example";
/// Whom they are for.
pub(crate) const AUDIENCE: &str = "flea-market";

/// Made once: an RSA key takes longer than all else of a test.
static RSA_2048: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

/// A key pair and its `kid`.
pub(crate) struct TokenKey {
    pub(crate) kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(&'static RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl TokenKey {
    /// RSA of 2048 bits; the same for every test.
    pub(crate) fn rsa(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Pair::Rsa(&RSA_2048) }
    }

    pub(crate) fn p256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::P256(pair) }
    }

    pub(crate) fn ed25519(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Pair::Ed25519(Ed25519KeyPair::generate().unwrap()) }
    }

    pub(crate) fn alg(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// The public half as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                json!({
                    "kty": "RSA",
                    "n": base64url(n.big_endian_without_leading_zero()),
                    "e": base64url(e.big_endian_without_leading_zero()),
                })
            }
            Pair::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y) })
            }
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref()) })
            }
        };
        jwk["use"] = "sig".into();
        jwk["alg"] = self.alg().into();
        jwk["kid"] = self.kid.as_str().into();
        jwk
    }

    /// The private half as PKCS #8.
    pub(crate) fn pkcs8(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.as_der().unwrap().as_ref().to_vec(),
            Pair::P256(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
        }
    }

    /// The header of its tokens.
    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.alg(), "typ": "JWT", "kid": self.kid })
    }

    /// A token of these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_of(&self.header(), claims)
    }

    /// A token of this header.
    pub(crate) fn token_of(&self, header: &Value, claims: &Value) -> String {
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token of a header and claims as they are written.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", base64url(&signature))
    }

    pub(crate) fn signature(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// The claims of a good token of a user, that holds for an hour from `now`.
pub(crate) fn claims(now: SystemTime) -> Value {
    let second = seconds(now);
    json!({
        "iss": ISS,
        "aud": AUDIENCE,
        "sub": "user-7",
        "iat": second,
        "exp": second + 3600,
        "email": "anna@fleamarket.example",
        "email_verified": true,
        "role": "seller",
    })
}

/// The same with one claim changed, or removed where the value is null.
pub(crate) fn claims_with(now: SystemTime, claim: &str, value: Value) -> Value {
    let mut claims = claims(now);
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
        value => claims[claim] = value,
    }
    claims
}

/// A JWK set of these keys.
pub(crate) fn jwks(keys: &[&TokenKey]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The present in whole seconds, as claims have them.
pub(crate) fn this_second() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds(SystemTime::now()))
}

pub(crate) fn base64url(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}
