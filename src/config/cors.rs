//! The keys of an `[[edge]]` that say which pages of other origins may call (the CORS protocol of the Fetch standard).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderName;
use thiserror::Error;
use url::Url;

use crate::policy::MethodName;

use super::reader::TableReader;

/// Which pages may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Their origins; never empty.
    pub origins: Vec<Origin>,
    /// The methods that they may use beyond those that need no leave; default `GET`, `HEAD`, `POST`, `PUT`, `PATCH` and `DELETE`.
    pub methods: Vec<MethodName>,
    /// The request headers that they may set; default `authorization` and `content-type`.
    pub headers: Vec<HeaderName>,
    /// How long a browser may remember this; default 10 min.
    pub max_age: Duration,
    /// Whether cookies and client certificates go along; default false.
    pub credentials: bool,
}

/// The origin of a page, as browsers write it: `https://market.example`, `https://market.example:8443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(Box<str>);

/// Why a text is no [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OriginError {
    /// It is none at all, or no single one.
    #[error("{text:?} is no origin: expected one such as \"https://market.example\"")]
    IllFormed {
        /// The text as it was given.
        text: String,
    },
    /// No browser writes it so.
    #[error("{text:?} is not as browsers write it: {written:?}")]
    WrittenOtherwise {
        /// The text as it was given.
        text: String,
        /// The same as browsers write it.
        written: String,
    },
}

impl Origin {
    /// As it stands in the header `Origin`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let ill_formed = || OriginError::IllFormed { text: text.to_owned() };
        let url = Url::parse(text).map_err(|_| ill_formed())?;
        let written = url.origin().ascii_serialization();
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(|host| host.contains('*')) {
            return Err(ill_formed());
        }
        if written == text {
            Ok(Self(written.into()))
        } else {
            Err(OriginError::WrittenOtherwise { text: text.to_owned(), written })
        }
    }
}

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const HEADERS: [HeaderName; 2] = [http::header::AUTHORIZATION, http::header::CONTENT_TYPE];
const MAX_AGE: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// `cors_origins` and what goes with it; `None` where no page of another origin may call.
pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Option<Cors> {
    let remedy = "write scheme and host, and a port that is not the scheme's own, such as \"https://market.example\"";
    let origins = t.parsed_list::<Origin>("cors_origins", remedy).unwrap_or_default();
    let methods = t.parsed_list::<MethodName>("cors_methods", "write methods in capital letters, such as \"GET\"");
    let headers = t.parsed_list::<HeaderName>("cors_headers", "write names of headers, such as \"content-type\"");
    let max_age = t.duration("cors_max_age", Duration::ZERO..=DAY).unwrap_or(MAX_AGE);
    let credentials = t.boolean("cors_credentials").is_some_and(|found| found.value);
    if origins.is_empty() {
        for key in ["cors_methods", "cors_headers", "cors_max_age", "cors_credentials"] {
            if let Some(span) = t.whole_span(key).filter(|_| t.span("cors_origins").is_none()) {
                let message = format!("{} has no effect without cors_origins", t.thing(key));
                t.warn(Some(span), message, "list the origins, or remove it");
            }
        }
        return None;
    }
    let methods = methods.map_or_else(
        || METHODS.iter().map(|name| name.parse().expect("a method")).collect(),
        |methods| methods.into_iter().map(|method| method.value).collect(),
    );
    let headers =
        headers.map_or_else(|| HEADERS.to_vec(), |headers| headers.into_iter().map(|header| header.value).collect());
    let origins = origins.into_iter().map(|origin| origin.value).collect();
    Some(Cors { origins, methods, headers, max_age, credentials })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_do() {
        for text in ["https://market.example", "http://localhost:3000", "https://[::1]:8443"] {
            assert_eq!(text.parse::<Origin>().expect("valid").as_str(), text);
        }
        for text in [
            "*",
            "null",
            "market.example",
            "https://",
            "https://*.market.example",
            "https://market.example/",
            "https://market.example:443",
            "HTTPS://market.example",
            "https://user@market.example",
            "https://market.example/path",
            "ftp://market.example",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text:?}");
        }
    }
}
