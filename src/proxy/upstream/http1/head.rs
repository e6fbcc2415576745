//! The header section of an answer, bounded in bytes and fields.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::{Header, ParserConfig, Response, Status};

use crate::config::Limits;

use super::error::Http1Error;

/// Fields that are read without taking memory for them.
const USUAL_FIELDS: usize = 64;
/// What every answer begins with.
const VERSION: &[u8] = b"HTTP/1.";

/// How large a header section or a trailer section may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct SectionLimits {
    pub(super) bytes: usize,
    pub(super) fields: usize,
}

impl SectionLimits {
    pub(super) fn of(limits: &Limits) -> Self {
        Self { bytes: limits.max_header_bytes, fields: limits.max_headers }
    }
}

/// The header section of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// False for HTTP/1.0.
    pub(super) is_http11: bool,
    pub(super) headers: HeaderMap,
}

/// A section of fields that comes in, of an answer's head or of its trailers.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// Bytes in which its end was looked for in vain. However small the pieces are in which it comes, it is read twice at most.
    looked_at: usize,
}

impl Section {
    /// Takes a header section from the front of what was received, once it is there as a whole.
    ///
    /// # Errors
    /// [`Http1Error::Invalid`]
    pub(super) fn take_head(
        &mut self,
        received: &mut Bytes,
        limits: SectionLimits,
    ) -> Result<Option<Head>, Http1Error> {
        if received.iter().zip(VERSION).any(|(found, expected)| found != expected) {
            return Err(Http1Error::Invalid("the answer is not one of HTTP/1"));
        }
        self.take(received, limits, "the answer's header section is too large", |bytes| {
            parse_head(bytes, limits.fields)
        })
    }

    /// Takes a trailer section that is not empty.
    ///
    /// # Errors
    /// [`Http1Error::Invalid`]
    pub(super) fn take_trailers(
        &mut self,
        received: &mut Bytes,
        limits: SectionLimits,
    ) -> Result<Option<HeaderMap>, Http1Error> {
        self.take(received, limits, "the answer's trailer section is too large", |bytes| {
            parse_trailers(bytes, limits.fields)
        })
    }

    fn take<T>(
        &mut self,
        received: &mut Bytes,
        limits: SectionLimits,
        too_large: &'static str,
        parse: impl FnOnce(&Bytes) -> Result<Option<(usize, T)>, Http1Error>,
    ) -> Result<Option<T>, Http1Error> {
        if let Some((length, section)) = if self.may_be_whole(received) { parse(received)? } else { None } {
            if length > limits.bytes {
                return Err(Http1Error::Invalid(too_large));
            }
            received.advance(length);
            *self = Self::default();
            return Ok(Some(section));
        }
        if received.len() >= limits.bytes {
            return Err(Http1Error::Invalid(too_large));
        }
        self.looked_at = received.len();
        Ok(None)
    }

    /// False where nothing that came since the last look ends a section.
    fn may_be_whole(&self, received: &[u8]) -> bool {
        if self.looked_at == 0 {
            return !received.is_empty();
        }
        let unknown = &received[self.looked_at.saturating_sub(3).min(received.len())..];
        unknown.windows(2).any(|pair| pair == b"\n\n") || unknown.windows(3).any(|three| three == b"\n\r\n")
    }
}

