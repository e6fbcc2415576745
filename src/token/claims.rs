//! What a token has to claim (RFC 7519 section 4.1), once its signature is known to be good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::config::Issuer;

use super::error::{Invalid, shown};

/// Most octets of a subject.
const MAX_SUBJECT: usize = 1024;
/// The end of the year 9999: what lies beyond is no date.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// A time within which claims hold, `leeway` included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    expires: SystemTime,
    not_before: Option<SystemTime>,
    issued: Option<SystemTime>,
    leeway: Duration,
}

/// The issuer that a token names.
///
/// # Errors
/// Where it names none.
pub(super) fn issuer(claims: &Map<String, Value>) -> Result<&str, Invalid> {
    text(claims, "iss")
}

/// Whom and what a token is about: checks its audience and subject.
///
/// # Errors
/// What is missing or wrong.
pub(super) fn subject<'a>(claims: &'a Map<String, Value>, issuer: &Issuer) -> Result<&'a str, Invalid> {
    audience(claims, issuer)?;
    let subject = text(claims, "sub")?;
    if (1..=MAX_SUBJECT).contains(&subject.len()) {
        Ok(subject)
    } else {
        Err(Invalid::Claim { claim: "sub", expected: "a text of 1 to 1024 octets" })
    }
}

impl Validity {
    /// Of these claims.
    ///
    /// # Errors
    /// Where `exp` is missing, or one of them is no date.
    pub(super) fn of(claims: &Map<String, Value>, leeway: Duration) -> Result<Self, Invalid> {
        let expires = date(claims, "exp")?.ok_or(Invalid::NoClaim { claim: "exp" })?;
        Ok(Self { expires, not_before: date(claims, "nbf")?, issued: date(claims, "iat")?, leeway })
    }

    /// Whether they hold at this time: from `nbf` and `iat` on, and before `exp`.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self, now: SystemTime) -> Result<(), Invalid> {
        // A clock that is fast by the leeway would have said so.
        let earliest = now.checked_sub(self.leeway).unwrap_or(UNIX_EPOCH);
        let latest = now + self.leeway;
        if earliest >= self.expires {
            let ago = now.duration_since(self.expires).unwrap_or_default();
            return Err(Invalid::Expired { at: self.expires, ago });
        }
        let ahead = |at: SystemTime| at.duration_since(now).unwrap_or_default();
        match (self.not_before, self.issued) {
            (Some(at), _) if at > latest => Err(Invalid::NotYetValid { at, ahead: ahead(at) }),
            (_, Some(at)) if at > latest => Err(Invalid::IssuedInFuture { at, ahead: ahead(at) }),
            _ => Ok(()),
        }
    }
}

/// One audience as a text, or several in a list of texts.
fn audience(claims: &Map<String, Value>, issuer: &Issuer) -> Result<(), Invalid> {
    let wrong = Invalid::Claim { claim: "aud", expected: "a text or a list of texts" };
    let given: Vec<&str> = match claims.get("aud") {
        None => return Err(Invalid::NoClaim { claim: "aud" }),
        Some(Value::String(audience)) => vec![audience],
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect::<Option<_>>().ok_or(wrong)?,
        Some(_) => return Err(wrong),
    };
    if issuer.audiences.iter().any(|audience| given.contains(&audience.value.as_str())) {
        return Ok(());
    }
    let audience = given.first().map_or_else(|| "nobody".to_owned(), |first| shown(first));
    Err(Invalid::Audience { issuer: issuer.name.value.clone(), audience })
}

fn text<'a>(claims: &'a Map<String, Value>, claim: &'static str) -> Result<&'a str, Invalid> {
    let value = claims.get(claim).ok_or(Invalid::NoClaim { claim })?;
    value.as_str().ok_or(Invalid::Claim { claim, expected: "a text" })
}

/// Seconds since 1970, whole or not (RFC 7519 section 2).
fn date(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<SystemTime>, Invalid> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds));
    let seconds = seconds.ok_or(Invalid::Claim { claim, expected: "a number of seconds since 1970" })?;
    Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds)))
}
