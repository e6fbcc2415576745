//! The paths of requests, and the patterns that match them.
//!
//! A path is matched as the service behind us will read it. Where two readers could read it differently, it is ambiguous and
//! matches nothing: a rule must not hold for one reading and be got round by the other.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The path of a request without its query, of which every reader makes the same segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath<'a>(
    /// With its escapes decoded, in which no `/` is hidden.
    Cow<'a, str>,
);

/// Why two readers could take a path for two different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AmbiguousPath {
    /// `//`: some readers merge the two. One `/` at the end is no empty segment.
    #[error("an empty segment (\"//\")")]
    EmptySegment,
    /// `.` or `..`, also as `%2e`: some readers resolve them (RFC 3986 section 5.2.4).
    #[error("a segment \".\" or \"..\", which means another path")]
    DotSegment,
    /// `%2f`: some readers take it for a separator, some for a part of a name.
    #[error("an encoded \"/\"")]
    EncodedSlash,
    /// `\`, also as `%5c`: some readers take it for a separator.
    #[error("a \"\\\"")]
    Backslash,
    /// A control character such as `%00`, at which some readers stop.
    #[error("a control character")]
    ControlCharacter,
    /// `;`, also as `%3b`: some readers cut it off its segment with all that follows.
    #[error("a \";\", behind which some services read parameters")]
    Parameter,
    /// `%` without two hexadecimal digits, or escapes that are no UTF-8.
    #[error("a \"%\" that begins no escape of UTF-8")]
    IllFormedEscape,
    /// `%25` before two hexadecimal digits: an escape again for whoever decodes twice.
    #[error("an escape that is escaped once more")]
    DoubleEscape,
    /// A character that has to be escaped (RFC 3986 section 2).
    #[error("a character outside ASCII that is not escaped")]
    NotAscii,
}

impl<'a> RequestPath<'a> {
    /// Reads a path as it was received, escapes and all. `*`, the target of `OPTIONS`, is a path that no pattern matches.
    ///
    /// # Errors
    /// Why the path is ambiguous.
    pub fn parse(raw: &'a str) -> Result<Self, AmbiguousPath> {
        for byte in raw.bytes() {
            check_octet(byte)?;
            if !byte.is_ascii() {
                return Err(AmbiguousPath::NotAscii);
            }
        }
        let path = if raw.contains('%') { Cow::Owned(decoded(raw)?) } else { Cow::Borrowed(raw) };
        let mut segments = path.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            match segment {
                "" if segments.peek().is_some() => return Err(AmbiguousPath::EmptySegment),
                "." | ".." => return Err(AmbiguousPath::DotSegment),
                _ => {}
            }
        }
        Ok(Self(path))
    }

    /// A path that no pattern matches, for requests whose path nobody looks at.
    pub(super) fn unseen() -> Self {
        Self(Cow::Borrowed(""))
    }

    /// The path with its escapes decoded.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, of which the last is empty behind a `/` at the end; `None` where the path does not begin with `/`.
    pub(super) fn segments(&self) -> Option<std::str::Split<'_, char>> {
        Some(self.0.strip_prefix('/')?.split('/'))
    }
}

fn check_octet(octet: u8) -> Result<(), AmbiguousPath> {
    match octet {
        0..=0x1f | 0x7f => Err(AmbiguousPath::ControlCharacter),
        b'\\' => Err(AmbiguousPath::Backslash),
        b';' => Err(AmbiguousPath::Parameter),
        _ => Ok(()),
    }
}

/// The path with every escape decoded once.
fn decoded(raw: &str) -> Result<String, AmbiguousPath> {
    let mut octets = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            octets.push(*first);
            continue;
        }
        let octet = escaped(rest).ok_or(AmbiguousPath::IllFormedEscape)?;
        rest = &rest[2..];
        check_octet(octet)?;
        match octet {
            b'/' => return Err(AmbiguousPath::EncodedSlash),
            b'%' if escaped(rest).is_some() => return Err(AmbiguousPath::DoubleEscape),
            _ => octets.push(octet),
        }
    }
    // The digits behind may have been escaped themselves: "%25%32e".
    if octets.windows(3).any(|octets| octets[0] == b'%' && escaped(&octets[1..]).is_some()) {
        return Err(AmbiguousPath::DoubleEscape);
    }
    String::from_utf8(octets).map_err(|_| AmbiguousPath::IllFormedEscape)
}

