//! Why an exchange failed, whose fault it was, and what the caller is told: one exhaustive match for each answer.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

use crate::policy::{Denial, Rule};
use crate::tls::HandshakeError;

use super::direction::Direction;
use super::edge::EdgeRefusal;
use super::upstream::http1::Http1Error;

/// Why an exchange failed.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The request breaks a rule of HTTP that keeps its two ends in agreement.
    #[error("the request is refused: {0}")]
    BadRequest(&'static str),
    /// The method is not carried.
    #[error("the method {0} is not carried")]
    MethodNotCarried(http::Method),
    /// An upgrade was asked for that this hop cannot make.
    #[error("the upgrade cannot be made: {0}")]
    Upgrade(&'static str),
    /// An edge listener answers itself.
    #[error("{0}")]
    Edge(Box<EdgeRefusal>),
    /// The policy says no.
    #[error("{0}")]
    Denied(Denial),
    /// The upstream's name could not be resolved.
    #[error("cannot resolve {name}: {source}")]
    Resolve {
        /// The name.
        name: String,
        /// What the resolver says.
        source: std::io::Error,
    },
    /// The upstream could not be connected to.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address.
        address: String,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// There are as many connections to the upstream as are allowed.
    #[error("{address} has all of its {limit} connections in use")]
    TooManyConnections {
        /// The address.
        address: String,
        /// `limits.max_upstream`.
        limit: usize,
    },
    /// Connecting took too long.
    #[error("no connection to {address} within {limit:?}")]
    ConnectTimeout {
        /// The address.
        address: String,
        /// `timeouts.connect` or `timeouts.handshake`.
        limit: Duration,
    },
    /// The TLS handshake with the upstream failed.
    #[error("no TLS with {address}: {source}")]
    Tls {
        /// The address.
        address: String,
        /// Why.
        source: HandshakeError,
    },
    /// The upstream closed the connection or broke the protocol before it answered.
    #[error("{address} gave no answer: {source}")]
    NoAnswer {
        /// The address.
        address: String,
        /// Why.
        source: HttpError,
    },
    /// The upstream did not answer in time.
    #[error("no answer within {limit:?}")]
    AnswerTimeout {
        /// `timeouts.response_header` or the caller's `grpc-timeout`.
        limit: Duration,
    },
}

/// Why one side of an exchange broke off.
#[derive(Debug, Error)]
pub enum HttpError {
    /// A caller's over HTTP/1.1.
    #[error("{0}")]
    Http1(#[from] hyper::Error),
    /// An upstream's over HTTP/1.1.
    #[error("{0}")]
    Upstream(#[from] Http1Error),
    /// Either over HTTP/2.
    #[error("{0}")]
    Http2(#[from] h2::Error),
    /// A caller's body that is longer than it may be.
    #[error("the body is longer than {0} bytes")]
    TooLarge(u64),
}

impl ProxyError {
    /// A short fixed name for metrics and logs. Where RFC 9209 section 2.3 has one, it is that.
    pub fn label(&self) -> &'static str {
        match self {
            Self::BadRequest(_)
            | Self::MethodNotCarried(_)
            | Self::Denied(Denial { rule: Rule::AmbiguousPath(_), .. }) => "http_request_error",
            Self::Upgrade(_) => "http_upgrade_failed",
            Self::Edge(refusal) => refusal.label(),
            Self::Denied(_) => "http_request_denied",
            Self::Resolve { .. } => "dns_error",
            Self::Connect { source, .. } if source.kind() == std::io::ErrorKind::ConnectionRefused => {
                "connection_refused"
            }
            Self::Connect { .. } => "destination_ip_unroutable",
            Self::TooManyConnections { .. } => "connection_limit_reached",
            Self::ConnectTimeout { .. } => "connection_timeout",
            Self::Tls { source: HandshakeError::Refused(_), .. } => "tls_certificate_error",
            Self::Tls { source: HandshakeError::Alert(_), .. } => "tls_alert_received",
            Self::Tls { .. } => "tls_protocol_error",
            Self::NoAnswer { source, .. } if peer_alert(source).is_some() => "tls_alert_received",
            Self::NoAnswer { .. } => "connection_terminated",
            Self::AnswerTimeout { .. } => "http_response_timeout",
        }
    }

    /// The HTTP status that RFC 9209 recommends.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::Denied(Denial { rule: Rule::AmbiguousPath(_), .. }) => StatusCode::BAD_REQUEST,
            Self::MethodNotCarried(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Edge(refusal) => refusal.status(),
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::TooManyConnections { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout { .. } | Self::AnswerTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Upgrade(_)
            | Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::NoAnswer { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    /// The gRPC status code (`google.rpc.Code`).
    pub fn grpc_status(&self) -> u8 {
        const INVALID_ARGUMENT: u8 = 3;
        const DEADLINE_EXCEEDED: u8 = 4;
        const PERMISSION_DENIED: u8 = 7;
        const UNIMPLEMENTED: u8 = 12;
        const UNAVAILABLE: u8 = 14;
        const UNAUTHENTICATED: u8 = 16;
        match self {
            Self::BadRequest(_) | Self::Denied(Denial { rule: Rule::AmbiguousPath(_), .. }) => INVALID_ARGUMENT,
            Self::MethodNotCarried(_) | Self::Upgrade(_) => UNIMPLEMENTED,
            Self::Edge(refusal) => refusal.grpc_status(),
            Self::Denied(Denial { rule: Rule::AnonymousNotAllowed, .. }) => UNAUTHENTICATED,
            Self::Denied(_) => PERMISSION_DENIED,
            Self::AnswerTimeout { .. } => DEADLINE_EXCEEDED,
            Self::TooManyConnections { .. }
            | Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls { .. }
            | Self::NoAnswer { .. } => UNAVAILABLE,
        }
    }

    /// What the caller reads. The local service reads the whole reason of an outbound failure; a peer reads what concerns it
    /// and nothing about what is behind us.
    pub fn told_to_caller(&self, direction: Direction) -> Cow<'static, str> {
        match (direction, self) {
            (_, Self::Edge(refusal)) => Cow::Owned(refusal.told_to_client()),
            (Direction::Outbound, _)
            | (_, Self::BadRequest(_) | Self::MethodNotCarried(_) | Self::Upgrade(_) | Self::Denied(_)) => {
                Cow::Owned(self.to_string())
            }
            (Direction::Inbound | Direction::Edge, Self::AnswerTimeout { .. } | Self::ConnectTimeout { .. }) => {
                Cow::Borrowed("the service did not answer in time")
            }
            (Direction::Inbound, _) => Cow::Borrowed("the service behind this sidecar cannot be reached"),
            (Direction::Edge, _) => Cow::Borrowed("the service cannot be reached"),
        }
    }

    /// The name of the failure for the caller. The public learns nothing of how we fare with what is behind us.
    pub fn label_for_caller(&self, direction: Direction) -> &'static str {
        let is_of_the_caller = matches!(
            self,
            Self::BadRequest(_) | Self::MethodNotCarried(_) | Self::Upgrade(_) | Self::Edge(_) | Self::Denied(_)
        );
        if direction == Direction::Edge && !is_of_the_caller { "service_unavailable" } else { self.label() }
    }

    /// True where what follows on a connection over HTTP/1.1 may be part of what was refused.
    pub fn may_leave_more_behind(&self) -> bool {
        match self {
            Self::BadRequest(_) => true,
            Self::Edge(refusal) => matches!(**refusal, EdgeRefusal::BodyTooLarge { .. }),
            _ => false,
        }
    }

    /// What the operator who reads the log can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::BadRequest(_) | Self::MethodNotCarried(_) => "mend the caller",
            Self::Upgrade(_) => "set hop = \"auto\" or \"http1\", or let the caller do without the upgrade",
            Self::Edge(refusal) => refusal.hint(),
            Self::Denied(denial) => denial.rule.hint(),
            Self::Resolve { .. } => "check the name in connect_to and the resolver",
            Self::TooManyConnections { .. } => "look for requests that do not end; see limits.max_upstream",
            Self::Connect { .. } => "check that the upstream runs and listens there",
            Self::ConnectTimeout { .. } => {
                "check the network to the upstream; see timeouts.connect and timeouts.handshake"
            }
            Self::Tls { source, .. } => source.hint(),
            Self::NoAnswer { source, .. } if peer_alert(source).is_some() => {
                "the peer refused our certificate after the handshake; its log says why"
            }
            Self::NoAnswer { .. } => "look at the upstream's own log",
            Self::AnswerTimeout { .. } => "look at the upstream's own log; see timeouts.response_header",
        }
    }
}

impl From<EdgeRefusal> for ProxyError {
    fn from(refusal: EdgeRefusal) -> Self {
        Self::Edge(Box::new(refusal))
    }
}

/// The alert that a TLS 1.3 peer sent after the handshake was over for us, as it does when it refuses our certificate.
pub(super) fn peer_alert(error: &(dyn std::error::Error + 'static)) -> Option<rustls::AlertDescription> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::AlertReceived(alert)) = tls_error(error) {
            return Some(*alert);
        }
        cause = error.source();
    }
    None
}

fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref())
}
