//! Fields in which a client says what is not for it to say: who it is, or that its request is another than it has.

use http::HeaderName;

/// What a field claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientClaim {
    /// That the request is for another path, host or method than it has; there are services that believe it, so that what was
    /// judged would not be what is done.
    Override,
    /// Where the client is, which proxies before us may know.
    Client,
    /// That the client is allowed to do something.
    Credentials,
    /// That the client is allowed to use a proxy, which is nobody's affair behind one.
    ProxyCredentials,
}

const OVERRIDES: [&str; 10] = [
    "x-original-url",
    "x-original-uri",
    "x-original-host",
    "x-original-method",
    "x-rewrite-url",
    "x-envoy-original-path",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    // CGI makes it HTTP_PROXY (CVE-2016-5385).
    "proxy",
];
const ABOUT_THE_CLIENT: [&str; 22] = [
    "forwarded",
    "x-forwarded",
    "forwarded-for",
    "x-real-ip",
    "client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-envoy-external-address",
    "proxy-client-ip",
    "wl-proxy-client-ip",
    "remote-addr",
    "remote-user",
    "x-remote-ip",
    "x-remote-user",
    "x-original-forwarded-for",
    "cf-connecting-ipv6",
    "fly-client-ip",
    "x-azure-clientip",
    "ssl-client-cert",
];
const FORWARDED_PREFIX: &str = "x-forwarded-";
/// Prefix of what TLS terminators say of a client's certificate.
const CLIENT_CERTIFICATE_PREFIX: &str = "x-ssl-client-";

impl ClientClaim {
    /// What a field of this name claims, in every spelling that a service may read as it: CGI and its kin cannot tell separators
    /// apart.
    pub(super) fn of(name: &HeaderName) -> Option<Self> {
        match plain(name).as_str() {
            name if OVERRIDES.contains(&name) => Some(Self::Override),
            name if ABOUT_THE_CLIENT.contains(&name)
                || name.starts_with(FORWARDED_PREFIX)
                || name.starts_with(CLIENT_CERTIFICATE_PREFIX) =>
            {
                Some(Self::Client)
            }
            "authorization" => Some(Self::Credentials),
            "proxy-authorization" => Some(Self::ProxyCredentials),
            _ => None,
        }
    }
}

/// True for a name with no other separator than `-`.
pub(super) fn is_plain(name: &HeaderName) -> bool {
    plain(name) == name.as_str()
}

fn plain(name: &HeaderName) -> String {
    name.as_str().replace(|character: char| !character.is_ascii_alphanumeric(), "-")
}
