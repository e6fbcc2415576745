//! What the bucket of an address is known by.

use std::net::{IpAddr, Ipv6Addr};

/// An address as its bucket is known: an IPv6 address counts with its first 64 bits, of which one client has all that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(Option<IpAddr>);

impl AddressKey {
    /// The key of an address; absent where a client has none, as over a Unix socket.
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_has_one_bucket_for_its_whole_network() {
        let key = |text: &str| AddressKey::of(Some(text.parse().expect("an address")));
        assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::2"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
