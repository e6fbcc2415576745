//! `[[inbound]]`: listeners that terminate mutual TLS and forward plaintext to the local service.

use crate::identity::PeerPattern;
use crate::net::Address;

use super::Located;

/// One inbound listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Its name in logs and metrics, unique among all listeners.
    pub name: Located<String>,
    /// Where peers connect with TLS.
    pub listen: Located<Address>,
    /// The local service. An address off loopback takes `unsafe_forward_to = true`.
    pub forward_to: Located<Address>,
    /// What is spoken inside TLS; default HTTP.
    pub protocol: Protocol,
    /// Which HTTP version the service is spoken to in; default auto.
    pub app_protocol: AppProtocol,
    /// Whether a caller may come without a certificate; default required.
    pub client_auth: ClientAuth,
    /// Who may call. Empty means nobody.
    pub allow: Vec<PeerPattern>,
    /// Which headers tell the service who called; default `client-cert` and `x-mantlet-peer`.
    pub identity_headers: Vec<IdentityHeader>,
    /// Whether a TCP connection to the service begins with a PROXY protocol v2 header; default off.
    pub proxy_protocol: bool,
}

/// What a listener carries. It is declared, never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1, HTTP/2, gRPC and upgrades, each request authorized.
    #[default]
    Http,
    /// Bytes, each connection authorized.
    Tcp,
}

/// Which HTTP version the local service is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppProtocol {
    /// gRPC as HTTP/2 with prior knowledge, everything else as HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 always.
    Http1,
    /// HTTP/2 with prior knowledge always.
    Http2,
}

/// Whether a caller has to present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// The handshake fails without one.
    #[default]
    Required,
    /// A caller without one is anonymous, and let in only where `allow` holds `anonymous`.
    Optional,
}

/// A header that tells the local service who called. Whatever a caller sends under any of these names is removed,
/// whether the header is wanted or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityHeader {
    /// `Client-Cert`: the end-entity certificate (RFC 9440 section 2.2).
    ClientCert,
    /// `Client-Cert-Chain`: the rest of the chain (RFC 9440 section 2.3).
    ClientCertChain,
    /// `x-mantlet-peer`: the identity as plain text.
    MantletPeer,
    /// `X-Forwarded-Client-Cert` in the form Envoy writes.
    ForwardedClientCert,
}
