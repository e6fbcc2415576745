//! Why a handshake failed, whose fault it was, and what to do about it.

use std::io;
use std::time::Duration;

use rustls::AlertDescription;
use thiserror::Error;

use crate::x509::Refusal;

/// Why a handshake failed.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// We refused the peer's certificate.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The peer sent an alert.
    #[error("the peer ended the handshake with the alert {0:?}")]
    Alert(AlertDescription),
    /// The peer speaks HTTP without TLS.
    #[error("the peer sent plaintext HTTP to a TLS port")]
    PlaintextHttp,
    /// The first bytes are no TLS record.
    #[error("the peer sent something that is not TLS")]
    NotTls,
    /// It took too long.
    #[error("the handshake was not finished within {0:?}")]
    TimedOut(Duration),
    /// The peer closed the connection.
    #[error("the peer closed the connection during the handshake")]
    Closed,
    /// The peer broke the protocol or has no version, suite or protocol name in common with us.
    #[error("{0}")]
    Protocol(rustls::Error),
    /// The socket failed.
    #[error("the connection failed during the handshake: {0}")]
    Io(io::Error),
}

impl HandshakeError {
    /// A short fixed name for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason.label(),
            Self::Alert(_) => "alert_received",
            Self::PlaintextHttp => "plaintext_http",
            Self::NotTls => "not_tls",
            Self::TimedOut(_) => "handshake_timeout",
            Self::Closed => "closed",
            Self::Protocol(_) => "protocol",
            Self::Io(_) => "io",
        }
    }

    /// What the reader can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason.hint(),
            Self::Alert(alert) => alert_hint(*alert),
            Self::PlaintextHttp => "call through the caller's own sidecar, or use https:// with a client certificate",
            Self::NotTls => "this port speaks TLS alone; look for a client configured without it",
            Self::TimedOut(_) => "the peer or the network is too slow; see timeouts.handshake",
            Self::Closed => "port scans and TCP health checks look so; ask the admin address for health instead",
            Self::Protocol(_) => "compare the TLS versions and ALPN protocols of both ends",
            Self::Io(_) => "look at the network between both ends",
        }
    }

    /// True where nothing but a closed socket was seen, as port scans and TCP health checks leave it.
    pub fn is_probe(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// An error of the TLS library.
    pub(super) fn of_library(error: rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) => Self::Alert(alert),
            // The library has its own error for a caller without a certificate; it is a refusal like any other.
            rustls::Error::NoCertificatesPresented => Self::Refused(Box::new(Refusal::no_certificate())),
            error => Self::Protocol(error),
        }
    }

    /// An error of the socket.
    pub(super) fn of_socket(error: io::Error) -> Self {
        if is_close(&error) { Self::Closed } else { Self::Io(error) }
    }
}

fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// What an alert of the peer usually means.
pub(super) fn alert_hint(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired => "the peer wants a client certificate",
        AlertDescription::UnknownCA => {
            "the peer does not trust our issuer, or lacks a CRL of it that is in its time; compare its trust anchors with our chain, and see its log"
        }
        AlertDescription::CertificateExpired => {
            "the peer holds our certificate for expired; renew it, or compare the clocks"
        }
        AlertDescription::CertificateRevoked => "the peer holds our certificate for revoked; issue a new one",
        AlertDescription::AccessDenied => "the peer does not expect our identity",
        AlertDescription::NoApplicationProtocol => "the peer speaks none of the ALPN protocols offered; see hop",
        AlertDescription::ProtocolVersion => "the peer speaks another version of TLS; see tls.min_version",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => "the peer does not accept our certificate; its log says why",
        _ => "the peer's log says why",
    }
}
