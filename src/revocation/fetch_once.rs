//! One fetch from an address, for a tool that has no engine.

use std::time::Duration;

use rustls::RootCertStore;
use thiserror::Error;

use crate::config::CrlUrl;
use crate::fetch::{Answer, Bounds, FetchError, Fetcher, Validators};

use super::SIZE_KEY;

/// Why nothing was fetched.
#[derive(Debug, Error)]
pub enum NotFetched {
    /// The HTTP client cannot be made.
    #[error("cannot be asked: {0}")]
    Client(#[from] reqwest::Error),
    /// The answer is longer than is read.
    #[error("is larger than {limit} bytes, the most that is read of an answer")]
    TooLarge {
        /// That.
        limit: u64,
    },
    /// No answer, or none that is of use.
    #[error("{0}")]
    Answer(String),
}

/// Fetches once, as a sidecar does. A server of `https` is verified against `anchors` alone.
///
/// # Errors
/// Why there is nothing to read.
pub async fn fetch_once(
    url: &CrlUrl,
    anchors: RootCertStore,
    max_size: u64,
    timeout: Duration,
) -> Result<Vec<u8>, NotFetched> {
    let fetcher = Fetcher::new(anchors, Bounds { hosts: Vec::new(), max_size, size_key: SIZE_KEY, timeout })?;
    match fetcher.get(url.url(), &Validators::default()).await {
        Ok(Answer::Body { bytes, .. }) => Ok(bytes),
        Ok(Answer::NotModified { .. }) => Err(NotFetched::Answer(FetchError::NotModifiedUnasked.to_string())),
        Err(FetchError::TooLarge { limit, .. }) => Err(NotFetched::TooLarge { limit }),
        Err(error) => Err(NotFetched::Answer(error.to_string())),
    }
}
