//! The headers that tell of the end user on whose behalf a caller calls: made at the edge, read by the sidecars behind it.
//!
//! Whose headers are read at all is left to the listener; those of everybody else are removed with all reserved names.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::header::{CONNECTION, HeaderName};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use crate::identity::User;

use super::headers::connection_options;

/// The subject, percent-encoded where it is not printable ASCII.
const USER: HeaderName = HeaderName::from_static("x-mantlet-user");
/// Who vouches for the user, likewise.
const USER_ISSUER: HeaderName = HeaderName::from_static("x-mantlet-user-issuer");
/// The claims: a JSON object in base64url without padding (RFC 4648 section 5).
const USER_CLAIMS: HeaderName = HeaderName::from_static("x-mantlet-user-claims");

/// The most octets of an encoded subject or issuer.
const MAX_NAME: usize = 2048;
/// The most octets of encoded claims: twice what the largest token that an edge takes by default holds.
const MAX_CLAIMS: usize = 16 * 1024;

/// The three headers of one user, well-formed and within their bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserHeaders {
    subject: HeaderValue,
    issuer: HeaderValue,
    claims: HeaderValue,
}

impl UserHeaders {
    /// The headers of a user; nothing where they would be larger than any sidecar takes.
    pub fn of(user: &User) -> Option<Self> {
        let claims = Value::Object(user.claims.clone()).to_string();
        let within = |text: String, limit: usize| HeaderValue::try_from(text).ok().filter(|value| value.len() <= limit);
        Some(Self {
            subject: within(escaped(&user.subject), MAX_NAME)?,
            issuer: within(escaped(&user.issuer), MAX_NAME)?,
            claims: within(BASE64URL.encode(claims), MAX_CLAIMS)?,
        })
    }

    /// The user that a request's headers tell of; nothing where none of them is there. To be asked only for callers that may say
    /// who the user is.
    ///
    /// # Errors
    /// What is wrong with the headers, for the caller.
    pub fn read(headers: &HeaderMap) -> Result<Option<(Self, User)>, &'static str> {
        let found = [one(headers, &USER)?, one(headers, &USER_ISSUER)?, one(headers, &USER_CLAIMS)?];
        if found.iter().all(Option::is_none) {
            return Ok(None);
        }
        let [Some(subject), Some(issuer), Some(claims)] = found else {
            return Err("only some of the headers x-mantlet-user, x-mantlet-user-issuer and x-mantlet-user-claims");
        };
        if headers.contains_key(CONNECTION) && connection_options(headers).any(is_user_header) {
            return Err("a Connection header that names a header of the user");
        }
        let user = User {
            subject: unescaped(subject).ok_or("an x-mantlet-user that is ill-formed or too long")?,
            issuer: unescaped(issuer).ok_or("an x-mantlet-user-issuer that is ill-formed or too long")?,
            claims: decoded(claims).ok_or("an x-mantlet-user-claims that is ill-formed or too long")?,
        };
        Ok(Some((Self { subject: subject.clone(), issuer: issuer.clone(), claims: claims.clone() }, user)))
    }

    /// Sets them, in place of any of the same name.
    pub fn set(self, headers: &mut HeaderMap) {
        headers.insert(USER, self.subject);
        headers.insert(USER_ISSUER, self.issuer);
        headers.insert(USER_CLAIMS, self.claims);
    }
}

/// The only value of a header.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, &'static str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err("a header of the user more than once") } else { Ok(first) }
}

fn is_user_header(option: &str) -> bool {
    [&USER, &USER_ISSUER, &USER_CLAIMS].iter().any(|name| option.eq_ignore_ascii_case(name.as_str()))
}

/// Percent-encodes all but printable ASCII, and `%` itself.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'!'..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
        encoded
    })
}

/// The text that [`escaped`] made a value of: never empty, and UTF-8.
fn unescaped(value: &HeaderValue) -> Option<String> {
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = Some(value.as_bytes()).filter(|octets| (1..=MAX_NAME).contains(&octets.len()))?;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'%' => {
                let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (digits, behind) = rest.split_first_chunk::<2>()?;
                octets.push((digit(digits[0])? << 4) | digit(digits[1])?);
                rest = behind;
            }
            b'!'..=b'~' => octets.push(*first),
            _ => return None,
        }
    }
    String::from_utf8(octets).ok()
}

fn decoded(value: &HeaderValue) -> Option<serde_json::Map<String, Value>> {
    let encoded = Some(value.as_bytes()).filter(|octets| octets.len() <= MAX_CLAIMS)?;
    serde_json::from_slice(&BASE64URL.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn user(subject: &str, claims: &Value) -> User {
        User {
            issuer: "https://issuer.fleamarket.example".into(),
            subject: subject.into(),
            claims: claims.as_object().expect("an object").clone(),
        }
    }

    fn headers(user: &User) -> HeaderMap {
        let mut headers = HeaderMap::new();
        UserHeaders::of(user).expect("within bounds").set(&mut headers);
        headers
    }

    #[test]
    fn a_user_is_read_as_it_was_written() {
        let ann = user("ann 100% \u{e9}\n", &json!({"role": ["seller"], "name": "Ann \u{e9}"}));
        let headers = headers(&ann);
        assert_eq!(headers[USER], "ann%20100%25%20%C3%A9%0A");
        assert_eq!(UserHeaders::read(&headers).expect("good").map(|(_, user)| user), Some(ann));
    }

    #[test]
    fn no_header_is_no_user() {
        assert_eq!(UserHeaders::read(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn what_is_doubled_missing_or_ill_formed_is_refused() {
        let good = headers(&user("ann", &json!({})));
        let with = |name: HeaderName, value: &str| {
            let mut headers = good.clone();
            headers.insert(name, HeaderValue::from_str(value).expect("a value"));
            headers
        };
        let mut bad: Vec<HeaderMap> = [USER, USER_ISSUER, USER_CLAIMS]
            .into_iter()
            .flat_map(|name| {
                let (mut doubled, mut missing) = (good.clone(), good.clone());
                doubled.append(name.clone(), good[&name].clone());
                missing.remove(&name);
                [doubled, missing, with(CONNECTION, &format!("close, {}", name.as_str().to_uppercase()))]
            })
            .collect();
        bad.extend(["", "a b", "%", "%4", "%zz", "%ff", &"x".repeat(MAX_NAME + 1)].map(|value| with(USER, value)));
        bad.extend(["", "%"].map(|value| with(USER_ISSUER, value)));
        let claims = ["{}", "", "e30=", "e31", "W10", "bnVsbA", &"e30".repeat(MAX_CLAIMS)];
        bad.extend(claims.map(|value| with(USER_CLAIMS, value)));
        for headers in bad {
            assert!(UserHeaders::read(&headers).is_err(), "{headers:?}");
        }
    }

    #[test]
    fn a_user_beyond_the_bounds_has_no_headers() {
        assert_eq!(UserHeaders::of(&user(&"x".repeat(MAX_NAME + 1), &json!({}))), None);
        assert_eq!(UserHeaders::of(&user("ann", &json!({"x": "x".repeat(MAX_CLAIMS)}))), None);
    }

    proptest! {
        #[test]
        fn every_subject_survives(subject in ".{1,100}") {
            let one = user(&subject, &json!({}));
            prop_assert_eq!(UserHeaders::read(&headers(&one)).map(|read| read.map(|(_, user)| user)), Ok(Some(one)));
        }
    }
}
