//! A token in its compact form (RFC 7515 section 7.1), taken apart within bounds. Nothing here is verified yet.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::config::TokenAlgorithm;

use super::error::{Invalid, shown_value};
use super::json;

/// Most octets of a `kid`.
pub(super) const MAX_KID: usize = 256;
/// Most values in the header, and in the claims.
const MAX_VALUES: usize = 1024;
/// The types of tokens that are taken, `application/` left out and case ignored: JWTs, and access tokens (RFC 9068). Any other says that
/// the token is meant for something else (RFC 8725 section 3.11).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// A token, taken apart.
pub(super) struct Compact<'a> {
    pub(super) algorithm: TokenAlgorithm,
    pub(super) kid: Option<String>,
    /// What it claims; nobody has vouched for it.
    pub(super) claims: Map<String, Value>,
    /// What is signed.
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// What is wrong with its form, header or algorithm, whoever issued it.
    pub(super) fn parse(token: &'a str, max_size: usize) -> Result<Self, Invalid> {
        if token.len() > max_size {
            return Err(Invalid::TooLarge { octets: token.len(), limit: max_size });
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Invalid::Form)?;
        let (header, claims) =
            message.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or(Invalid::Form)?;
        let header = part("header", header)?;
        refuse_critical(&header)?;
        accept_type(&header)?;
        let algorithm = algorithm(&header)?;
        let kid = kid(&header)?;
        let claims = part("claims", claims)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Invalid::Base64 { part: "signature" })?;
        Ok(Self { algorithm, kid, claims, message: message.as_bytes(), signature })
    }
}

fn part(part: &'static str, text: &str) -> Result<Map<String, Value>, Invalid> {
    let octets = URL_SAFE_NO_PAD.decode(text).map_err(|_| Invalid::Base64 { part })?;
    json::object(&octets, MAX_VALUES).map_err(|detail| Invalid::Json { part, detail })
}

/// What has to be understood is not (RFC 7515 section 4.1.11). The members that name a key or bring one, `jku`, `jwk`, `x5u` and `x5c`,
/// are never looked at.
fn refuse_critical(header: &Map<String, Value>) -> Result<(), Invalid> {
    if header.contains_key("crit") { Err(Invalid::Critical) } else { Ok(()) }
}

fn accept_type(header: &Map<String, Value>) -> Result<(), Invalid> {
    let Some(typ) = header.get("typ") else { return Ok(()) };
    let name = typ.as_str().unwrap_or_default().to_ascii_lowercase();
    let name = name.strip_prefix("application/").unwrap_or(&name);
    if TYPES.contains(&name) { Ok(()) } else { Err(Invalid::Type { typ: shown_value(typ) }) }
}

fn algorithm(header: &Map<String, Value>) -> Result<TokenAlgorithm, Invalid> {
    let alg = header.get("alg").ok_or(Invalid::NoAlgorithm)?;
    let named = alg.as_str().and_then(TokenAlgorithm::named);
    named.ok_or_else(|| Invalid::Algorithm { alg: shown_value(alg) })
}

/// A key of a map and nothing else: no part of it is ever interpreted.
fn kid(header: &Map<String, Value>) -> Result<Option<String>, Invalid> {
    match header.get("kid") {
        None => Ok(None),
        Some(Value::String(kid)) if (1..=MAX_KID).contains(&kid.len()) => Ok(Some(kid.clone())),
        Some(_) => Err(Invalid::Kid),
    }
}
