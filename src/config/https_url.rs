//! An address that is asked over HTTPS alone.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

use super::{CrlUrl, CrlUrlError};

/// An `https` address without user, password and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsUrl(Url);

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HttpsUrlError {
    /// No address at all.
    #[error("{text:?} is no address: {detail}; expected https://HOST[:PORT]/PATH")]
    Malformed {
        /// The text as it was given.
        text: String,
        /// What the parser found.
        detail: String,
    },
    /// Another scheme, over which anyone between could put keys of their own in the place of the issuer's.
    #[error("{text:?} is of the scheme {scheme:?}: expected https")]
    Scheme {
        /// The text as it was given.
        text: String,
        /// Its scheme.
        scheme: String,
    },
    /// A user name or password, or more octets than an address has.
    #[error("{0}")]
    Refused(CrlUrlError),
}

impl FromStr for HttpsUrl {
    type Err = HttpsUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let scheme = |scheme: &str| HttpsUrlError::Scheme { text: text.to_owned(), scheme: scheme.to_owned() };
        match text.parse::<CrlUrl>() {
            Ok(url) if url.url().scheme() == "https" => Ok(Self(url.url().clone())),
            Ok(url) => Err(scheme(url.url().scheme())),
            Err(CrlUrlError::Scheme { scheme: other, .. }) => Err(scheme(&other)),
            Err(CrlUrlError::Malformed { text, detail }) => Err(HttpsUrlError::Malformed { text, detail }),
            Err(other) => Err(HttpsUrlError::Refused(other)),
        }
    }
}

impl HttpsUrl {
    /// The address.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}
