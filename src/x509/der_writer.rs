//! Writing DER (X.690): elements of what the libraries do not know how to make.

/// The tag of a SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// One element, of which the parts are the content.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let octets = length.to_be_bytes();
    let significant = &octets[octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len() - 1)..];
    let mut der = vec![tag];
    if length >= 0x80 {
        der.push(0x80 | u8::try_from(significant.len()).expect("at most eight"));
    }
    der.extend_from_slice(significant);
    der.extend(parts.iter().copied().flatten());
    der
}

/// An INTEGER that is not negative.
pub(crate) fn unsigned(number: u64) -> Vec<u8> {
    let octets = number.to_be_bytes();
    let significant = &octets[octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len() - 1)..];
    // The first bit is the sign.
    let sign: &[u8] = if significant[0] < 0x80 { &[] } else { &[0] };
    element(INTEGER, &[sign, significant])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_der_wants_them() {
        for (length, header) in [
            (0, vec![0x30, 0]),
            (0x7f, vec![0x30, 0x7f]),
            (0x80, vec![0x30, 0x81, 0x80]),
            (300, vec![0x30, 0x82, 1, 44]),
        ] {
            assert!(element(SEQUENCE, &[&vec![0; length]]).starts_with(&header), "{length}");
            assert_eq!(element(SEQUENCE, &[&vec![0; length]]).len(), header.len() + length);
        }
    }

    #[test]
    fn integers_are_as_short_as_der_wants_them_and_never_negative() {
        for (number, octets) in [
            (0, vec![2, 1, 0]),
            (0x7f, vec![2, 1, 0x7f]),
            (0x80, vec![2, 2, 0, 0x80]),
            (0x0100, vec![2, 2, 1, 0]),
            (u64::MAX, vec![2, 9, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
        ] {
            assert_eq!(unsigned(number), octets, "{number}");
        }
    }
}
