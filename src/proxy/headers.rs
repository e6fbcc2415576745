//! Header hygiene: what HTTP itself forbids to pass on, what a caller must not claim, and what we add.
//!
//! The order matters. What the original `Connection` names is removed first, then every identity header, and ours are set
//! last; a caller that lists `x-mantlet-peer` in `Connection` therefore removes its own, not ours.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Version, request};

use crate::config::IdentityHeader;
use crate::identity::PeerIdentity;
use crate::tls::Peer;

use super::client_claims::ClientClaim;
use super::error::ProxyError;

/// `x-mantlet-peer`
pub(super) const PEER: HeaderName = HeaderName::from_static("x-mantlet-peer");
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const OWN_PREFIX: &str = "x-mantlet-";

/// The headers that tell the local service who called, made once for a connection.
#[derive(Debug, Clone, Default)]
pub struct IdentityHeaders(Vec<(HeaderName, HeaderValue)>);

/// What a request asks of the connection rather than of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// A request and its response.
    Exchange,
    /// The same, as gRPC (`content-type: application/grpc`).
    Grpc,
    /// To speak another protocol on this connection (RFC 9110 section 7.8).
    Upgrade,
}

/// Refuses requests over whose extent or target two readers could disagree, and says what the others ask for.
///
/// # Errors
/// [`ProxyError::BadRequest`] or [`ProxyError::MethodNotCarried`].
pub fn check_request(head: &request::Parts) -> Result<Intent, ProxyError> {
    if head.method == Method::CONNECT {
        return Err(ProxyError::MethodNotCarried(head.method.clone()));
    }
    if head.uri.path() == "*" && head.method != Method::OPTIONS {
        return Err(ProxyError::BadRequest("the target * with a method other than OPTIONS"));
    }
    if head.uri.path().is_empty() {
        return Err(ProxyError::BadRequest("a target without a path"));
    }
    let fields = Decisive::of(&head.headers);
    check_authority(head, &fields)?;
    check_length(&fields)?;
    Ok(match upgrade_asked(head, &fields) {
        true => Intent::Upgrade,
        false if fields.content_type.is_some_and(is_grpc_type) => Intent::Grpc,
        false => Intent::Exchange,
    })
}

/// The fields that say what a request is, found by going through all once, which costs less than looking each up. Of several with
/// one name it is the first.
#[derive(Debug, Default)]
struct Decisive<'h> {
    host: Option<&'h HeaderValue>,
    hosts: usize,
    coding: Option<&'h HeaderValue>,
    codings: usize,
    length: Option<&'h HeaderValue>,
    /// Another length does not say the same.
    lengths_differ: bool,
    content_type: Option<&'h HeaderValue>,
    upgrade: Option<&'h HeaderValue>,
}

impl<'h> Decisive<'h> {
    fn of(headers: &'h HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            if name == HOST {
                found.host.get_or_insert(value);
                found.hosts += 1;
            } else if name == TRANSFER_ENCODING {
                found.coding.get_or_insert(value);
                found.codings += 1;
            } else if name == CONTENT_LENGTH {
                found.lengths_differ |= *found.length.get_or_insert(value) != value;
            } else if name == CONTENT_TYPE {
                found.content_type.get_or_insert(value);
            } else if name == UPGRADE {
                found.upgrade.get_or_insert(value);
            }
        }
        found
    }
}

/// `application/grpc`, alone or with a suffix such as `+proto`.
pub(super) fn is_grpc_type(content_type: &HeaderValue) -> bool {
    content_type.as_bytes().strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]))
}

/// One `Host` at most, one where HTTP/1.1 wants it, and the same as the target's authority (RFC 9112 section 3.2, RFC 9113
/// section 8.3.1).
fn check_authority(head: &request::Parts, fields: &Decisive<'_>) -> Result<(), ProxyError> {
    if fields.hosts > 1 {
        return Err(ProxyError::BadRequest("more than one Host header"));
    }
    let authority = head.uri.authority().map(Authority::as_str);
    match (fields.host, authority) {
        (Some(host), Some(authority)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            Err(ProxyError::BadRequest("the Host header and the target's authority differ"))
        }
        (None, None) if head.version == Version::HTTP_11 => {
            Err(ProxyError::BadRequest("an HTTP/1.1 request without a Host header"))
        }
        (_, Some(authority)) if authority.contains('@') => {
            Err(ProxyError::BadRequest("user information in the target's authority"))
        }
        (_, Some(authority)) if !has_port_or_none(authority) => {
            Err(ProxyError::BadRequest("a port of the target's authority that is no number"))
        }
        (Some(host), None) if !is_host(host) => Err(ProxyError::BadRequest("the Host header is no host")),
        _ => Ok(()),
    }
}

