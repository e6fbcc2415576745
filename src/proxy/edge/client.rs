//! Who the client of a request is, as far as addresses tell, and how the service is told of it (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::buckets::AddressKey;
use crate::net::{IpRange, PeerAddress};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The client of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    /// Whoever connected; absent over a Unix socket.
    peer: Option<IpAddr>,
    /// The client itself, where a trusted proxy connected for it.
    address: Option<IpAddr>,
    /// Whoever connected is trusted about its own clients.
    pub(super) is_behind_proxy: bool,
}

impl Client {
    /// The client of a request with these headers. What a proxy says that is not trusted does not count.
    pub(super) fn of(peer: &PeerAddress, trusted: &[IpRange], headers: &HeaderMap) -> Self {
        let peer = match peer {
            PeerAddress::Tcp(address) => Some(address.ip()),
            PeerAddress::Unix | PeerAddress::Listener(_) => None,
        };
        let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
        let is_behind_proxy = peer.is_some_and(is_trusted);
        let address = if is_behind_proxy { last_untrusted(headers, is_trusted).or(peer) } else { peer };
        Self { peer, address, is_behind_proxy }
    }

    /// What its buckets are known by.
    pub(super) fn key(&self) -> AddressKey {
        AddressKey::of(self.address)
    }

    /// Tells the service: after what a trusted proxy said, in place of what anybody else did.
    pub(super) fn set(&self, headers: &mut HeaderMap, host: &str) {
        let address = self.peer.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let node = match self.peer {
            Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
            _ => address.clone(),
        };
        append(headers, FORWARDED_FOR, &address);
        append(headers, FORWARDED, &format!("for={node};host=\"{host}\";proto=https"));
        for (name, text) in [(FORWARDED_PROTO, "https"), (FORWARDED_HOST, host)] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.entry(name).or_insert(value);
            }
        }
    }
}

/// The last address of `X-Forwarded-For` that is of no trusted proxy: those before it are hearsay.
fn last_untrusted(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    // By octets: what a client wrote before must not take what a proxy wrote behind it along.
    let lists: Vec<&[u8]> = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    for text in lists.iter().flat_map(|list| list.split(|octet| *octet == b',')).rev() {
        let address = address_of(std::str::from_utf8(text).ok()?.trim())?;
        if !is_trusted(address) {
            return Some(address.to_canonical());
        }
    }
    None
}

/// The address of an element: alone, or with the port that some proxies write behind it.
fn address_of(element: &str) -> Option<IpAddr> {
    let bracketed = || element.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || element.parse().ok().map(|address: SocketAddr| address.ip());
    element.parse().ok().or_else(with_port).or_else(bracketed)
}

/// Appends to a list that may stand in several fields.
fn append(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    let mut list: Vec<u8> = Vec::new();
    for value in headers.get_all(&name) {
        list.extend(value.as_bytes());
        list.extend(b", ");
    }
    list.extend(text.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded_for: &[&str]) -> (Client, HeaderMap) {
        let trusted: Vec<IpRange> = vec!["10.0.0.0/8".parse().expect("a range")];
        let lists = forwarded_for.iter().map(|list| (FORWARDED_FOR, HeaderValue::from_str(list).expect("a value")));
        let headers: HeaderMap = lists.collect();
        (Client::of(&PeerAddress::Tcp(peer.parse().expect("an address")), &trusted, &headers), headers)
    }

    fn address(peer: &str, forwarded_for: &[&str]) -> String {
        client(peer, forwarded_for).0.address.expect("an address").to_string()
    }

    #[test]
    fn only_a_trusted_proxy_has_a_say_in_who_the_client_is() {
        assert_eq!(address("192.0.2.1:9", &["198.51.100.1"]), "192.0.2.1");
        assert_eq!(address("10.0.0.1:9", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(address("10.0.0.1:9", &["203.0.113.9, 198.51.100.1", "10.0.0.2"]), "198.51.100.1");
        assert_eq!(address("10.0.0.1:9", &["10.0.0.3"]), "10.0.0.1");
        assert_eq!(address("10.0.0.1:9", &["198.51.100.1, nonsense"]), "10.0.0.1");
        assert_eq!(address("10.0.0.1:9", &[]), "10.0.0.1");
        assert_eq!(address("10.0.0.1:9", &["203.0.113.9, 198.51.100.1:4711"]), "198.51.100.1");
        assert_eq!(address("10.0.0.1:9", &["[2001:db8::1]:4711, 10.0.0.2:80"]), "2001:db8::1");
        assert_eq!(address("10.0.0.1:9", &["[2001:db8::1]"]), "2001:db8::1");
    }

    #[test]
    fn the_service_is_told_of_the_client_and_of_the_proxies_between() {
        let (client, mut headers) = client("10.0.0.1:9", &["203.0.113.9", "198.51.100.1"]);
        client.set(&mut headers, "market.example");
        assert_eq!(headers[FORWARDED_FOR], "203.0.113.9, 198.51.100.1, 10.0.0.1");
        assert_eq!(headers[FORWARDED], "for=10.0.0.1;host=\"market.example\";proto=https");
        assert_eq!(
            (&headers[FORWARDED_PROTO], &headers[FORWARDED_HOST]),
            (&"https".parse().expect("v"), &"market.example".parse().expect("v"))
        );
        let mut headers = HeaderMap::new();
        Client::of(&PeerAddress::Tcp("[2001:db8::1]:9".parse().expect("an address")), &[], &headers)
            .set(&mut headers, "a");
        assert_eq!(headers[FORWARDED], "for=\"[2001:db8::1]\";host=\"a\";proto=https");
    }
}
