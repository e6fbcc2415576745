//! The user on whose behalf a request comes, as the sidecar tells: the service verifies no token and knows no key.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::ServiceError;

/// The header in which the sidecar says for which user a request comes. Whoever else sends it is not heard: the sidecar
/// removes it.
pub(crate) const USER_HEADER: &str = "x-mantlet-user";

/// A user who is signed in, by the subject of their token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignedIn(pub(super) String);

impl<S: Sync> FromRequestParts<S> for SignedIn {
    type Rejection = ServiceError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ServiceError> {
        let mut told = parts.headers.get_all(USER_HEADER).iter();
        let user = told.next().ok_or(ServiceError::NobodySignedIn)?;
        if told.next().is_some() {
            return Err(ServiceError::BadRequest(format!("{USER_HEADER} came twice")));
        }
        let subject = user.to_str().ok().and_then(decoded).filter(|subject| !subject.is_empty());
        subject.map(Self).ok_or_else(|| ServiceError::BadRequest(format!("{USER_HEADER} is not percent-encoded UTF-8")))
    }
}

/// The subject behind its percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let mut value = 0;
            for digit in digits {
                value = value * 16 + char::from(*digit).to_digit(16)?;
            }
            octets.push(u8::try_from(value).ok()?);
            rest = after;
        } else {
            octets.push(*first);
            rest = after;
        }
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn told(values: &[&str]) -> Result<SignedIn, String> {
        let mut request = Request::builder();
        for value in values {
            request = request.header(USER_HEADER, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        SignedIn::from_request_parts(&mut parts, &()).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_subject_is_decoded() {
        assert_eq!(told(&["anneke"]).await, Ok(SignedIn("anneke".into())));
        assert_eq!(told(&["J%C3%BCrgen%25"]).await, Ok(SignedIn("Jürgen%".into())));
    }

    #[tokio::test]
    async fn nobody_two_and_what_cannot_be_read_are_refused() {
        assert_eq!(told(&[]).await.unwrap_err(), "nobody is signed in");
        assert_eq!(told(&["a", "b"]).await.unwrap_err(), "x-mantlet-user came twice");
        for odd in ["", "%", "%C3", "%+1", "%zz", "%é"] {
            assert_eq!(told(&[odd]).await.unwrap_err(), "x-mantlet-user is not percent-encoded UTF-8", "{odd}");
        }
    }
}
