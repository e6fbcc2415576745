//! Ranges of IP addresses: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// The IP addresses that begin with the same bits as one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    first: IpAddr,
    bits: u8,
}

/// Why a text is no [`IpRange`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IpRangeError {
    /// No address, or no number of bits that such an address has.
    #[error("{text:?} is neither an IP address nor a range such as \"10.0.0.0/8\"")]
    IllFormed {
        /// The text as it was given.
        text: String,
    },
    /// Bits are set behind those that count, so that more or less may be meant.
    #[error("{text:?} has bits set behind its first {bits}: the range begins at {first}")]
    BitsBehind {
        /// The text as it was given.
        text: String,
        /// How many bits count.
        bits: u8,
        /// The first address of the range.
        first: IpAddr,
    },
}

impl IpRange {
    /// True where the address is one of them. An IPv4 address in the form of an IPv6 one is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.bits) == self.first
    }
}

/// The address with only its first bits.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

impl FromStr for IpRange {
    type Err = IpRangeError;

    fn from_str(text: &str) -> Result<Self, IpRangeError> {
        let ill_formed = || IpRangeError::IllFormed { text: text.to_owned() };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ill_formed())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= width).ok_or_else(ill_formed)?,
            None => width,
        };
        let first = masked(address, bits);
        if first == address {
            Ok(Self { first, bits })
        } else {
            Err(IpRangeError::BitsBehind { text: text.to_owned(), bits, first })
        }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(range: &str, address: &str) -> bool {
        range.parse::<IpRange>().expect("valid").contains(address.parse().expect("valid"))
    }

    #[test]
    fn a_range_holds_what_begins_with_its_bits() {
        for (range, address) in [
            ("10.0.0.0/8", "10.255.0.1"),
            ("10.0.0.7", "10.0.0.7"),
            ("0.0.0.0/0", "192.0.2.1"),
            ("fd00::/8", "fdff::1"),
            ("::/0", "2001:db8::1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1"),
        ] {
            assert!(contains(range, address), "{range} {address}");
        }
        for (range, address) in
            [("10.0.0.0/8", "11.0.0.1"), ("10.0.0.7", "10.0.0.8"), ("::/0", "10.0.0.1"), ("fd00::/8", "fe00::1")]
        {
            assert!(!contains(range, address), "{range} {address}");
        }
    }

    #[test]
    fn ill_formed_ranges_are_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.1/8", "a/8", "10.0.0.0/-1"] {
            assert!(text.parse::<IpRange>().is_err(), "{text:?}");
        }
    }
}