/// An empty host is legal for HTTP/1.1 targets without an authority; anything else has to parse as one.
fn is_host(host: &HeaderValue) -> bool {
    let is_host = |host: &str| !host.contains('@') && has_port_or_none(host) && host.parse::<Authority>().is_ok();
    host.is_empty() || host.to_str().is_ok_and(is_host)
}

/// The URI library takes nearly any text for a port, as in `market.example:1,evil.example`.
fn has_port_or_none(authority: &str) -> bool {
    let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
    port.is_none_or(|port| port.bytes().all(|octet| octet.is_ascii_digit()))
}

/// The HTTP library refuses differing lengths of HTTP/1.1 and prefers a transfer coding to a length; this holds for every
/// version and for whatever it may let through. A coding beside `chunked` would be lost on the way, and is refused.
fn check_length(fields: &Decisive<'_>) -> Result<(), ProxyError> {
    if fields.coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) || fields.codings > 1 {
        return Err(ProxyError::BadRequest("a Transfer-Encoding other than chunked, once"));
    }
    let Some(length) = fields.length else { return Ok(()) };
    if fields.coding.is_some() {
        return Err(ProxyError::BadRequest("both Content-Length and Transfer-Encoding"));
    }
    if length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit) {
        return Err(ProxyError::BadRequest("Content-Length is not a number"));
    }
    if fields.lengths_differ {
        return Err(ProxyError::BadRequest("Content-Length headers that differ"));
    }
    Ok(())
}

/// An upgrade is carried for every protocol but `h2c`, which would let later requests on the connection pass unseen.
fn upgrade_asked(head: &request::Parts, fields: &Decisive<'_>) -> bool {
    head.version == Version::HTTP_11
        && fields.upgrade.is_some_and(|protocol| !names_h2c(protocol))
        && connection_options(&head.headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

fn names_h2c(protocols: &HeaderValue) -> bool {
    protocols
        .to_str()
        .map_or(true, |list| list.split(',').any(|protocol| protocol.trim().to_ascii_lowercase().starts_with("h2c")))
}

pub(super) fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|option| !option.is_empty())
}

/// Removes what belongs to one connection alone (RFC 9110 section 7.6.1), then every identity header.
pub fn strip(headers: &mut HeaderMap) {
    let mut doomed: Vec<HeaderName> = Vec::new();
    let mut te_trailers = false;
    let mut names_fields = false;
    for (name, value) in headers.iter() {
        if is_hop_by_hop(name) {
            te_trailers |= name == TE && value.as_bytes().eq_ignore_ascii_case(b"trailers");
            names_fields |= name == CONNECTION && !is_about_the_connection_alone(value);
            doomed.push(name.clone());
        } else if is_identity_name(name) {
            doomed.push(name.clone());
        }
    }
    if names_fields {
        let named: Vec<HeaderName> = connection_options(headers).filter_map(|option| option.parse().ok()).collect();
        doomed.extend(named.into_iter().filter(|name| !is_needed(name)));
    }
    for name in doomed {
        headers.remove(name);
    }
    if te_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "te" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection")
}

/// True for what nearly every `Connection` header says, which names no field.
fn is_about_the_connection_alone(options: &HeaderValue) -> bool {
    [&b"close"[..], b"keep-alive"].iter().any(|known| options.as_bytes().eq_ignore_ascii_case(known))
}

/// Fields that a message is not the same without. `Connection` may not remove them: a service behind us would see a request
/// of another extent or target than we judged.
fn is_needed(name: &HeaderName) -> bool {
    name == HOST || name == CONTENT_LENGTH || name == CONTENT_TYPE || name == http::header::AUTHORIZATION
}

/// Fields that say how the message is to be read or answered, which a recipient has to know before its content.
fn is_about_the_message(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "cookie"
            | "set-cookie"
            | "content-encoding"
            | "content-range"
            | "trailer"
            | "expect"
            | "range"
            | "max-forwards"
    )
}

/// True for the names that only we may set. Gateways such as CGI and WSGI make no difference between `-` and `_`, and some none
/// between these and any other character that is no letter or digit, so neither does this.
pub(super) fn is_identity_name(name: &HeaderName) -> bool {
    let name = name.as_str();
    match name.as_bytes() {
        [b'x', separator, b'm' | b'f', ..] if !separator.is_ascii_alphanumeric() => {}
        [b'c', b'l', b'i', b'e', b'n', b't', separator, ..] if !separator.is_ascii_alphanumeric() => {}
        _ => return false,
    }
    if name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-') {
        return is_reserved(name);
    }
    is_reserved(&name.replace(|character: char| !character.is_ascii_alphanumeric(), "-"))
}

