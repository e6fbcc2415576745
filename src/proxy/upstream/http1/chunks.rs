//! A body in chunks (RFC 9112 section 7.1), read strictly: two readers never find different ends.

use bytes::{Buf as _, Bytes};
use http::HeaderMap;

use super::error::Http1Error;
use super::head::{Section, SectionLimits};

/// Digits of the size of one chunk: what a length of 64 bits needs.
const MAX_DIGITS: u8 = 16;
/// Bytes of all chunk extensions of one body.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// Reads a body in chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    /// The size that is being read, and then what is still to come of the chunk.
    left: u64,
    digits: u8,
    extensions: usize,
    trailers: Section,
    limits: SectionLimits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size,
    /// Between the size and what follows it.
    Blank,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailers,
    End,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Data(Bytes),
    Trailers(HeaderMap),
    /// The end, which comes once.
    End,
    /// Nothing without further bytes.
    Nothing,
}

impl Chunks {
    pub(super) fn new(limits: SectionLimits) -> Self {
        Self { at: At::Size, left: 0, digits: 0, extensions: 0, trailers: Section::default(), limits }
    }

    /// True once the last byte of the body was taken.
    pub(super) fn is_over(&self) -> bool {
        self.at == At::End
    }

    /// Takes the next part from the front of what was received.
    ///
    /// # Errors
    /// [`Http1Error::Invalid`]
    pub(super) fn take(&mut self, received: &mut Bytes) -> Result<Found, Http1Error> {
        loop {
            match self.at {
                At::Data if received.is_empty() => return Ok(Found::Nothing),
                At::Data => {
                    let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(received.len());
                    self.left -= length as u64;
                    if self.left == 0 {
                        self.at = At::DataReturn;
                    }
                    return Ok(Found::Data(received.split_to(length)));
                }
                At::Trailers => return self.take_trailers(received),
                At::End => return Ok(Found::End),
                _ => {
                    let Some(byte) = received.first().copied() else { return Ok(Found::Nothing) };
                    received.advance(1);
                    self.at = self.after(byte)?;
                }
            }
        }
    }

