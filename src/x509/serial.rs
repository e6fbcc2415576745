//! Serial numbers of certificates.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A certificate's serial number: its content octets as DER has them (RFC 5280 section 4.1.2.2), at most 20 and one sign octet.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SerialNumber(Box<[u8]>);

/// Why a text is not a serial number.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a serial number: expected 1 to 40 hexadecimal digits, with or without \":\" between pairs")]
pub struct SerialNumberError {
    /// The text as it was given.
    pub text: String,
}

impl SerialNumber {
    /// The serial number of the given DER content octets.
    pub fn from_der_content(octets: &[u8]) -> Self {
        Self(octets.into())
    }

    /// The DER content octets, a leading zero octet included where the first bit is set.
    pub fn as_der_content(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for SerialNumber {
    type Err = SerialNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unusable = || SerialNumberError { text: text.to_owned() };
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| *byte != b':')
            .map(|byte| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or_else(unusable))
            .collect::<Result<_, _>>()?;
        if digits.is_empty() || digits.len() > 40 {
            return Err(unusable());
        }
        let padded = if digits.len() % 2 == 1 { [&[0], digits.as_slice()].concat() } else { digits };
        let octets: Vec<u8> = padded.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let first = octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len() - 1);
        let octets = &octets[first..];
        Ok(Self(if octets[0] >= 0x80 { [&[0], octets].concat().into() } else { octets.into() }))
    }
}

/// Hexadecimal in lower case, without separators and without the sign octet, as `openssl x509 -serial` has it but for the case.
impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = match &*self.0 {
            [0, rest @ ..] if !rest.is_empty() => rest,
            octets => octets,
        };
        octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_reads_what_it_prints() {
        for text in ["01", "7f", "80", "ff00", "0abc", "00", "1234567890abcdef1234567890abcdef12345678"] {
            let serial: SerialNumber = text.parse().expect("valid");
            assert_eq!(serial.to_string().parse::<SerialNumber>().expect("valid"), serial, "{text}");
        }
        let serial: SerialNumber = "AB:CD".parse().expect("valid");
        assert_eq!((serial.as_der_content(), serial.to_string().as_str()), (&[0, 0xab, 0xcd][..], "abcd"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", ":", "0x12", "xyz", &"1".repeat(41)] {
            assert!(text.parse::<SerialNumber>().is_err(), "{text:?}");
        }
    }
}