fn is_reserved(name: &str) -> bool {
    name.starts_with(OWN_PREFIX) || matches!(name, "client-cert" | "client-cert-chain" | "x-forwarded-client-cert")
}

/// Removes from a trailer section what may stand in no trailer, since a careless service might merge it into the header section:
/// what identifies the caller, frames or routes the message, or gives credentials (RFC 9110 section 6.5.1).
pub(super) fn strip_trailers(trailers: &mut HeaderMap) {
    let is_doomed = |name: &&HeaderName| {
        is_identity_name(name)
            || is_hop_by_hop(name)
            || is_needed(name)
            || is_about_the_message(name)
            || ClientClaim::of(name).is_some()
    };
    let doomed: Vec<HeaderName> = trailers.keys().filter(is_doomed).cloned().collect();
    for name in doomed {
        trailers.remove(name);
    }
}

/// Announces the trailers that every gRPC answer ends with: over HTTP/1.1 the HTTP library sends only those announced, and a
/// call without `grpc-status` has failed.
pub(super) fn announce_grpc_trailers(headers: &mut HeaderMap) {
    if headers.get(CONTENT_TYPE).is_some_and(is_grpc_type) && !headers.contains_key(TRAILER) {
        headers.insert(TRAILER, HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin"));
    }
}

/// The proxy answers `Expect: 100-continue` itself, once the request is permitted and its body is asked for.
pub(super) fn take_expectation(headers: &mut HeaderMap) {
    headers.remove(EXPECT);
}

/// Passes a trace on or begins one (W3C Trace Context section 3.2). A trace that begins here is marked as sampled: a service
/// that follows its caller would otherwise drop what it records of it.
pub fn ensure_trace(headers: &mut HeaderMap) {
    if !headers.contains_key(&TRACEPARENT) {
        let mut trace = *b"00-00000000000000000000000000000000-0000000000000000-01";
        write_hexadecimal(&mut trace[3..35], fastrand::u128(1..));
        write_hexadecimal(&mut trace[36..52], fastrand::u64(1..).into());
        // Hexadecimal digits are a header value; without one the request goes without a trace.
        let Ok(mut value) = HeaderValue::from_bytes(&trace) else { return };
        // It is never the same twice, and would push what is out of the peer's table of headers (RFC 7541 section 7.1.3).
        value.set_sensitive(true);
        headers.insert(TRACEPARENT, value);
    }
}

fn write_hexadecimal(digits: &mut [u8], mut number: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

impl IdentityHeaders {
    /// The wanted headers for this peer. An anonymous caller has the plain one alone, which says so.
    pub fn of(peer: &Peer, wanted: &[IdentityHeader], own_name: Option<&str>) -> Self {
        let values = wanted.iter().filter_map(|header| identity_header(*header, peer, own_name));
        Self(values.filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))).collect())
    }

    /// Sets them, in place of any of the same name.
    pub fn set(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name, value.clone());
        }
    }
}

fn identity_header(header: IdentityHeader, peer: &Peer, own_name: Option<&str>) -> Option<(HeaderName, String)> {
    match (header, &peer.identity) {
        (IdentityHeader::MantletPeer, identity) => Some((PEER, identity.to_string())),
        (_, PeerIdentity::Anonymous) => None,
        (IdentityHeader::ClientCert, _) => Some((CLIENT_CERT, byte_sequence(peer.chain.first()?))),
        (IdentityHeader::ClientCertChain, _) => {
            let chain: Vec<String> =
                peer.chain.get(1..)?.iter().map(|certificate| byte_sequence(certificate)).collect();
            (!chain.is_empty()).then(|| (CLIENT_CERT_CHAIN, chain.join(", ")))
        }
        (IdentityHeader::ForwardedClientCert, _) => {
            Some((FORWARDED_CLIENT_CERT, forwarded_client_cert(peer, own_name)?))
        }
    }
}

/// A byte sequence of RFC 8941 section 3.3.5, as RFC 9440 section 2.1 wants it.
fn byte_sequence(der: &[u8]) -> String {
    format!(":{}:", BASE64.encode(der))
}