/// The octet that two hexadecimal digits stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |index: usize| char::from(*digits.get(index)?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(0)? << 4 | digit(1)?)
}

/// Which paths are meant.
///
/// - `/ads`: exactly this path, which `/ads/` and `/Ads` are not
/// - `/static/*`: every path that begins with `/static/`, that one included; `/*` is every path
/// - `/ads/{id}`: any one segment in place of `{id}`, as long as it is not empty
///
/// Escapes mean what they stand for, here as in a request: `/caf%C3%A9` also matches `/caf%c3%a9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: Box<str>,
    pub(super) segments: Vec<Segment>,
    /// Whether more segments follow, one at least.
    pub(super) is_prefix: bool,
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// Exactly this one, decoded.
    Literal(Box<str>),
    /// Any that is not empty.
    Any,
}

/// Why a text is not a [`PathPattern`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathPatternError {
    /// It does not begin with `/`.
    #[error("{text:?} does not begin with \"/\"")]
    NotAbsolute {
        /// The text as it was given.
        text: String,
    },
    /// `*` stands elsewhere than behind the last `/`.
    #[error("{text:?} has a \"*\" elsewhere than alone behind the last \"/\"")]
    Wildcard {
        /// The text as it was given.
        text: String,
    },
    /// Braces that are not those of a whole segment such as `{id}`.
    #[error("{text:?} has a brace that does not enclose a whole segment, with a name of a-z, A-Z, 0-9 and \"_\"")]
    Template {
        /// The text as it was given.
        text: String,
    },
    /// `?` or `#`.
    #[error("{text:?} has a \"?\" or \"#\", which end a path")]
    Query {
        /// The text as it was given.
        text: String,
    },
    /// A space.
    #[error("{text:?} has a space")]
    Space {
        /// The text as it was given.
        text: String,
    },
    /// No request with such a path is let in.
    #[error("{text:?} can match no request: it has {why}")]
    Ambiguous {
        /// The text as it was given.
        text: String,
        /// Why the path would be refused.
        why: AmbiguousPath,
    },
}

impl PathPattern {
    /// True where the path is meant by this pattern.
    pub fn matches(&self, path: &RequestPath<'_>) -> bool {
        path.segments().is_some_and(|mut segments| {
            self.segments.iter().all(|expected| segments.next().is_some_and(|segment| expected.matches(segment)))
                && segments.next().is_some() == self.is_prefix
        })
    }

    /// True where a service that is careless about paths could take the path for one that is meant: in another case, or with or
    /// without a `/` at its end.
    pub fn resembles(&self, path: &RequestPath<'_>) -> bool {
        let Some(segments) = path.segments() else { return false };
        let mut segments = segments.filter(|segment| !segment.is_empty());
        let mut expected = self.segments.iter().filter(|segment| !segment.is_empty());
        expected.all(|expected| segments.next().is_some_and(|segment| expected.resembles(segment)))
            && (self.is_prefix || segments.next().is_none())
    }
}

impl Segment {
    fn matches(&self, segment: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *segment,
            Self::Any => !segment.is_empty(),
        }
    }

    fn resembles(&self, segment: &str) -> bool {
        match self {
            Self::Literal(literal) => literal.eq_ignore_ascii_case(segment),
            Self::Any => true,
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Literal(literal) if literal.is_empty())
    }
}

impl FromStr for PathPattern {
    type Err = PathPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let owned = || text.to_owned();
        if !text.starts_with('/') {
            return Err(PathPatternError::NotAbsolute { text: owned() });
        }
        if text.contains(['?', '#']) {
            return Err(PathPatternError::Query { text: owned() });
        }
        if text.contains(' ') {
            return Err(PathPatternError::Space { text: owned() });
        }
        let (path, is_prefix) = text.strip_suffix("/*").map_or((text, false), |parent| (parent, true));
        if path.contains('*') {
            return Err(PathPatternError::Wildcard { text: owned() });
        }
        // Before escapes are decoded, so that an escaped brace stands for itself.
        let raw = path.split('/').skip(1);
        let is_any = raw.map(|segment| template(segment).ok_or_else(|| PathPatternError::Template { text: owned() }));
        let is_any: Vec<bool> = is_any.collect::<Result<_, _>>()?;
        let path = RequestPath::parse(path).map_err(|why| PathPatternError::Ambiguous { text: owned(), why })?;
        if is_prefix && path.as_str().ends_with('/') {
            return Err(PathPatternError::Ambiguous { text: owned(), why: AmbiguousPath::EmptySegment });
        }
        let segments = path.segments().into_iter().flatten().zip(is_any);
        let segments = segments.map(|(text, any)| if any { Segment::Any } else { Segment::Literal(text.into()) });
        Ok(Self { text: text.into(), segments: segments.collect(), is_prefix })
    }
}

