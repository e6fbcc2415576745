//! The PROXY protocol, version 2: tells a TCP service who called (haproxy.org, proxy-protocol.txt section 2.2).

use std::net::SocketAddr;

use crate::identity::PeerIdentity;
use crate::net::PeerAddress;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_2_PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const TYPE_SSL: u8 = 0x20;
const SUBTYPE_SSL_CN: u8 = 0x22;
/// Our own type, from the range for custom use: the identity as text, as in `x-mantlet-peer`.
const TYPE_PEER_IDENTITY: u8 = 0xE0;
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;

/// The header that precedes the bytes of a connection.
pub(super) fn header(source: PeerAddress, destination: Option<SocketAddr>, peer: &PeerIdentity) -> Vec<u8> {
    let (family, mut payload) = addresses(source, destination);
    let identity = peer.to_string();
    push_tlv(&mut payload, TYPE_PEER_IDENTITY, identity.as_bytes());
    push_tlv(&mut payload, TYPE_SSL, &ssl(peer, &identity));
    let length = u16::try_from(payload.len()).expect("an identity of at most 2048 bytes fits twice");
    [&SIGNATURE[..], &[VERSION_2_PROXY, family], &length.to_be_bytes(), &payload].concat()
}

fn addresses(source: PeerAddress, destination: Option<SocketAddr>) -> (u8, Vec<u8>) {
    match (source, destination) {
        (PeerAddress::Tcp(SocketAddr::V4(source)), Some(SocketAddr::V4(destination))) => {
            let (from, to) = (source.ip().octets(), destination.ip().octets());
            (TCP_OVER_IPV4, [&from[..], &to, &source.port().to_be_bytes(), &destination.port().to_be_bytes()].concat())
        }
        (PeerAddress::Tcp(SocketAddr::V6(source)), Some(SocketAddr::V6(destination))) => {
            let (from, to) = (source.ip().octets(), destination.ip().octets());
            (TCP_OVER_IPV6, [&from[..], &to, &source.port().to_be_bytes(), &destination.port().to_be_bytes()].concat())
        }
        _ => (UNSPECIFIED, Vec::new()),
    }
}

/// `pp2_tlv_ssl`: what the client did, that its certificate was verified, and the name under the common-name type, which is what
/// servers read.
fn ssl(peer: &PeerIdentity, identity: &str) -> Vec<u8> {
    const VERIFIED: u32 = 0;
    const NOT_VERIFIED: u32 = 1;
    let (client, verify) = match peer {
        PeerIdentity::Authenticated(_) => (CLIENT_SSL | CLIENT_CERT_CONN, VERIFIED),
        PeerIdentity::Anonymous => (CLIENT_SSL, NOT_VERIFIED),
    };
    let mut value = [&[client][..], &verify.to_be_bytes()].concat();
    if verify == VERIFIED {
        push_tlv(&mut value, SUBTYPE_SSL_CN, identity.as_bytes());
    }
    value
}

fn push_tlv(payload: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let length = u16::try_from(value.len()).expect("an identity has at most 2048 bytes");
    payload.push(kind);
    payload.extend(length.to_be_bytes());
    payload.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_the_addresses_and_the_identity() {
        let peer = PeerIdentity::Authenticated(crate::identity::ProvenNames {
            spiffe_id: Some("spiffe://fm/ads".parse().expect("valid")),
            ..Default::default()
        });
        let source = PeerAddress::Tcp("10.0.0.7:4242".parse().expect("valid"));
        let bytes = header(source, Some("10.0.0.8:5432".parse().expect("valid")), &peer);
        assert_eq!(&bytes[..12], &SIGNATURE);
        assert_eq!(bytes[12..14], [0x21, 0x11]);
        assert_eq!(usize::from(u16::from_be_bytes([bytes[14], bytes[15]])), bytes.len() - 16);
        assert_eq!(bytes[16..28], [10, 0, 0, 7, 10, 0, 0, 8, 0x10, 0x92, 0x15, 0x38]);
        assert_eq!(bytes[28], TYPE_PEER_IDENTITY);
        assert_eq!(&bytes[31..46], b"spiffe://fm/ads");
    }
}
