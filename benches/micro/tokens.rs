//! What a token of an end user costs: the first request with it, and every further one.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use divan::Bencher;
use futures_util::FutureExt as _;
use mantlet::config::{Issuer, TokenAlgorithm};
use mantlet::token::{Accepted, Issuers};
use serde_json::{Value, json};

const ISS: &str = "https://issuer.example";
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    fn generate(alg: &str) -> Self {
        match alg {
            "RS256" => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")),
            "ES256" => Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")),
            _ => Self::Ed25519(Ed25519KeyPair::generate().expect("a key")),
        }
    }

    fn jwk(&self) -> Value {
        match self {
            Self::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                json!({ "kty": "RSA", "kid": "k", "n": base64url(n), "e": base64url(e) })
            }
            Self::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": "k", "x": base64url(x), "y": base64url(y) })
            }
            Self::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": base64url(pair.public_key().as_ref()) })
            }
        }
    }

    /// A token as Firebase makes them, about a kilobyte long.
    fn token(&self, alg: &str, subject: u64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let claims = json!({
            "iss": ISS, "aud": "flea-market", "sub": format!("user-{subject}"), "iat": now, "exp": now + 3600, "auth_time": now,
            "name": "Anna", "picture": "https://pictures.example/anna.png", "email": "anna@example.com", "email_verified": true,
            "firebase": { "identities": { "email": ["anna@example.com"] }, "sign_in_provider": "password" },
            "role": "seller",
        });
        let header = json!({ "alg": alg, "kid": "k", "typ": "JWT" });
        let message =
            format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
        let signature = match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).expect("signed");
                signature
            }
            Self::P256(pair) => pair.sign(&SystemRandom::new(), message.as_bytes()).expect("signed").as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", base64url(&signature))
    }

    fn issuers(&self, alg: &str) -> Issuers {
        let algorithm = TokenAlgorithm::named(alg).expect("an algorithm");
        let url = "https://issuer.example/jwks.json".parse().expect("an address");
        let settings = Issuer::of("market", ISS, "flea-market", algorithm, url);
        let answer = json!({ "keys": [self.jwk()] }).to_string();
        Issuers::of_answer(settings, answer.as_bytes(), SystemTime::now()).expect("usable")
    }
}

fn base64url(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

fn verify(issuers: &Issuers, token: &str) -> bool {
    let verdict = issuers.verify(token, &Accepted::All, SystemTime::now()).now_or_never();
    verdict.expect("nothing to wait for").is_ok()
}

/// A token that was not seen before: read, its signature verified, its claims checked.
#[divan::bench(args = ALGORITHMS)]
fn a_token_the_first_time(bencher: Bencher<'_, '_>, alg: &str) {
    let pair = Pair::generate(alg);
    let issuers = pair.issuers(alg);
    let mut subject = 0;
    let next = || {
        subject += 1;
        pair.token(alg, subject)
    };
    bencher.with_inputs(next).bench_local_values(|token| assert!(verify(&issuers, &token)));
}

/// The same token again.
#[divan::bench(args = ALGORITHMS)]
fn a_token_again(bencher: Bencher<'_, '_>, alg: &str) {
    let pair = Pair::generate(alg);
    let issuers = pair.issuers(alg);
    let token = pair.token(alg, 1);
    bencher.bench_local(|| assert!(verify(&issuers, &token)));
}
