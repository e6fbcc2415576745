//! What a client of an edge listener must not say, and what the public is not told.

use http::header::{AUTHORIZATION, HeaderName, SERVER};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue};

use crate::proxy::client_claims::{ClientClaim, is_plain};

use super::refusal::EdgeRefusal;

/// The name under which RFC 6750 section 2.3 would have a token in a URL.
const TOKEN_PARAMETER: &str = "access_token";
/// What services say of themselves.
const ABOUT_THE_SERVICE: [HeaderName; 4] = [
    SERVER,
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("x-aspnet-version"),
    HeaderName::from_static("x-runtime"),
];
/// What a sidecar says of an answer of its own.
pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Refuses a token in the URL, in whatever spelling, in the query and in what looks like one.
///
/// # Errors
/// [`EdgeRefusal::TokenInUrl`].
pub(super) fn refuse_token_in_url(uri: &Uri) -> Result<(), EdgeRefusal> {
    let text = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let holds_it = |text: &[u8]| {
        let length = TOKEN_PARAMETER.len();
        text.windows(length + 1)
            .any(|window| window[..length].eq_ignore_ascii_case(TOKEN_PARAMETER.as_bytes()) && window[length] == b'=')
    };
    // Escapes may hide it, once or twice.
    let once = unescaped(text.as_bytes());
    let found = holds_it(text.as_bytes()) || (text.contains('%') && (holds_it(&once) || holds_it(&unescaped(&once))));
    if found { Err(EdgeRefusal::TokenInUrl) } else { Ok(()) }
}

/// Every escape decoded; what is none stays as it is.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut rest = text;
    let mut plain = Vec::with_capacity(text.len());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) if digit(*high).is_some() && digit(*low).is_some() => {
                plain.push(digit(*high).unwrap_or(0) * 16 + digit(*low).unwrap_or(0));
                rest = after;
            }
            _ => plain.push(*first),
        }
    }
    plain
}

/// Removes what a client must not say. `keep_forwarded` says that the client is a proxy that is trusted about its own clients; only
/// the plain spelling is kept then.
pub(super) fn strip_request(headers: &mut HeaderMap, keep_forwarded: bool, keep_token: bool) {
    let is_kept = |name: &HeaderName, claim| match claim {
        ClientClaim::Override | ClientClaim::ProxyCredentials => false,
        ClientClaim::Client => keep_forwarded && is_plain(name),
        ClientClaim::Credentials => keep_token && is_plain(name),
    };
    let is_doomed = |name: &&HeaderName| ClientClaim::of(name).is_some_and(|claim| !is_kept(name, claim));
    let doomed: Vec<HeaderName> = headers.keys().filter(is_doomed).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

/// Removes what the public need not know. What begins with `x-mantlet-` and tells of certificates was removed before.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    for name in &ABOUT_THE_SERVICE {
        headers.remove(name);
    }
    headers.remove(PROXY_STATUS);
}

/// True for an answer that a sidecar within the mesh gave in the service's place: it names identities and rules.
pub(super) fn is_of_a_sidecar(headers: &HeaderMap) -> bool {
    headers.get_all(PROXY_STATUS).iter().any(|status| status.as_bytes().starts_with(b"mantlet;"))
}

