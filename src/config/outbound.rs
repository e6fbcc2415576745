//! `[[outbound]]`: listeners that take plaintext from the local service and originate mutual TLS to a peer.

use crate::identity::PeerPattern;
use crate::net::{Address, Endpoint};

use super::inbound::PROTOCOLS;
use super::listeners::{Claims, read_name, read_plaintext_listen, refuse_under_tcp};
use super::peer::{self, Peer};
use super::reader::TableReader;
use super::{Hop, Located, Protocol};

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

pub(super) fn read(t: &mut TableReader<'_, '_, '_>, claims: &mut Claims) -> Option<Outbound> {
    let name = read_name(t, claims);
    let listen = read_plaintext_listen(t, "127.0.0.1:9001", "anyone who reaches it may call in our name");
    claims.listen(t.title(), listen.as_ref(), false);
    let peer = peer::read(t, claims);
    let protocol = t.choice("protocol", &PROTOCOLS).map_or_else(Protocol::default, |choice| choice.value);
    if protocol == Protocol::Tcp {
        refuse_under_tcp(t, &["hop"]);
    }
    let Peer { connect_to, hop, expect, server_name } = peer?;
    Some(Outbound { name: name?, listen: listen?, connect_to, protocol, hop, expect, server_name })
}
