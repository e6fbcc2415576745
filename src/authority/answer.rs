//! Answers of the listeners.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, SERVER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::ca::{CaError, CertificateFault, EnrolmentError, chain};
use crate::x509::SigningRequestError;

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Which header names the reason of a refusal.
const REASON: &str = "mantlet-reason";
const SERVER_NAME: &str = concat!("mantlet/", env!("CARGO_PKG_VERSION"));
/// When to come back after a fault that passes by itself.
const LATER: Duration = Duration::from_secs(5);

/// Why a request is not granted.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// In one word, for programs, logs and metrics.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) message: String,
    /// For the log alone.
    pub(super) cause: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), cause: None, retry_after: None }
    }

    pub(super) fn rate_limited(wait: Duration) -> Self {
        let mut refusal =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests; try again later");
        refusal.retry_after = Some(wait);
        refusal
    }

    pub(super) fn unavailable(cause: &CaError) -> Self {
        let message = "the authority cannot answer at the moment; try again later";
        let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        // What is wrong with the store or the keys is the operator's to know.
        refusal.cause = Some(chain(cause));
        refusal.retry_after = Some(LATER);
        refusal
    }

    pub(super) fn answer(&self) -> Answer {
        let mut answer = respond(self.status, "text/plain; charset=utf-8", format!("{}\n", self.message));
        let headers = answer.headers_mut();
        headers.insert(REASON, HeaderValue::from_static(self.reason));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"mantlet authority\", charset=\"UTF-8\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        answer
    }
}

impl From<CertificateFault> for Refusal {
    fn from(fault: CertificateFault) -> Self {
        let (status, reason) = match fault {
            CertificateFault::Unknown => (StatusCode::UNAUTHORIZED, "certificate"),
            CertificateFault::Expired => (StatusCode::FORBIDDEN, "certificate_expired"),
            CertificateFault::Revoked => (StatusCode::FORBIDDEN, "revoked"),
            CertificateFault::WrongKind => (StatusCode::FORBIDDEN, "wrong_certificate"),
        };
        Self::new(status, reason, fault.message())
    }
}

impl From<EnrolmentError> for Refusal {
    fn from(error: EnrolmentError) -> Self {
        match error {
            EnrolmentError::Secret { reason } => {
                let mut refusal = Self::new(StatusCode::UNAUTHORIZED, "credential", error.to_string());
                refusal.cause = Some(reason.to_owned());
                refusal
            }
            EnrolmentError::Certificate(fault) => fault.into(),
            EnrolmentError::Registration(error) => {
                let (reason, message) = match &error {
                    CaError::NotActive { state, .. } => {
                        (state.as_str(), format!("the registration of this name is {state}; ask the operator"))
                    }
                    CaError::RegistrationExpired { .. } => {
                        ("expired", "the registration of this name has ended; ask the operator".to_owned())
                    }
                    _ => ("removed", "this name is not registered; ask the operator".to_owned()),
                };
                let mut refusal = Self::new(StatusCode::FORBIDDEN, reason, message);
                refusal.cause = Some(error.to_string());
                refusal
            }
            EnrolmentError::Unavailable(error) => Self::unavailable(&error),
        }
    }
}

impl From<SigningRequestError> for Refusal {
    fn from(error: SigningRequestError) -> Self {
        let reason = match error {
            SigningRequestError::Malformed => "malformed",
            SigningRequestError::Key { .. } => "weak_key",
            SigningRequestError::Possession => "proof_of_possession",
        };
        Self::new(StatusCode::BAD_REQUEST, reason, error.to_string())
    }
}

pub(super) fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", format!("this path takes {allowed}"));
    let mut answer = refusal.answer();
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

pub(super) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(SERVER, HeaderValue::from_static(SERVER_NAME));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
