//! The CORS protocol (Fetch standard, section 3.2): which pages of other origins may call. Preflights are answered here, and the
//! service behind is neither asked nor believed about it.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, request};

use crate::config;
use crate::policy::MethodName;

use super::refusal::EdgeRefusal;

/// Which pages may call, and what they are told.
#[derive(Debug)]
pub(super) struct Cors {
    origins: Vec<HeaderValue>,
    methods: HeaderValue,
    headers: HeaderValue,
    max_age: HeaderValue,
    credentials: bool,
}

/// What an answer has to say of the page that asked.
#[derive(Debug, Clone)]
pub(super) struct CorsAnswer {
    /// Its origin, where it may call.
    origin: Option<HeaderValue>,
    credentials: bool,
}

impl Cors {
    pub(super) fn new(config: &config::Cors) -> Self {
        let methods: Vec<&str> = config.methods.iter().map(MethodName::as_str).collect();
        let headers: Vec<&str> = config.headers.iter().map(http::HeaderName::as_str).collect();
        Self {
            origins: config.origins.iter().map(|origin| value(origin.as_str())).collect(),
            methods: value(&methods.join(", ")),
            headers: value(&headers.join(", ")),
            max_age: HeaderValue::from(config.max_age.min(Duration::from_secs(u64::from(u32::MAX))).as_secs()),
            credentials: config.credentials,
        }
    }

    /// What the answer to this request has to say.
    pub(super) fn answer(&self, head: &request::Parts) -> CorsAnswer {
        let mut origins = head.headers.get_all(ORIGIN).iter();
        let origin = origins.next().filter(|origin| origins.next().is_none() && self.origins.contains(origin));
        CorsAnswer { origin: origin.cloned(), credentials: self.credentials }
    }

    /// The header section that answers a preflight.
    ///
    /// # Errors
    /// Where pages of its origin may not call.
    pub(super) fn preflight(&self, answer: &CorsAnswer) -> Result<HeaderMap, EdgeRefusal> {
        if answer.origin.is_none() {
            return Err(EdgeRefusal::OriginNotAllowed);
        }
        Ok(HeaderMap::from_iter([
            (ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone()),
            (ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone()),
            (ACCESS_CONTROL_MAX_AGE, self.max_age.clone()),
        ]))
    }
}

/// True for the question of a browser whether a page may make a request.
pub(super) fn is_preflight(head: &request::Parts) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

impl CorsAnswer {
    /// Says it, in place of whatever the service says.
    pub(super) fn set(self, headers: &mut HeaderMap) {
        headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
        headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
        // A cache must not give one origin what another was answered.
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = self.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// Origins, methods and names of headers are texts that header values may hold.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("a header value")
}
