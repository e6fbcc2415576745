//! Why an edge listener answers a request itself, and what the client is told: one exhaustive match for each.

use std::time::Duration;

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use thiserror::Error;

use crate::policy::{AmbiguousPath, RouteDenial};

use super::throttle::Throttled;

/// Why an edge listener answers a request itself.
#[derive(Debug, Error)]
pub enum EdgeRefusal {
    /// A token stands in the URL, where logs and browsers keep it.
    #[error("a token in the URL is not accepted: send it in the header Authorization")]
    TokenInUrl,
    /// Two readers could take the path for two different ones.
    #[error("the path holds {0}")]
    AmbiguousPath(AmbiguousPath),
    /// No route is for this host.
    #[error("nothing is served here for this host")]
    Misdirected,
    /// No route is for this path.
    #[error("nothing is served here under this path")]
    NoRoute,
    /// Routes are for this path, but none for this method.
    #[error("this path takes other methods: {allow}")]
    MethodNotAllowed {
        /// Them, for `Allow`.
        allow: String,
    },
    /// A page of this origin may not call.
    #[error("pages of this origin may not call")]
    OriginNotAllowed,
    /// There is no token.
    #[error("a token is needed: send \"Authorization: Bearer TOKEN\"")]
    NoToken,
    /// The header `Authorization` is not what it should be.
    #[error("{0}")]
    BadAuthorization(&'static str),
    /// The token is not good.
    #[error("{detail}")]
    InvalidToken {
        /// What is wrong with it, in full.
        detail: String,
        /// The same for whoever sent it.
        description: &'static str,
    },
    /// Whether the token is good cannot be told now.
    #[error("{detail}")]
    IssuerUnavailable {
        /// Why not.
        detail: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// The user, or the client's certificate, may not use the route.
    #[error("{0}")]
    Denied(RouteDenial),
    /// A bucket is empty.
    #[error("too many requests")]
    Throttled {
        /// Whose.
        by: Throttled,
        /// When it has a token again.
        retry_after: Duration,
    },
    /// The body is too long.
    #[error("the body is longer than {limit} bytes")]
    BodyTooLarge {
        /// `max_body`.
        limit: u64,
    },
}

impl EdgeRefusal {
    /// A short fixed name for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TokenInUrl => "token_in_url",
            Self::AmbiguousPath(_) => "ambiguous_path",
            Self::Misdirected => "misdirected",
            Self::NoRoute => "no_route",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::NoToken => "no_token",
            Self::BadAuthorization(_) => "bad_authorization",
            Self::InvalidToken { .. } => "invalid_token",
            Self::IssuerUnavailable { .. } => "issuer_unavailable",
            Self::Denied(RouteDenial::CertificateWithdrawn) => "certificate_withdrawn",
            Self::Denied(RouteDenial::NoUser) => "no_user",
            Self::Denied(RouteDenial::Claims { .. }) => "claims_not_met",
            Self::Throttled { .. } => "throttled",
            Self::BodyTooLarge { .. } => "body_too_large",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TokenInUrl | Self::AmbiguousPath(_) | Self::BadAuthorization(_) => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoToken | Self::InvalidToken { .. } | Self::Denied(RouteDenial::NoUser) => StatusCode::UNAUTHORIZED,
            Self::OriginNotAllowed | Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::IssuerUnavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    /// The gRPC status code (`google.rpc.Code`).
    pub fn grpc_status(&self) -> u8 {
        const INVALID_ARGUMENT: u8 = 3;
        const PERMISSION_DENIED: u8 = 7;
        const RESOURCE_EXHAUSTED: u8 = 8;
        const UNIMPLEMENTED: u8 = 12;
        const UNAVAILABLE: u8 = 14;
        const UNAUTHENTICATED: u8 = 16;
        match self {
            Self::TokenInUrl | Self::AmbiguousPath(_) | Self::BadAuthorization(_) => INVALID_ARGUMENT,
            Self::Misdirected | Self::NoRoute | Self::MethodNotAllowed { .. } => UNIMPLEMENTED,
            Self::NoToken | Self::InvalidToken { .. } | Self::Denied(RouteDenial::NoUser) => UNAUTHENTICATED,
            Self::OriginNotAllowed | Self::Denied(_) => PERMISSION_DENIED,
            Self::IssuerUnavailable { .. } => UNAVAILABLE,
            Self::Throttled { .. } | Self::BodyTooLarge { .. } => RESOURCE_EXHAUSTED,
        }
    }

    /// What the client reads: nothing of what the rules ask for.
    pub fn told_to_client(&self) -> String {
        match self {
            Self::InvalidToken { description, .. } => (*description).to_owned(),
            Self::IssuerUnavailable { .. } => "whether the token is good cannot be told for now".to_owned(),
            Self::Denied(RouteDenial::Claims { .. }) => "this user may not do this".to_owned(),
            _ => self.to_string(),
        }
    }

    /// What the operator who reads the log can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Misdirected | Self::NoRoute | Self::MethodNotAllowed { .. } => {
                "add a route for it if it should be served"
            }
            Self::OriginNotAllowed => "add the origin to cors_origins if its pages should call",
            Self::IssuerUnavailable { .. } => "look at the issuer, and at what the log says of its keys",
            Self::Denied(_) => "see the claims of the route, and those of the user",
            Self::Throttled { .. } => "see the rates of the listener and of the route",
            Self::BodyTooLarge { .. } => "see max_body of the listener and of the route",
            _ => "mend the client",
        }
    }

    /// Sets what belongs to the status: `WWW-Authenticate` (RFC 6750 section 3), `Allow`, `Retry-After`.
    pub fn set_headers(&self, realm: &str, headers: &mut HeaderMap) {
        let bearer = |rest: String| (WWW_AUTHENTICATE, format!("Bearer realm=\"{realm}\"{rest}"));
        let error = |error: &str, description: &str| {
            bearer(format!(", error=\"{error}\", error_description=\"{}\"", description_text(description)))
        };
        let (name, text) = match self {
            // Whoever did not know that a token is needed has made no error (RFC 6750 section 3.1).
            Self::NoToken | Self::Denied(RouteDenial::NoUser) => bearer(String::new()),
            Self::TokenInUrl | Self::BadAuthorization(_) => error("invalid_request", &self.told_to_client()),
            Self::InvalidToken { description, .. } => error("invalid_token", description),
            Self::Denied(RouteDenial::Claims { .. }) => error("insufficient_scope", &self.told_to_client()),
            Self::MethodNotAllowed { allow } => (ALLOW, allow.clone()),
            Self::IssuerUnavailable { retry_after, .. } | Self::Throttled { retry_after, .. } => {
                (RETRY_AFTER, whole_seconds(*retry_after).to_string())
            }
            _ => return,
        };
        headers.extend(HeaderValue::try_from(text).ok().map(|value| (name, value)));
    }
}

/// The next whole second, one at least.
fn whole_seconds(duration: Duration) -> u128 {
    duration.as_millis().div_ceil(1000).max(1)
}

/// `error_description` holds no quotes, backslashes or anything outside ASCII (RFC 6750 section 3).
fn description_text(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '"' => '\'',
            ' '..='~' if character != '\\' => character,
            _ => '?',
        })
        .collect()
}