    /// Where the reader is after one byte of a line.
    fn after(&mut self, byte: u8) -> Result<At, Http1Error> {
        match (self.at, byte) {
            (At::Size, digit) if digit.is_ascii_hexdigit() => {
                self.digits += 1;
                if self.digits > MAX_DIGITS {
                    return Err(Http1Error::Invalid("the size of a chunk is too large"));
                }
                self.left = self.left << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or_default());
                Ok(At::Size)
            }
            (At::Size, _) if self.digits == 0 => Err(Http1Error::Invalid("a chunk without a size")),
            (At::Size | At::Blank, b' ' | b'\t') => Ok(At::Blank),
            (At::Size | At::Blank, b';') => Ok(At::Extension),
            (At::Size | At::Blank | At::Extension, b'\r') => Ok(At::SizeLineFeed),
            (At::Extension, extension) if extension != b'\n' => {
                self.extensions += 1;
                if self.extensions > MAX_EXTENSIONS {
                    return Err(Http1Error::Invalid("chunk extensions that are too large"));
                }
                Ok(At::Extension)
            }
            (At::SizeLineFeed, b'\n') => {
                self.digits = 0;
                Ok(if self.left == 0 { At::Trailers } else { At::Data })
            }
            (At::DataReturn, b'\r') => Ok(At::DataLineFeed),
            (At::DataLineFeed, b'\n') => Ok(At::Size),
            _ => Err(Http1Error::Invalid("what stands around a chunk is not as it should be")),
        }
    }

    fn take_trailers(&mut self, received: &mut Bytes) -> Result<Found, Http1Error> {
        match &received[..] {
            [] | [b'\r'] => return Ok(Found::Nothing),
            [b'\r', b'\n', ..] => {
                received.advance(2);
                self.at = At::End;
                return Ok(Found::End);
            }
            _ => {}
        }
        Ok(match self.trailers.take_trailers(received, self.limits)? {
            None => Found::Nothing,
            Some(trailers) => {
                self.at = At::End;
                Found::Trailers(trailers)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: SectionLimits = SectionLimits { bytes: 1024, fields: 10 };

    /// The body, its trailers, and what was left after its end.
    type Read = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// Reads a body that comes in pieces of these sizes; nothing where it does not end.
    fn read(bytes: &[u8], pieces: &[usize]) -> Result<Option<Read>, String> {
        let mut chunks = Chunks::new(LIMITS);
        let (mut body, mut trailers, mut unread, mut rest) = (Vec::new(), None, Vec::new(), bytes);
        let mut sizes = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
            unread.extend_from_slice(now);
            rest = later;
            let mut received = Bytes::from(std::mem::take(&mut unread));
            loop {
                match chunks.take(&mut received).map_err(|error| error.to_string())? {
                    Found::Data(data) => body.extend_from_slice(&data),
                    Found::Trailers(found) => trailers = Some(found),
                    Found::End => return Ok(Some((body, trailers, [&received[..], rest].concat()))),
                    Found::Nothing => break,
                }
            }
            unread.extend_from_slice(&received);
        }
        Ok(None)
    }

    fn whole(bytes: &str) -> Result<Option<Read>, String> {
        read(bytes.as_bytes(), &[bytes.len()])
    }

    #[test]
    fn chunks_are_put_together_up_to_their_end_and_no_further() {
        for body in [
            "5\r\nhello\r\n0\r\n\r\nHTTP/1.1",
            "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\nHTTP/1.1",
            "5;a=\"b\"\r\nhello\r\n00;c\r\n\r\nHTTP/1.1",
            "0000000000000005 \t;a\r\nhello\r\n0  \r\n\r\nHTTP/1.1",
        ] {
            assert_eq!(whole(body), Ok(Some((b"hello".to_vec(), None, b"HTTP/1.1".to_vec()))), "{body}");
        }
        let (body, trailers, rest) = whole("1\r\na\r\n0\r\nX-Sum: 7\r\n\r\nrest").expect("good").expect("whole");
        assert_eq!((&*body, &*rest), (&b"a"[..], &b"rest"[..]));
        assert_eq!(trailers.expect("trailers")["x-sum"], "7");
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for wrong in [
            "\r\nhello",
            "0x5\r\nhello",
            "+5\r\nhello",
            " 5\r\nhello",
            "5 5\r\nhello",
            "g\r\n",
            "5\nhello\r\n",
            "5\rhello\r\n",
            "5;a\nb\r\nhello",
            "5;a\rb\r\nhello",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "fffffffffffffffff\r\n",
            "00000000000000005\r\nhello",
            "0\r\n\n",
            "0\r\nX: a\r\n b\r\n\r\n",
            "0\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(whole(wrong).is_err(), "{wrong:?}: {:?}", whole(wrong));
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extended = |length: usize| "1;x\r\na\r\n".repeat(length);
        assert_eq!(whole(&extended(MAX_EXTENSIONS)), Ok(None));
        assert!(whole(&extended(MAX_EXTENSIONS + 1)).is_err());
        assert!(whole(&format!("0\r\nX: {}", "x".repeat(LIMITS.bytes))).is_err());
        assert!(whole(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(LIMITS.fields + 1))).is_err());
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_a_body_comes_do_not_matter(
            chunks in proptest::collection::vec(("[ -~\r\n]{1,40}", "(;[a-z=\"]{0,9})?"), 0..6),
            trailers in proptest::collection::vec(("[A-Za-z-]{1,9}", "[a-z]{0,9}"), 0..4),
            rest in "[ -~\r\n]{0,20}",
            pieces in proptest::collection::vec(1_usize..50, 1..20),
        ) {
            let mut bytes = String::new();
            for (data, extension) in &chunks {
                bytes.extend([&format!("{:x}", data.len()), extension, "\r\n", data, "\r\n"]);
            }
            bytes += "0\r\n";
            for (name, value) in &trailers {
                bytes.extend([name, ": ", value, "\r\n"]);
            }
            bytes.extend(["\r\n", &rest]);
            let expected = whole(&bytes).expect("good").expect("whole");
            prop_assert_eq!(&expected.0, &chunks.iter().map(|(data, _)| data.as_str()).collect::<String>().into_bytes());
            prop_assert_eq!(&expected.2, rest.as_bytes());
            prop_assert_eq!(read(bytes.as_bytes(), &pieces), Ok(Some(expected)));
        }

        #[test]
        fn whatever_comes_is_read_the_same_in_one_piece_and_in_many(
            bytes in "[0-3af;\r\n x]{0,40}",
            pieces in proptest::collection::vec(1_usize..9, 1..9),
        ) {
            // A line that is not over yet may be refused at once or when it is, so all of them are.
            let bytes = bytes + "\r\n\r\n";
            prop_assert_eq!(read(bytes.as_bytes(), &pieces), whole(&bytes));
        }
    }
}
