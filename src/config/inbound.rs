//! `[[inbound]]`: listeners that terminate mutual TLS and forward plaintext to the local service.

use crate::identity::PeerPattern;
use crate::net::Address;
use crate::policy::RequestRule;

use super::Located;
use super::listeners::{Claims, LISTEN_REMEDY, read_address, read_name, refuse_under_tcp};
use super::reader::TableReader;
use super::rule;

/// One inbound listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Its name in logs and metrics, unique among all listeners.
    pub name: Located<String>,
    /// Where peers connect with TLS.
    pub listen: Located<Address>,
    /// The local service. An address off loopback takes `unsafe_forward_to = true`.
    pub forward_to: Located<Address>,
    /// What is spoken inside TLS; default HTTP.
    pub protocol: Protocol,
    /// Which HTTP version the service is spoken to in; default auto.
    pub app_protocol: AppProtocol,
    /// Whether a caller may come without a certificate; default required.
    pub client_auth: ClientAuth,
    /// Who may call. Empty means nobody.
    pub allow: Vec<PeerPattern>,
    /// Which of them may say who the end user is; default nobody.
    pub user_from: Vec<PeerPattern>,
    /// What decides each of their requests; where there are none, the allow list alone does.
    pub rules: Vec<RequestRule>,
    /// Which headers tell the service who called; default `client-cert` and `x-mantlet-peer`.
    pub identity_headers: Vec<IdentityHeader>,
    /// Whether a TCP connection to the service begins with a PROXY protocol v2 header; default off.
    pub proxy_protocol: bool,
}

/// What a listener carries. It is declared, never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1, HTTP/2, gRPC and upgrades, each request authorized.
    #[default]
    Http,
    /// Bytes, each connection authorized.
    Tcp,
}

/// Which HTTP version the local service is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppProtocol {
    /// gRPC as HTTP/2 with prior knowledge, everything else as HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 always.
    Http1,
    /// HTTP/2 with prior knowledge always.
    Http2,
}

/// Whether a caller has to present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// None is asked for: a public listener, whose clients are all anonymous.
    None,
    /// The handshake fails without one.
    #[default]
    Required,
    /// A caller without one is anonymous, and let in only where `allow` holds `anonymous`.
    Optional,
}

/// A header that tells the local service who called. Whatever a caller sends under any of these names is removed,
/// whether the header is wanted or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityHeader {
    /// `Client-Cert`: the end-entity certificate (RFC 9440 section 2.2).
    ClientCert,
    /// `Client-Cert-Chain`: the rest of the chain (RFC 9440 section 2.3).
    ClientCertChain,
    /// `x-mantlet-peer`: the identity as plain text.
    MantletPeer,
    /// `X-Forwarded-Client-Cert` in the form Envoy writes.
    ForwardedClientCert,
}

