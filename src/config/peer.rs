//! A peer that we call, for an `[[outbound]]` and an `[[upstream]]` alike: where it is, who it is, and how it is spoken to.

use rustls_pki_types::DnsName;

use crate::identity::PeerPattern;
use crate::net::{Endpoint, Host};

use super::Located;
use super::inbound::PATTERN_REMEDY;
use super::listeners::Claims;
use super::reader::TableReader;

/// A peer that we call.
pub(super) struct Peer {
    pub(super) connect_to: Located<Endpoint>,
    pub(super) hop: Hop,
    pub(super) expect: Vec<PeerPattern>,
    pub(super) server_name: Option<String>,
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

const HOPS: [(&str, Hop); 3] = [("auto", Hop::Auto), ("http1", Hop::Http1), ("http2", Hop::Http2)];

pub(super) fn read(t: &mut TableReader<'_, '_, '_>, claims: &mut Claims) -> Option<Peer> {
    let connect_to = t.parsed::<Endpoint>("connect_to", "write HOST:PORT, such as \"userservice:8443\"");
    t.require("connect_to", "say where the peer is, such as connect_to = \"userservice:8443\"");
    claims.peer(&t.thing("connect_to"), connect_to.as_ref());
    let hop = t.choice("hop", &HOPS).map_or_else(Hop::default, |choice| choice.value);
    let expect = read_expect(t, connect_to.as_ref());
    let server_name = read_server_name(t)
        .or_else(|| connect_to.as_ref().and_then(|endpoint| host_name(&endpoint.value)))
        .or_else(|| expect.iter().find_map(dns_name));
    Some(Peer { connect_to: connect_to?, hop, expect, server_name })
}

fn read_expect(t: &mut TableReader<'_, '_, '_>, connect_to: Option<&Located<Endpoint>>) -> Vec<PeerPattern> {
    let expect = t.parsed_list::<PeerPattern>("expect", PATTERN_REMEDY).unwrap_or_default();
    if t.is_empty_list("expect") {
        let message = format!("{} is empty: no peer could ever prove its identity", t.thing("expect"));
        t.error(
            t.span("expect"),
            message,
            "list the peer's identity, or remove the key to expect the host of connect_to",
        );
    }
    if let Some(anonymous) = expect.iter().find(|pattern| pattern.value == PeerPattern::Anonymous) {
        let message = format!("{} lists \"anonymous\": a peer that we call always proves who it is", t.thing("expect"));
        t.error(Some(anonymous.span.clone()), message, "list the identity in the peer's certificate");
    }
    let (None, Some(connect_to)) = (t.span("expect"), connect_to) else {
        return expect.into_iter().map(|pattern| pattern.value).collect();
    };
    let host = &connect_to.value.host;
    let default = match host {
        Host::Ip(address) => Some(PeerPattern::Ip(*address)),
        Host::Dns(_) => host_name(&connect_to.value).map(|name| PeerPattern::Dns(name.into())),
    };
    if default.is_none() {
        let message = format!(
            "{} is \"{}\": its host is no DNS name that a peer could prove",
            t.thing("connect_to"),
            connect_to.value
        );
        t.error(Some(connect_to.span.clone()), message, "correct the host, or list the peer's identity in expect");
    }
    default.into_iter().collect()
}

fn read_server_name(t: &mut TableReader<'_, '_, '_>) -> Option<String> {
    let name = t.string("server_name")?;
    if DnsName::try_from(name.value.as_str()).is_err() {
        let message = format!("{} is {:?}: expected a DNS name", t.thing("server_name"), name.value);
        t.error(
            Some(name.span),
            message,
            "write the name to send in the TLS handshake, such as \"userservice.internal\"",
        );
        return None;
    }
    Some(name.value.to_ascii_lowercase())
}

/// The host as a name that a certificate can hold and a handshake can send: without the dot of the root.
fn host_name(endpoint: &Endpoint) -> Option<String> {
    let Host::Dns(name) = &endpoint.host else { return None };
    let name = name.strip_suffix('.').unwrap_or(name);
    DnsName::try_from(name).is_ok().then(|| name.to_owned())
}

fn dns_name(pattern: &PeerPattern) -> Option<String> {
    match pattern {
        PeerPattern::Dns(name) => Some(name.to_string()),
        _ => None,
    }
}
