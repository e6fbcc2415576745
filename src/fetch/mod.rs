//! Fetching from an address, within bounds of time, octets and redirects.
//!
//! What an answer means, and when to ask again, is left to those who ask.

mod freshness;

use std::time::{Duration, SystemTime};

use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::redirect::{Attempt, Policy};
use rustls::RootCertStore;
use thiserror::Error;
use url::Url;

use freshness::freshness;

const MAX_REDIRECTS: usize = 3;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may pause.
const PAUSE: Duration = Duration::from_secs(20);
/// Longest validator that is sent back.
const MAX_VALIDATOR: usize = 256;

/// Fetches over HTTP/1.1, through no proxy. A server of `https` is verified against our own trust anchors.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: reqwest::Client,
    max_size: u64,
    size_key: &'static str,
    timeout: Duration,
}

/// What the answers of a [`Fetcher`] are bounded by.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The hosts that redirects may lead to; empty: any.
    pub hosts: Vec<String>,
    /// Most octets of an answer.
    pub max_size: u64,
    /// The key of the configuration that sets it, for messages.
    pub size_key: &'static str,
    /// How long a fetch may take in all.
    pub timeout: Duration,
}

/// What makes the next request conditional (RFC 9110 section 13).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// What was fetched before still holds.
    NotModified {
        /// For how long it is fresh from now on, where the answer says (RFC 9111 section 4.2).
        freshness: Option<Duration>,
    },
    /// Something to read.
    Body {
        /// It.
        bytes: Vec<u8>,
        /// What makes the next request conditional.
        validators: Validators,
        /// For how long it is fresh from now on, where the answer says (RFC 9111 section 4.2).
        freshness: Option<Duration>,
    },
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum FetchError {
    /// It took too long.
    #[error("did not answer in full within {}", humantime::format_duration(*.limit))]
    Timeout {
        /// How long it may take.
        limit: Duration,
    },
    /// No connection, or no handshake.
    #[error("cannot be connected to: {0}")]
    Connect(String),
    /// It leads to where nothing is fetched from.
    #[error("redirects: {0}")]
    Redirect(String),
    /// Another status than 200.
    #[error("answers {status}, expected 200")]
    Status {
        /// That.
        status: StatusCode,
    },
    /// 304 without a condition.
    #[error("answers \"304 Not Modified\" to a request without a condition")]
    NotModifiedUnasked,
    /// The answer is longer than is read.
    #[error("is larger than {limit} bytes ({key})")]
    TooLarge {
        /// The most that is read.
        limit: u64,
        /// The key of the configuration that sets it.
        key: &'static str,
    },
    /// The answer is cut short or no HTTP.
    #[error("gives no whole answer: {0}")]
    Other(String),
}

impl Fetcher {
    /// One that verifies servers against these anchors alone.
    ///
    /// # Errors
    /// Where the HTTP client cannot be made.
    pub fn new(anchors: RootCertStore, bounds: Bounds) -> Result<Self, reqwest::Error> {
        let Bounds { hosts, max_size, size_key, timeout } = bounds;
        let provider = crate::tls::provider();
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap_or_else(|_| unreachable!("the provider has the cipher suites of TLS 1.2 and 1.3"))
            .with_root_certificates(anchors)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .use_preconfigured_tls(tls)
            .http1_only()
            .no_proxy()
            .user_agent(concat!("mantlet/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::custom(move |attempt| follow(attempt, &hosts)))
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .read_timeout(PAUSE.min(timeout))
            .timeout(timeout)
            // A fetch an hour is no reason to keep a connection.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { client, max_size, size_key, timeout })
    }

    /// Asks once.
    ///
    /// # Errors
    /// Why there is no answer that is of use.
    pub async fn get(&self, url: &Url, validators: &Validators) -> Result<Answer, FetchError> {
        let request = self.client.get(url.clone()).headers(validators.conditions());
        let mut response = request.send().await.map_err(|error| self.explain(&error))?;
        let fresh = freshness(response.headers(), SystemTime::now());
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if validators.are_there() => return Ok(Answer::NotModified { freshness: fresh }),
            StatusCode::NOT_MODIFIED => return Err(FetchError::NotModifiedUnasked),
            status => return Err(FetchError::Status { status }),
        }
        let too_large = || FetchError::TooLarge { limit: self.max_size, key: self.size_key };
        if response.content_length().is_some_and(|length| length > self.max_size) {
            return Err(too_large());
        }
        let validators = Validators::of(response.headers());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.explain(&error))? {
            if (bytes.len() + chunk.len()) as u64 > self.max_size {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Answer::Body { bytes, validators, freshness: fresh })
    }

    fn explain(&self, error: &reqwest::Error) -> FetchError {
        // The address stands before it in every message.
        let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        let text = causes.last().cloned().unwrap_or_else(|| "the connection broke".to_owned());
        if error.is_redirect() {
            FetchError::Redirect(text)
        } else if error.is_timeout() {
            FetchError::Timeout { limit: self.timeout }
        } else if error.is_connect() {
            FetchError::Connect(text)
        } else {
            FetchError::Other(text)
        }
    }
}

/// A few hops, never from `https` to `http`, and only to hosts that may be asked.
fn follow(attempt: Attempt<'_>, hosts: &[String]) -> reqwest::redirect::Action {
    let host = attempt.url().host_str().unwrap_or_default().to_owned();
    let was_https = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error(format!("more than {MAX_REDIRECTS} times"))
    } else if !matches!(attempt.url().scheme(), "http" | "https") || (was_https && attempt.url().scheme() != "https") {
        let refused = format!("to {}, which is less than it was asked over", attempt.url().scheme());
        attempt.error(refused)
    } else if !hosts.is_empty() && !hosts.contains(&host) {
        attempt.error(format!("to {host:?}, which is not among revocation.distribution_point_hosts"))
    } else {
        attempt.follow()
    }
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let short = |name| headers.get(name).filter(|value| value.len() <= MAX_VALIDATOR).cloned();
        Self { etag: short(ETAG), last_modified: short(LAST_MODIFIED) }
    }

    /// Whether there is any.
    pub fn are_there(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    fn conditions(&self) -> HeaderMap {
        let etag = self.etag.iter().map(|etag| (IF_NONE_MATCH, etag.clone()));
        let since = self.last_modified.iter().map(|since| (IF_MODIFIED_SINCE, since.clone()));
        etag.chain(since).collect()
    }
}