impl Protocol {
    /// Its name in the file: `http` or `tcp`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

impl ClientAuth {
    /// Its name in the file: `none`, `required` or `optional`.
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

/// The names of [`Protocol`] in the file.
pub(super) const PROTOCOLS: [(&str, Protocol); 2] = [("http", Protocol::Http), ("tcp", Protocol::Tcp)];
const APP_PROTOCOLS: [(&str, AppProtocol); 3] =
    [("auto", AppProtocol::Auto), ("http1", AppProtocol::Http1), ("http2", AppProtocol::Http2)];
const CLIENT_AUTHS: [(&str, ClientAuth); 2] = [("required", ClientAuth::Required), ("optional", ClientAuth::Optional)];
const IDENTITY_HEADERS: [(&str, IdentityHeader); 4] = [
    ("client-cert", IdentityHeader::ClientCert),
    ("client-cert-chain", IdentityHeader::ClientCertChain),
    ("x-mantlet-peer", IdentityHeader::MantletPeer),
    ("x-forwarded-client-cert", IdentityHeader::ForwardedClientCert),
];
const DEFAULT_IDENTITY_HEADERS: [IdentityHeader; 2] = [IdentityHeader::ClientCert, IdentityHeader::MantletPeer];
const PROXY_PROTOCOLS: [(&str, bool); 2] = [("off", false), ("v2", true)];
/// What to write where a pattern is none.
pub(super) const PATTERN_REMEDY: &str =
    "write a SPIFFE ID, a DNS name or an IP address, such as \"spiffe://fleamarket.internal/gateway\"";

pub(super) fn read(t: &mut TableReader<'_, '_, '_>, claims: &mut Claims) -> Option<Inbound> {
    let name = read_name(t, claims);
    let listen = read_address(t, "listen", LISTEN_REMEDY);
    t.require("listen", "say where peers connect, such as listen = \"0.0.0.0:8443\"");
    claims.listen(t.title(), listen.as_ref(), true);
    let forward_to = read_forward_to(t, claims);
    let protocol = t.choice("protocol", &PROTOCOLS).map_or_else(Protocol::default, |choice| choice.value);
    let app_protocol = t.choice("app_protocol", &APP_PROTOCOLS).map_or_else(AppProtocol::default, |c| c.value);
    let (client_auth, allow) = read_authorization(t);
    let (rules, user_from) = rule::read_all(t, client_auth, &allow);
    let identity_headers =
        t.choices("identity_headers", &IDENTITY_HEADERS).unwrap_or_else(|| DEFAULT_IDENTITY_HEADERS.to_vec());
    let proxy_protocol = t.choice("proxy_protocol", &PROXY_PROTOCOLS);
    match protocol {
        Protocol::Tcp => refuse_under_tcp(t, &["app_protocol", "identity_headers", "user_from", "rule"]),
        Protocol::Http => {
            if let Some(set) = proxy_protocol.as_ref().filter(|set| set.value) {
                let message = format!("{} \"v2\" does not apply to protocol \"http\"", t.thing("proxy_protocol"));
                let remedy =
                    "remove it, since identity_headers tell an HTTP service who called, or write protocol = \"tcp\"";
                t.rule(Some(set.span.clone()), message, remedy);
            }
        }
    }
    let proxy_protocol = proxy_protocol.is_some_and(|choice| choice.value);
    Some(Inbound {
        name: name?,
        listen: listen?,
        forward_to: forward_to?,
        protocol,
        app_protocol,
        client_auth,
        allow,
        user_from,
        rules: rules.into_iter().collect::<Option<_>>()?,
        identity_headers,
        proxy_protocol,
    })
}

fn read_forward_to(t: &mut TableReader<'_, '_, '_>, claims: &mut Claims) -> Option<Located<Address>> {
    let forward_to = read_address(t, "forward_to", "write the service's address, such as \"127.0.0.1:8080\"");
    t.require("forward_to", "say where the service listens, such as forward_to = \"127.0.0.1:8080\"");
    let option = t.boolean("unsafe_forward_to");
    let waived = option.as_ref().is_some_and(|option| option.value);
    let forward_to = forward_to?;
    let (thing, address) = (t.thing("forward_to"), &forward_to.value);
    if matches!(address, Address::Tcp(address) if address.port() == 0) {
        let message = format!("{thing} is \"{address}\": expected a port from 1 to 65535");
        t.error(Some(forward_to.span.clone()), message, "write the port on which the service listens");
    } else if !address.is_loopback() && !waived {
        let message = format!("{thing} is \"{address}\", off loopback: the service would be reached in plaintext");
        let remedy = "forward to 127.0.0.1, [::1] or unix:/PATH, or write unsafe_forward_to = true";
        t.rule(Some(forward_to.span.clone()), message, remedy);
    } else if address.is_loopback() && waived {
        let message = format!("{} is true, but \"{address}\" is on loopback", t.thing("unsafe_forward_to"));
        t.warn(option.map(|option| option.span), message, "remove it");
    }
    claims.target(&thing, &forward_to);
    Some(forward_to)
}

/// Who is let in. The only way in without a certificate is `client_auth = "optional"` and `anonymous` on the list.
fn read_authorization(t: &mut TableReader<'_, '_, '_>) -> (ClientAuth, Vec<PeerPattern>) {
    let choice = t.choice("client_auth", &CLIENT_AUTHS);
    let client_auth = choice.as_ref().map_or_else(ClientAuth::default, |choice| choice.value);
    let allow = t.parsed_list::<PeerPattern>("allow", PATTERN_REMEDY).unwrap_or_default();
    let anonymous = allow.iter().find(|pattern| pattern.value == PeerPattern::Anonymous);
    match (client_auth, anonymous) {
        (ClientAuth::Optional, None) => {
            let message = format!(
                "{} is \"optional\", but allow does not list \"anonymous\": callers without a certificate are always refused",
                t.thing("client_auth"),
            );
            let remedy = "add \"anonymous\" to allow, or write client_auth = \"required\"";
            t.warn(choice.map(|choice| choice.span), message, remedy);
        }
        (ClientAuth::Required, Some(anonymous)) => {
            let message = format!(
                "{} lists \"anonymous\", but client_auth is \"required\": no such caller gets through the handshake",
                t.thing("allow"),
            );
            let remedy = "remove \"anonymous\", or write client_auth = \"optional\"";
            t.rule(Some(anonymous.span.clone()), message, remedy);
        }
        _ => {}
    }
    if t.span("allow").is_none() || t.is_empty_list("allow") {
        let message = format!("{} allows no peer: nobody may call", t.title());
        let span = t.whole_span("allow").or_else(|| t.header());
        t.warn(span, message, "list the callers, such as allow = [\"spiffe://fleamarket.internal/gateway\"]");
    }
    (client_auth, allow.into_iter().map(|pattern| pattern.value).collect())
}
