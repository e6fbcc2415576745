//! `[[upstream]]`: peers that the routes of edge listeners lead to over mutual TLS.

use crate::identity::PeerPattern;
use crate::net::Endpoint;

use super::listeners::{Claims, read_name};
use super::peer::{self, Peer};
use super::reader::TableReader;
use super::{Hop, Located};

/// One peer that routes lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in routes, logs and metrics, unique among all listeners and upstreams.
    pub name: Located<String>,
    /// The peer's sidecar.
    pub connect_to: Located<Endpoint>,
    /// Which HTTP version the hop to the peer speaks; default auto.
    pub hop: Hop,
    /// The identities of which the peer must prove one; default the host of `connect_to`. Never empty.
    pub expect: Vec<PeerPattern>,
    /// The name sent in the TLS handshake (SNI); absent where no DNS name is known.
    pub server_name: Option<String>,
}

pub(super) fn read(t: &mut TableReader<'_, '_, '_>, claims: &mut Claims) -> Option<Upstream> {
    let name = read_name(t, claims);
    let peer = peer::read(t, claims);
    let Peer { connect_to, hop, expect, server_name } = peer?;
    Some(Upstream { name: name?, connect_to, hop, expect, server_name })
}
