//! `[[outbound]]`: listeners that take plaintext from the local service and originate mutual TLS to a peer.

use crate::identity::PeerPattern;
use crate::net::{Address, Endpoint};

use super::{Located, Protocol};

/// One outbound listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Its name in logs and metrics, unique among all listeners.
    pub name: Located<String>,
    /// Where the local service connects. An address off loopback takes `unsafe_listen = true`.
    pub listen: Located<Address>,
    /// The peer's sidecar.
    pub connect_to: Located<Endpoint>,
    /// What is carried; default HTTP.
    pub protocol: Protocol,
    /// Which HTTP version the hop to the peer speaks; default auto.
    pub hop: Hop,
    /// The identities of which the peer must prove one; default the host of `connect_to`. Never empty.
    pub expect: Vec<PeerPattern>,
    /// The name sent in the TLS handshake (SNI); absent where no DNS name is known.
    pub server_name: Option<String>,
}

/// Which HTTP version the hop between two sidecars speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hop {
    /// HTTP/2 where the peer offers it and the exchange fits it, HTTP/1.1 otherwise.
    #[default]
    Auto,
    /// HTTP/1.1 always.
    Http1,
    /// HTTP/2 always; upgrades are refused.
    Http2,
}