/// The header section at the front, and its length; nothing where its end is not there yet.
fn parse_head(bytes: &Bytes, fields: usize) -> Result<Option<(usize, Head)>, Http1Error> {
    let mut usual = [const { MaybeUninit::<Header<'_>>::uninit() }; USUAL_FIELDS];
    match parse_head_into(bytes, &mut usual[..fields.min(USUAL_FIELDS)]) {
        Err(httparse::Error::TooManyHeaders) if fields > USUAL_FIELDS => {
            let mut many = vec![MaybeUninit::uninit(); fields];
            parse_head_into(bytes, &mut many).map_err(refusal)?.transpose()
        }
        parsed => parsed.map_err(refusal)?.transpose(),
    }
}

type Parsed<T> = Option<Result<(usize, T), Http1Error>>;

fn parse_head_into<'b>(
    bytes: &'b Bytes,
    fields: &mut [MaybeUninit<Header<'b>>],
) -> Result<Parsed<Head>, httparse::Error> {
    let mut response = Response::new(&mut []);
    match ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, fields)? {
        Status::Partial => Ok(None),
        Status::Complete(length) => Ok(Some(head_of(&response, bytes).map(|head| (length, head)))),
    }
}

fn head_of(response: &Response<'_, '_>, bytes: &Bytes) -> Result<Head, Http1Error> {
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    Ok(Head {
        status: status.ok_or(Http1Error::Invalid("the answer's status is none"))?,
        is_http11: response.version == Some(1),
        headers: headers_of(response.headers, bytes)?,
    })
}

fn parse_trailers(bytes: &Bytes, fields: usize) -> Result<Option<(usize, HeaderMap)>, Http1Error> {
    let mut parsed = vec![httparse::EMPTY_HEADER; fields];
    match httparse::parse_headers(bytes, &mut parsed).map_err(refusal)? {
        Status::Partial => Ok(None),
        Status::Complete((length, _)) if has_bare_line_feed(&bytes[..length]) => {
            Err(Http1Error::Invalid("a line of the trailer section ends without a carriage return"))
        }
        Status::Complete((length, parsed)) => Ok(Some((length, headers_of(parsed, bytes)?))),
    }
}

fn has_bare_line_feed(section: &[u8]) -> bool {
    let carriage_returns = std::iter::once(&0).chain(section);
    carriage_returns.zip(section).any(|(before, byte)| *byte == b'\n' && *before != b'\r')
}

/// The values share the memory of what was received.
fn headers_of(parsed: &[Header<'_>], bytes: &Bytes) -> Result<HeaderMap, Http1Error> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Http1Error::Invalid("a field of the answer has a name or a value that is none"));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

fn refusal(error: httparse::Error) -> Http1Error {
    Http1Error::Invalid(match error {
        httparse::Error::HeaderName => "a field of the answer has a name that is none, or goes on over two lines",
        httparse::Error::HeaderValue => "a field of the answer has a value that is none",
        httparse::Error::NewLine => "a line of the answer's header section ends in the wrong way",
        httparse::Error::Status => "the answer's status is none",
        httparse::Error::TooManyHeaders => "the answer has too many fields",
        httparse::Error::Version | httparse::Error::Token => "the answer is not one of HTTP/1",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: SectionLimits = SectionLimits { bytes: 8192, fields: 100 };

    /// Feeds the bytes in pieces of these sizes, the last one as often as it takes.
    fn fed(bytes: &[u8], pieces: &[usize], limits: SectionLimits) -> Result<Option<(Head, Vec<u8>)>, String> {
        let mut section = Section::default();
        let mut received = Vec::new();
        let mut sizes = pieces.iter().copied().chain(std::iter::repeat(pieces.last().copied().unwrap_or(1)));
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
            received.extend_from_slice(now);
            rest = later;
            let mut view = Bytes::from(received.clone());
            match section.take_head(&mut view, limits) {
                Ok(None) => {}
                Ok(Some(head)) => return Ok(Some((head, [&view[..], rest].concat()))),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(None)
    }

    fn refused(bytes: &str) -> String {
        fed(bytes.as_bytes(), &[bytes.len()], LIMITS).expect_err(bytes)
    }

    #[test]
    fn a_head_is_taken_and_what_follows_is_left() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n\r\nok";
        let (head, rest) = fed(answer, &[answer.len()], LIMITS).expect("good").expect("whole");
        assert_eq!((head.status.as_u16(), head.is_http11, rest.as_slice()), (200, true, &b"ok"[..]));
        assert_eq!(head.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        let (old, _) = fed(b"HTTP/1.0 404\r\n\r\n", &[1], LIMITS).expect("good").expect("whole");
        assert_eq!((old.status.as_u16(), old.is_http11), (404, false));
    }

    #[test]
    fn what_is_no_header_section_is_refused() {
        for wrong in [
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "220 mail",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n\r\n",
            "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\x7fc\r\n\r\n",
        ] {
            refused(wrong);
        }
    }

    #[test]
    fn a_section_is_bounded_in_bytes_and_fields() {
        let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(8192));
        assert!(refused(&large).contains("too large"));
        assert!(fed(&large.as_bytes()[..8192], &[1000], LIMITS).is_err());
        let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert!(fed(fields(100).as_bytes(), &[4096], LIMITS).expect("good").is_some());
        assert!(refused(&fields(101)).contains("too many"));
        let few = SectionLimits { fields: 3, ..LIMITS };
        assert!(fed(fields(3).as_bytes(), &[4096], few).expect("good").is_some());
        assert!(fed(fields(4).as_bytes(), &[4096], few).is_err());
    }

    #[test]
    fn trailers_end_their_lines_as_the_header_section_should() {
        let take =
            |bytes: &'static str| Section::default().take_trailers(&mut Bytes::from_static(bytes.as_bytes()), LIMITS);
        assert_eq!(take("X-Sum: 7\r\n\r\nrest").expect("good").expect("whole")["x-sum"], "7");
        assert!(take("X-Sum: 7\r\n").expect("good").is_none());
        assert!(take("X-Sum: 7\n\r\n").is_err());
        assert!(take("X-Sum: 7\r\n a\r\n\r\n").is_err());
        assert!(take("HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_a_head_comes_do_not_matter(
            fields in proptest::collection::vec(("[A-Za-z-]{1,12}", "[ -~]{0,30}"), 0..8),
            ends in proptest::sample::select(vec!["\r\n", "\n"]),
            body in "[ -~\r\n]{0,20}",
            pieces in proptest::collection::vec(1_usize..40, 1..20),
        ) {
            let lines: String = fields.iter().flat_map(|(name, value)| [name, ": ", value, ends]).collect();
            let answer = format!("HTTP/1.1 200 OK{ends}{lines}{ends}{body}");
            let whole = fed(answer.as_bytes(), &[answer.len()], LIMITS);
            let (expected, rest) = whole.expect("good").expect("whole");
            prop_assert_eq!(&rest, body.as_bytes());
            let (found, rest) = fed(answer.as_bytes(), &pieces, LIMITS).expect("good").expect("whole");
            prop_assert_eq!(found.headers, expected.headers);
            prop_assert_eq!(&rest, body.as_bytes());
        }
    }
}