/// The token of a request: `Authorization: Bearer TOKEN` (RFC 6750 section 2.1).
///
/// # Errors
/// Where there is none, or not exactly one.
pub(super) fn bearer_token(headers: &HeaderMap) -> Result<&str, EdgeRefusal> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Err(EdgeRefusal::NoToken) };
    if all.next().is_some() {
        return Err(EdgeRefusal::BadAuthorization("more than one header Authorization"));
    }
    let text = HeaderValue::to_str(value).unwrap_or_default();
    let Some((scheme, token)) = text.split_once(' ') else { return Err(EdgeRefusal::NoToken) };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(EdgeRefusal::NoToken);
    }
    match token.trim_matches(' ') {
        "" => Err(EdgeRefusal::NoToken),
        token if token.contains([' ', '\t', ',']) => {
            Err(EdgeRefusal::BadAuthorization("more than a token behind Bearer"))
        }
        token => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(uri: &str) -> bool {
        refuse_token_in_url(&uri.parse().expect("a URI")).is_err()
    }

    #[test]
    fn a_token_in_the_url_is_found_in_every_spelling() {
        for uri in [
            "/ads?access_token=x",
            "/ads?a=1&access_token=x",
            "/ads?ACCESS_token=x",
            "/ads?access%5Ftoken=x",
            "/ads?%61ccess_token%3dx",
            "/ads?access%255ftoken=x",
            "/ads;access_token=x",
            "/ads/access_token=x",
            "https://market.example/ads?access_token=",
        ] {
            assert!(refused(uri), "{uri}");
        }
        for uri in ["/ads", "/ads?token=x", "/access_token", "/ads?access_tokens=x", "/ads?q=%", "/ads?q=100%25"] {
            assert!(!refused(uri), "{uri}");
        }
    }

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let parsed = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse::<HeaderValue>().expect("a value"))
        };
        list.iter().map(parsed).collect()
    }

    fn kept(list: &[(&str, &str)], keep_forwarded: bool, keep_token: bool) -> Vec<String> {
        let mut headers = headers(list);
        strip_request(&mut headers, keep_forwarded, keep_token);
        let mut kept: Vec<String> = headers.keys().map(ToString::to_string).collect();
        kept.sort_unstable();
        kept
    }

    #[test]
    fn what_a_client_must_not_say_is_removed_in_every_spelling() {
        let list = [
            ("forwarded", "x"),
            ("x-forwarded-for", "x"),
            ("x_forwarded_for", "x"),
            ("x-forwarded.proto", "x"),
            ("x-forwarded-anything", "x"),
            ("x-real-ip", "x"),
            ("x_real_ip", "x"),
            ("x-original-url", "x"),
            ("x_http_method_override", "x"),
            ("proxy", "x"),
            ("proxy-authorization", "x"),
            ("proxy_authorization", "x"),
            ("client-ip", "x"),
            ("client_ip", "x"),
            ("x-forwarded", "x"),
            ("x-envoy-external-address", "x"),
            ("fastly-client-ip", "x"),
            ("wl-proxy-client-ip", "x"),
            ("authorization", "x"),
            ("cookie", "x"),
            ("x-forwarde", "x"),
        ];
        assert_eq!(kept(&list, false, false), ["cookie", "x-forwarde"]);
        assert_eq!(kept(&list, false, true), ["authorization", "cookie", "x-forwarde"]);
        let trusted = kept(&list, true, false);
        assert_eq!(
            trusted,
            [
                "client-ip",
                "cookie",
                "fastly-client-ip",
                "forwarded",
                "wl-proxy-client-ip",
                "x-envoy-external-address",
                "x-forwarde",
                "x-forwarded",
                "x-forwarded-anything",
                "x-forwarded-for",
                "x-real-ip"
            ]
        );
    }

    #[test]
    fn a_token_stands_behind_bearer_and_alone() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "] {
            assert_eq!(bearer_token(&headers(&[("authorization", value)])).ok(), Some("a.b.c"), "{value}");
        }
        for value in ["", "Bearer", "Bearer ", "Basic dXNlcg==", "a.b.c"] {
            let list = headers(&[("authorization", value)]);
            assert!(matches!(bearer_token(&list), Err(EdgeRefusal::NoToken)), "{value}");
        }
        for list in
            [&[("authorization", "Bearer a b")][..], &[("authorization", "Bearer a"), ("authorization", "Bearer b")]]
        {
            assert!(matches!(bearer_token(&headers(list)), Err(EdgeRefusal::BadAuthorization(_))), "{list:?}");
        }
    }
}