/// Whether a segment is a template or holds no brace; `None` where it is neither.
fn template(segment: &str) -> Option<bool> {
    if !segment.contains(['{', '}']) {
        return Some(false);
    }
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let well_formed = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    well_formed.then_some(true)
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> PathPattern {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn path(raw: &str) -> RequestPath<'_> {
        RequestPath::parse(raw).unwrap_or_else(|why| panic!("{raw}: {why}"))
    }

    #[track_caller]
    fn assert_matches(text: &str, matching: &[&str], others: &[&str]) {
        for raw in matching {
            assert!(pattern(text).matches(&path(raw)), "{text} {raw}");
        }
        for raw in others {
            assert!(!pattern(text).matches(&path(raw)), "{text} {raw}");
        }
    }

    #[test]
    fn an_exact_path_matches_itself_alone() {
        assert_matches("/ads", &["/ads", "/%61ds"], &["/", "/ads/", "/Ads", "/ads/7", "/ad", "/adsx", "/ads.", "*"]);
        assert_matches("/ads/", &["/ads/"], &["/ads", "/ads/7"]);
        assert_matches("/", &["/"], &["/ads", "*"]);
        assert_matches("/pkg.Service/Method", &["/pkg.Service/Method"], &["/pkg.Service/method", "/pkg.Service"]);
    }

    #[test]
    fn a_prefix_matches_everything_below_it_and_nothing_beside() {
        assert_matches("/static/*", &["/static/", "/static/a", "/static/a/b/"], &["/static", "/statics/a", "/"]);
        assert_matches("/*", &["/", "/ads", "/ads/7"], &["*"]);
        assert_matches("/users/{id}/ads/*", &["/users/7/ads/1", "/users/7/ads/"], &["/users/7/ads", "/users/ads/1"]);
    }

    #[test]
    fn a_template_stands_for_one_segment() {
        assert_matches("/ads/{id}", &["/ads/7", "/ads/a%20b", "/ads/{id}"], &["/ads/", "/ads", "/ads/7/", "/ads/7/b"]);
        assert_matches("/{a}/{b}", &["/x/y"], &["/x", "/x/", "/x/y/z"]);
    }

    #[test]
    fn escapes_mean_what_they_stand_for() {
        assert_matches("/caf%C3%A9", &["/caf%c3%a9", "/%63af%C3%A9"], &["/cafe"]);
        assert_matches("/~me", &["/%7Eme", "/~me"], &["/me"]);
        assert_matches("/a%7Bb", &["/a%7bb", "/a{b"], &["/ab"]);
        assert_matches("/100%25", &["/100%25"], &["/100"]);
    }

    #[test]
    fn what_two_readers_could_read_differently_is_ambiguous() {
        use AmbiguousPath::*;
        for (raw, why) in [
            ("//", EmptySegment),
            ("//ads", EmptySegment),
            ("/ads//7", EmptySegment),
            ("/ads//", EmptySegment),
            ("/.", DotSegment),
            ("/ads/./7", DotSegment),
            ("/ads/..", DotSegment),
            ("/ads/../users", DotSegment),
            ("/ads/%2e%2E/users", DotSegment),
            ("/ads/.%2e", DotSegment),
            ("/ads%2F7", EncodedSlash),
            ("/ads%2f..%2fusers", EncodedSlash),
            ("/ads\\users", Backslash),
            ("/ads%5Cusers", Backslash),
            ("/ads%00", ControlCharacter),
            ("/ads%0a", ControlCharacter),
            ("/ads%7f", ControlCharacter),
            ("/ads;x=1", Parameter),
            ("/ads/..;/users", Parameter),
            ("/ads%3Bx", Parameter),
            ("/ads%", IllFormedEscape),
            ("/ads%2", IllFormedEscape),
            ("/ads%zz", IllFormedEscape),
            ("/ads%u002e", IllFormedEscape),
            ("/ads/%c0%ae%c0%ae/users", IllFormedEscape),
            ("/ads/%252e%252e/users", DoubleEscape),
            ("/ads%252Fusers", DoubleEscape),
            ("/ads/%25%32%65%25%32%65/users", DoubleEscape),
            ("/ads%252%66users", DoubleEscape),
            ("/caf\u{e9}", NotAscii),
        ] {
            assert_eq!(RequestPath::parse(raw), Err(why), "{raw}");
        }
        for raw in ["/", "/...", "/.well-known/x", "/a..b", "/a%2eb", "/a%20b", "/a+b", "/a:b,c=d@e!$&'()*~", "*"] {
            assert!(RequestPath::parse(raw).is_ok(), "{raw}");
        }
    }

    #[test]
    fn a_path_resembles_what_a_careless_service_would_take_it_for() {
        for (text, alike, others) in [
            ("/admin", &["/admin", "/admin/", "/ADMIN", "/Admin/"][..], &["/", "/admin/x", "/admins"][..]),
            ("/admin/", &["/admin", "/admin/"], &["/admin/x"]),
            ("/admin/*", &["/admin", "/admin/", "/ADMIN/x", "/admin/x/y/"], &["/", "/admins"]),
            ("/ads/{id}", &["/ads/7", "/ADS/7/"], &["/ads", "/ads/", "/ads/7/8"]),
            ("/", &["/"], &["/ads"]),
            ("/*", &["/", "/ads"], &["*"]),
        ] {
            for raw in alike {
                assert!(pattern(text).resembles(&path(raw)), "{text} {raw}");
            }
            for raw in others {
                assert!(!pattern(text).resembles(&path(raw)), "{text} {raw}");
            }
        }
    }

    #[test]
    fn ill_formed_patterns_are_refused_with_the_reason() {
        for (text, message) in [
            ("", "\"\" does not begin with \"/\""),
            ("ads", "\"ads\" does not begin with \"/\""),
            ("*", "\"*\" does not begin with \"/\""),
            ("/ads*", "\"/ads*\" has a \"*\" elsewhere than alone behind the last \"/\""),
            ("/*/ads", "\"/*/ads\" has a \"*\" elsewhere than alone behind the last \"/\""),
            ("/ads/**", "\"/ads/**\" has a \"*\" elsewhere than alone behind the last \"/\""),
            ("/ads?x=1", "\"/ads?x=1\" has a \"?\" or \"#\", which end a path"),
            ("/my ads", "\"/my ads\" has a space"),
            (
                "/ads/x{id}",
                "\"/ads/x{id}\" has a brace that does not enclose a whole segment, with a name of a-z, A-Z, 0-9 and \"_\"",
            ),
            ("//", "\"//\" can match no request: it has an empty segment (\"//\")"),
            ("//*", "\"//*\" can match no request: it has an empty segment (\"//\")"),
            ("/a/../b", "\"/a/../b\" can match no request: it has a segment \".\" or \"..\", which means another path"),
            ("/a;b", "\"/a;b\" can match no request: it has a \";\", behind which some services read parameters"),
        ] {
            assert_eq!(text.parse::<PathPattern>().expect_err(text).to_string(), message);
        }
        for text in ["/{}", "/{a", "/a}", "/{a}{b}", "/{a-b}", "/%2e%2e/*", "/a%2Fb", "/\u{e9}"] {
            assert!(text.parse::<PathPattern>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_matches_also_resembles(
            text in "(/([a-c]|\\{x\\}){1,2}){0,3}(/|/\\*)?",
            raw in "(/[a-cA-C]{1,2}){0,3}/?",
        ) {
            if let (Ok(pattern), Ok(path)) = (text.parse::<PathPattern>(), RequestPath::parse(&raw)) {
                prop_assert!(!pattern.matches(&path) || pattern.resembles(&path), "{} {}", text, raw);
            }
        }

        #[test]
        fn no_path_makes_the_reader_panic_and_no_dot_segment_gets_through(raw in "/([./%25eEfF;a-c\\\\]|%2[eEfF5]){0,12}") {
            if let Ok(path) = RequestPath::parse(&raw) {
                prop_assert!(path.as_str().split('/').all(|segment| segment != ".." && segment != "."));
                prop_assert!(!path.as_str().contains("//"));
                prop_assert_eq!(path.as_str().matches('/').count(), raw.matches('/').count());
            }
        }
    }
}
