//! Tokens: what stands in them, and how they are signed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::SigningKey as _;
use serde_json::{Value, json};

use super::keys::Key;
use super::{Account, TokenArgs};

/// What a token for `account` says, if it is issued `now`.
pub(super) fn claims(args: &TokenArgs, account: &Account, now: SystemTime, life: Duration) -> Value {
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({
        "iss": args.issuer,
        "aud": args.audience,
        "sub": account.subject,
        "iat": now,
        "exp": now + life.as_secs(),
        "name": account.name,
        "email": account.email,
        "email_verified": account.email_verified,
        "role": account.role,
    })
}

/// The token with these claims, signed with RS256 (RFC 7515, section 7.1).
pub(super) fn signed(key: &Key, claims: &Value) -> anyhow::Result<String> {
    with_header(&json!({ "alg": "RS256", "typ": "JWT", "kid": key.kid }), claims, |input| Ok(key.pair.sign(input)?))
}

/// A token with any header, and with whatever `sign` makes of its first two parts.
pub(super) fn with_header(
    header: &Value,
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<String> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", part(header), part(claims));
    let signature = sign(input.as_bytes())?;
    Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
