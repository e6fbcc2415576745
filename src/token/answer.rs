//! What an issuer answers, read into keys: a JWK set (RFC 7517 section 5), or Firebase's object of certificates by `kid`.
//!
//! A key that cannot be used is left out and named; it keeps no other from being used (RFC 7517 section 5). What is no set at all is an
//! error.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value};

use crate::config::{KeysFormat, TokenAlgorithm};
use crate::x509::{BareKey, BareKeyKind};

use super::compact::MAX_KID;
use super::error::shown;
use super::json;
use super::key::{Key, Keys};

/// Most keys of an issuer.
const MAX_KEYS: usize = 64;
/// Most values in an answer.
const MAX_VALUES: usize = 8192;
/// Most keys that are named for not being used.
const MAX_NAMED: usize = 4;

/// An answer, read.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) keys: Keys,
    /// The keys that are not used, and why.
    pub(super) left_out: Option<String>,
}

/// A key as messages name it, and the key itself or why it cannot be used.
type Candidate = (String, Result<Key, String>);

/// Reads an answer.
///
/// # Errors
/// Why it is no set of keys.
pub(super) fn read(octets: &[u8], format: KeysFormat) -> Result<Answered, String> {
    let object = json::object(octets, MAX_VALUES)?;
    let read = match format {
        KeysFormat::Jwks => jwk_set(&object)?,
        KeysFormat::X509 => certificates(&object)?,
    };
    let (mut keys, mut left_out) = (Keys::default(), Vec::new());
    for (title, key) in read {
        if let Err(reason) = key.and_then(|key| keys.add(key)) {
            left_out.push(format!("{title} {reason}"));
        }
    }
    Ok(Answered { keys, left_out: listed(&left_out) })
}

fn listed(left_out: &[String]) -> Option<String> {
    let mut text = left_out.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join("; ");
    if left_out.len() > MAX_NAMED {
        let _ = write!(text, "; and {} more", left_out.len() - MAX_NAMED);
    }
    (!left_out.is_empty()).then_some(text)
}

fn jwk_set(object: &Map<String, Value>) -> Result<Vec<Candidate>, String> {
    let keys = object.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or("is no JWK set: expected an object with a list \"keys\"")?;
    bounded(keys.len())?;
    let title = |position: usize, kid: Option<&Value>| match kid.and_then(Value::as_str) {
        Some(kid) => format!("the key {}", shown(kid)),
        None => format!("key {}", position + 1),
    };
    let read = keys.iter().enumerate().map(|(position, jwk)| match jwk.as_object() {
        Some(members) => (title(position, members.get("kid")), jwk_key(members)),
        None => (title(position, None), Err("is no object".to_owned())),
    });
    Ok(read.collect())
}

/// A JSON Web Key (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).
fn jwk_key(jwk: &Map<String, Value>) -> Result<Key, String> {
    if jwk.contains_key("d") {
        return Err("is a private key, which the issuer has to withdraw".to_owned());
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(kid) => Some(usable_kid(kid.as_str())?),
    };
    let text = |member: &str| jwk.get(member).map(|value| value.as_str().unwrap_or_default());
    if text("use").is_some_and(|usage| usage != "sig") {
        return Err("is not for signatures (\"use\")".to_owned());
    }
    let verifies =
        |operations: &Value| operations.as_array().is_some_and(|list| list.iter().any(|one| one == "verify"));
    if !jwk.get("key_ops").is_none_or(verifies) {
        return Err("is not for verifying (\"key_ops\")".to_owned());
    }
    let octets = |member: &'static str| {
        let text = text(member).ok_or_else(|| format!("has no {member:?}"))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("has {member:?} that is not base64url without padding"))
    };
    let algorithm = match (text("kty"), text("crv")) {
        (Some("RSA"), _) => TokenAlgorithm::Rs256,
        (Some("EC"), Some("P-256")) => TokenAlgorithm::Es256,
        (Some("OKP"), Some("Ed25519")) => TokenAlgorithm::EdDsa,
        (Some(kty), Some(crv)) => return Err(format!("is of the kind {} on {}", shown(kty), shown(crv))),
        (kty, _) => return Err(format!("is of the kind {}", shown(kty.unwrap_or_default()))),
    };
    if let Some(alg) = text("alg").filter(|alg| *alg != algorithm.name()) {
        return Err(format!("is for {}: expected {}", shown(alg), algorithm.name()));
    }
    match algorithm {
        TokenAlgorithm::Rs256 => Key::rsa(kid, &octets("n")?, &octets("e")?),
        TokenAlgorithm::Es256 => Key::p256(kid, &octets("x")?, &octets("y")?),
        TokenAlgorithm::EdDsa => Key::ed25519(kid, &octets("x")?),
    }
}

/// The certificates are signed by nobody in particular: that they came from the issuer over HTTPS is what vouches for their keys. Their
/// dates hold all the same.
fn certificates(object: &Map<String, Value>) -> Result<Vec<Candidate>, String> {
    bounded(object.len())?;
    let read = object.iter().map(|(kid, pem)| (format!("the key {}", shown(kid)), certificate_key(kid, pem)));
    Ok(read.collect())
}

fn certificate_key(kid: &str, pem: &Value) -> Result<Key, String> {
    let pem = pem.as_str().ok_or("is no text")?;
    let kid = Some(usable_kid(Some(kid))?);
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "is no certificate in PEM")?;
    let BareKey { key, validity } = BareKey::of(&der).map_err(|error| format!("is {error}"))?;
    let key = match key {
        BareKeyKind::Rsa { modulus, exponent } => Key::rsa(kid, &modulus, &exponent),
        BareKeyKind::P256(point) => match point.split_first() {
            Some((4, coordinates)) if coordinates.len() == 64 => Key::p256(kid, &coordinates[..32], &coordinates[32..]),
            _ => Err("is a point on P-256 in a form that is not read".to_owned()),
        },
        BareKeyKind::Ed25519(key) => Key::ed25519(kid, &key),
        BareKeyKind::Other(name) => Err(format!("is a key of {name}")),
    };
    key.map(|key| key.within(validity))
}

fn usable_kid(kid: Option<&str>) -> Result<String, String> {
    let kid = kid.filter(|kid| (1..=MAX_KID).contains(&kid.len()));
    kid.map(str::to_owned).ok_or_else(|| format!("has a \"kid\" that is no text of 1 to {MAX_KID} octets"))
}

fn bounded(keys: usize) -> Result<(), String> {
    if keys > MAX_KEYS { Err(format!("holds {keys} keys: expected {MAX_KEYS} at most")) } else { Ok(()) }
}