/// The element that Envoy writes: `By`, `Hash`, `Subject`, `URI`, `DNS`, each quoted where a separator could stand in it.
fn forwarded_client_cert(peer: &Peer, own_name: Option<&str>) -> Option<String> {
    let certificate = &peer.path.as_ref()?.end_entity;
    let mut element = own_name.map(|name| format!("By={name};")).unwrap_or_default();
    element.push_str("Hash=");
    for octet in certificate.fingerprint {
        let _ = write!(element, "{octet:02x}");
    }
    let _ = write!(element, ";Subject=\"{}\"", certificate.subject.replace('\\', "\\\\").replace('"', "\\\""));
    if let Some(id) = &certificate.names.spiffe_id {
        let _ = write!(element, ";URI={id}");
    }
    for name in &certificate.names.dns_names {
        let _ = write!(element, ";DNS={name}");
    }
    Some(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (name.parse::<HeaderName>().expect("name"), value.parse().expect("value")))
            .collect()
    }

    fn stripped(list: &[(&str, &str)]) -> Vec<String> {
        let mut headers = headers(list);
        strip(&mut headers);
        let mut left: Vec<String> = headers.keys().map(ToString::to_string).collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn identity_headers_are_removed_in_every_spelling() {
        let list = [
            ("x-mantlet-peer", "spiffe://fm/admin"),
            ("X-Mantlet-Peer", "twice"),
            ("X_Mantlet_Peer", "x"),
            ("x-mantlet_peer", "x"),
            ("x-mantlet-anything", "x"),
            ("Client-Cert", "x"),
            ("client_cert", "x"),
            ("Client-Cert-Chain", "x"),
            ("X-Forwarded-Client-Cert", "x"),
            ("x-forwarded_client-cert", "x"),
            ("x.mantlet.peer", "x"),
            ("x~mantlet-peer", "x"),
            ("client.cert", "x"),
            ("x-kept", "x"),
            ("client-certificate", "x"),
        ];
        assert_eq!(stripped(&list), ["client-certificate", "x-kept"]);
    }

    #[test]
    fn what_connection_names_is_removed_but_not_what_a_message_needs() {
        let list = [
            ("connection", "close, X-Hop , content-length, host, authorization"),
            ("x-hop", "x"),
            ("host", "ads"),
            ("content-length", "3"),
            ("authorization", "x"),
            ("keep-alive", "5"),
            ("te", "trailers"),
        ];
        assert_eq!(stripped(&list), ["authorization", "content-length", "host", "te"]);
    }

    fn check(version: Version, uri: &str, list: &[(&str, &str)]) -> Result<Intent, ProxyError> {
        let (mut head, ()) = http::Request::builder().version(version).uri(uri).body(()).expect("request").into_parts();
        head.headers = headers(list);
        check_request(&head)
    }

    #[test]
    fn requests_that_two_readers_could_read_differently_are_refused() {
        type Case = (Version, &'static str, &'static [(&'static str, &'static str)]);
        let ambiguous: &[Case] = &[
            (Version::HTTP_11, "/", &[]),
            (Version::HTTP_11, "/", &[("host", "a"), ("host", "a")]),
            (Version::HTTP_11, "/", &[("host", "a b")]),
            (Version::HTTP_11, "/", &[("host", "user@a")]),
            (Version::HTTP_11, "/", &[("host", "a:1,evil")]),
            (Version::HTTP_2, "http://a:1,evil/", &[]),
            (Version::HTTP_11, "http://a/", &[("host", "b")]),
            (Version::HTTP_2, "http://a/", &[("host", "b")]),
            (Version::HTTP_2, "http://user@a/", &[]),
            (Version::HTTP_11, "/", &[("host", "a"), ("content-length", "1"), ("content-length", "2")]),
            (Version::HTTP_11, "/", &[("host", "a"), ("content-length", "+1")]),
            (Version::HTTP_11, "/", &[("host", "a"), ("content-length", "1"), ("transfer-encoding", "chunked")]),
            (Version::HTTP_11, "/", &[("host", "a"), ("transfer-encoding", "gzip, chunked")]),
            (
                Version::HTTP_11,
                "/",
                &[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            ),
        ];
        for (version, uri, list) in ambiguous {
            assert!(matches!(check(*version, uri, list), Err(ProxyError::BadRequest(_))), "{version:?} {uri} {list:?}");
        }
        assert_eq!(check(Version::HTTP_2, "http://A/", &[("host", "a")]).expect("good"), Intent::Exchange);
    }

    #[test]
    fn an_upgrade_to_h2c_is_no_upgrade() {
        let asks = |protocol| {
            check(
                Version::HTTP_11,
                "/",
                &[("host", "a"), ("connection", "Upgrade, HTTP2-Settings"), ("upgrade", protocol)],
            )
        };
        assert_eq!(asks("websocket").expect("good"), Intent::Upgrade);
        assert_eq!(asks("h2c").expect("good"), Intent::Exchange);
        assert_eq!(asks("websocket, H2C").expect("good"), Intent::Exchange);
    }

    #[test]
    fn a_trace_is_passed_on_or_begun() {
        let mut given = headers(&[("traceparent", "00-1-2-01")]);
        ensure_trace(&mut given);
        assert_eq!(given[TRACEPARENT], "00-1-2-01");
        let mut begun = HeaderMap::new();
        ensure_trace(&mut begun);
        assert_eq!(begun[TRACEPARENT].len(), 55);
    }
}
