//! How long the body of an answer is (RFC 9112 section 6.3). Where two readers could find different ends, there is no answer.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::error::Http1Error;
use super::head::Head;

/// How the end of an answer's body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// After so many bytes.
    Exact(u64),
    /// Where the chunks say.
    Chunked,
    /// Where the connection ends.
    UntilClose,
}

impl Length {
    /// Of the answer to a request, which may have been a HEAD. Makes the header section tell a length once at most.
    ///
    /// # Errors
    /// [`Http1Error::Invalid`]
    pub(super) fn of(head: &mut Head, to_head_request: bool) -> Result<Self, Http1Error> {
        let (mut declared, mut fields, mut is_chunked) = (None, 0, false);
        // Once through all of them costs less than looking each up.
        for (name, value) in &head.headers {
            if name == CONTENT_LENGTH {
                note_length(value, &mut declared)?;
                fields += 1;
            } else if name == TRANSFER_ENCODING {
                note_codings(value, &mut is_chunked)?;
            }
        }
        if let Some(length) = declared.filter(|_| fields > 1) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if is_chunked && declared.is_some() {
            return Err(Http1Error::Invalid("an answer with both Content-Length and Transfer-Encoding"));
        }
        if is_chunked && !head.is_http11 {
            return Err(Http1Error::Invalid("an answer of HTTP/1.0 with a Transfer-Encoding"));
        }
        if to_head_request || has_no_body(head.status) {
            return Ok(Self::Exact(0));
        }
        Ok(match declared {
            _ if is_chunked => Self::Chunked,
            Some(length) => Self::Exact(length),
            None => Self::UntilClose,
        })
    }
}

fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Notes whether `Transfer-Encoding` says `chunked`, once. No other coding was asked for, and its name would not reach the caller.
fn note_codings(value: &HeaderValue, is_chunked: &mut bool) -> Result<(), Http1Error> {
    for coding in value.as_bytes().split(|byte| *byte == b',') {
        if *is_chunked || !coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Http1Error::Invalid("a Transfer-Encoding other than chunked, which was not asked for"));
        }
        *is_chunked = true;
    }
    Ok(())
}

/// The one number that all `Content-Length` fields tell.
///
/// # Errors
/// [`Http1Error::Invalid`] where they tell none or several.
pub(super) fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Http1Error> {
    let mut declared = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        note_length(value, &mut declared)?;
    }
    Ok(declared)
}

fn note_length(value: &HeaderValue, declared: &mut Option<u64>) -> Result<(), Http1Error> {
    for number in value.as_bytes().split(|byte| *byte == b',') {
        let number = number_of(number.trim_ascii()).ok_or(Http1Error::Invalid("a Content-Length that is no number"))?;
        if declared.is_some_and(|before| before != number) {
            return Err(Http1Error::Invalid("Content-Length fields that differ"));
        }
        *declared = Some(number);
    }
    Ok(())
}

fn number_of(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether the sender of an answer keeps the connection.
pub(super) fn persists(head: &Head) -> bool {
    let says_close = |value: &HeaderValue| {
        // What cannot be read may say so.
        value.to_str().map_or(true, |list| list.split(',').any(|option| option.trim().eq_ignore_ascii_case("close")))
    };
    head.is_http11 && !head.headers.get_all(CONNECTION).iter().any(says_close)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, is_http11: bool, headers: &[(&str, &str)]) -> Head {
        let headers = headers.iter().map(|(name, value)| {
            (name.parse::<http::HeaderName>().expect("name"), value.parse::<HeaderValue>().expect("value"))
        });
        Head { status: StatusCode::from_u16(status).expect("status"), is_http11, headers: headers.collect() }
    }

    #[test]
    fn the_end_of_a_body_is_found_by_the_first_rule_that_applies() {
        type Case = (u16, &'static [(&'static str, &'static str)], bool, Length);
        let cases: &[Case] = &[
            (200, &[("content-length", "5")], false, Length::Exact(5)),
            (200, &[("content-length", "5")], true, Length::Exact(0)),
            (204, &[("content-length", "5")], false, Length::Exact(0)),
            (304, &[("content-length", "5")], false, Length::Exact(0)),
            (304, &[("transfer-encoding", "chunked")], false, Length::Exact(0)),
            (101, &[], false, Length::Exact(0)),
            (200, &[("content-length", "5, 5"), ("content-length", "5")], false, Length::Exact(5)),
            (200, &[("transfer-encoding", "ChunKed")], false, Length::Chunked),
            (200, &[], false, Length::UntilClose),
        ];
        for (status, headers, to_head_request, expected) in cases {
            let found = Length::of(&mut head(*status, true, headers), *to_head_request).expect("good");
            assert_eq!(found, *expected, "{status} {headers:?}");
        }
    }

    #[test]
    fn an_answer_whose_end_two_readers_could_find_in_two_places_is_none() {
        let ambiguous: &[&[(&str, &str)]] = &[
            &[("content-length", "5"), ("content-length", "6")],
            &[("content-length", "5, 6")],
            &[("content-length", "+5")],
            &[("content-length", "-5")],
            &[("content-length", "0x5")],
            &[("content-length", "5 5")],
            &[("content-length", "")],
            &[("content-length", "5,")],
            &[("content-length", "99999999999999999999")],
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            &[("content-length", "5"), ("transfer-encoding", "gzip")],
            &[("transfer-encoding", "chunked, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked, identity")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "gzip")],
            &[("transfer-encoding", "xchunked")],
            &[("transfer-encoding", "")],
        ];
        for headers in ambiguous {
            assert!(Length::of(&mut head(200, true, headers), false).is_err(), "{headers:?}");
        }
        assert!(Length::of(&mut head(200, false, &[("transfer-encoding", "chunked")]), false).is_err());
    }

    #[test]
    fn a_length_told_several_times_is_passed_on_once() {
        let mut told = head(200, true, &[("content-length", "5"), ("content-length", "5")]);
        Length::of(&mut told, true).expect("good");
        assert_eq!(told.headers.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["5"]);
    }

    #[test]
    fn a_connection_persists_unless_the_answer_says_otherwise() {
        assert!(persists(&head(200, true, &[])));
        assert!(persists(&head(200, true, &[("connection", "keep-alive")])));
        assert!(!persists(&head(200, true, &[("connection", "keep-alive"), ("connection", "x, Close")])));
        assert!(!persists(&head(200, false, &[("connection", "keep-alive")])));
    }
}
