//! The keys of `[identity]` that have an authority certify us.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rustls_pki_types::DnsName;
use thiserror::Error;
use url::Url;

use crate::identity::PeerPattern;
use crate::net::{Endpoint, Host};

use super::Located;
use super::reader::TableReader;

/// How we are certified by an authority that speaks EST (RFC 7030).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Where it listens.
    pub authority: Located<AuthorityUrl>,
    /// What its server has to prove; default the host of `authority`.
    pub expect: PeerPattern,
    /// The anchor that is believed as long as no other is known.
    pub fingerprint: Option<Located<Fingerprint>>,
    /// What proves who we are while we have no certificate that is good.
    pub bootstrap: Bootstrap,
    /// The name that we are registered by.
    pub name: Located<String>,
    /// The folder in which our key, our certificate and the authority's anchors outlive a restart.
    pub state_dir: Located<PathBuf>,
}

/// What proves who we are while we have no certificate that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bootstrap {
    /// One PEM file of a key and a certificate that is good for enrolment alone.
    Certificate(Located<PathBuf>),
    /// A file that holds a one-time secret.
    SecretFile(Located<PathBuf>),
}

/// `https://HOST[:PORT]`, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityUrl(Endpoint);

/// Why a text is no address of an authority.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthorityUrlError {
    /// No address at all.
    #[error("{text:?} is no address: {detail}; expected https://HOST[:PORT]")]
    Malformed {
        /// The text as it was given.
        text: String,
        /// What the parser found.
        detail: String,
    },
    /// Another scheme.
    #[error("{text:?} is of the scheme {scheme:?}: expected https, for what proves who we are is sent there")]
    Scheme {
        /// The text as it was given.
        text: String,
        /// Its scheme.
        scheme: String,
    },
    /// Something beside host and port.
    #[error("{host:?} is given with {what}: expected https://HOST[:PORT] alone")]
    More {
        /// The host alone.
        host: String,
        /// What else there is.
        what: &'static str,
    },
}

/// SHA-256 of a certificate in DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no fingerprint: expected \"sha256:\" and 64 hexadecimal digits")]
pub struct FingerprintError {
    /// The text as it was given.
    pub text: String,
}

/// The longest name of a registration.
const MAX_NAME: usize = 253;

impl Enrolment {
    /// The one file of our key and our chain.
    pub fn credential_file(&self) -> PathBuf {
        self.state_dir.value.join("credential.pem")
    }

    /// The file of the anchors that the authority serves.
    pub fn anchors_file(&self) -> PathBuf {
        self.state_dir.value.join("anchors.pem")
    }
}

impl Bootstrap {
    /// The file.
    pub fn path(&self) -> &Located<PathBuf> {
        match self {
            Self::Certificate(path) | Self::SecretFile(path) => path,
        }
    }
}

impl AuthorityUrl {
    /// Where to connect.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0
    }
}

impl fmt::Display for AuthorityUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.0)
    }
}

impl FromStr for AuthorityUrl {
    type Err = AuthorityUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = |detail: String| AuthorityUrlError::Malformed { text: text.to_owned(), detail };
        // The URL standard would take the path for the host.
        if text.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/')) {
            return Err(malformed("empty host".to_owned()));
        }
        let url = Url::parse(text).map_err(|error| malformed(error.to_string()))?;
        let more = |what| AuthorityUrlError::More { host: url.host_str().unwrap_or_default().to_owned(), what };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(more("a user name or password"));
        }
        if url.scheme() != "https" {
            return Err(AuthorityUrlError::Scheme { text: text.to_owned(), scheme: url.scheme().to_owned() });
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(more("a path"));
        }
        let host = match url.host() {
            Some(url::Host::Domain(name)) => Host::Dns(name.to_owned()),
            Some(url::Host::Ipv4(address)) => Host::Ip(address.into()),
            Some(url::Host::Ipv6(address)) => Host::Ip(address.into()),
            None => return Err(malformed("empty host".to_owned())),
        };
        match url.port_or_known_default() {
            Some(port) if port > 0 => Ok(Self(Endpoint { host, port })),
            _ => Err(malformed("the port 0".to_owned())),
        }
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Colons between the digits, as other tools print them, do not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || FingerprintError { text: text.to_owned() };
        let digits = text.strip_prefix("sha256:").ok_or_else(error)?.replace(':', "");
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(error());
        }
        let mut octets = [0; 32];
        for (octet, at) in octets.iter_mut().zip((0..).step_by(2)) {
            *octet = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| error())?;
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// The keys that mean something beside `authority` alone.
const KEYS: [&str; 6] =
    ["authority_name", "authority_fingerprint", "bootstrap", "bootstrap_secret_file", "name", "state_dir"];

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Option<Enrolment> {
    let authority = t.parsed::<AuthorityUrl>("authority", "write an address such as \"https://ca:8444\"");
    let named = t.parsed::<PeerPattern>(
        "authority_name",
        "write what its certificate proves: \"spiffe://domain/ca\", a DNS name or an IP address",
    );
    let fingerprint = t.parsed::<Fingerprint>(
        "authority_fingerprint",
        "write the SHA-256 fingerprint that \"mantlet cert show\" prints of the anchor, behind \"sha256:\"",
    );
    let certificate = t.path("bootstrap");
    let secret_file = t.path("bootstrap_secret_file");
    let name = read_name(t);
    let state_dir = t.path("state_dir");
    if t.span("authority").is_none() {
        for key in KEYS {
            if let Some(span) = t.whole_span(key) {
                let message = format!("{} is there without {}", t.thing(key), t.thing("authority"));
                t.rule(
                    Some(span),
                    message,
                    "name the authority, such as authority = \"https://ca:8444\", or remove it",
                );
            }
        }
        return None;
    }
    t.require("name", "write the name that \"mantlet ca register\" was given, such as name = \"adservice\"");
    t.require("state_dir", "name a folder of mantlet's own, such as state_dir = \"/var/lib/mantlet/identity\"");
    if let Some(named) = named.as_ref().filter(|named| named.value == PeerPattern::Anonymous) {
        let message = format!("{} is \"anonymous\": an authority always proves who it is", t.thing("authority_name"));
        t.error(
            Some(named.span.clone()),
            message,
            "write what its certificate proves, or remove the key to expect the host of authority",
        );
    }
    let expect = named.map(|named| named.value).or_else(|| expected(t, authority.as_ref()?));
    let bootstrap = read_bootstrap(t, certificate, secret_file);
    Some(Enrolment {
        authority: authority?,
        expect: expect?,
        fingerprint,
        bootstrap: bootstrap?,
        name: name?,
        state_dir: state_dir?,
    })
}

/// The host of the authority, as a certificate proves it.
fn expected(t: &mut TableReader<'_, '_, '_>, authority: &Located<AuthorityUrl>) -> Option<PeerPattern> {
    let name = match &authority.value.endpoint().host {
        Host::Ip(address) => return Some(PeerPattern::Ip(*address)),
        Host::Dns(name) => name.strip_suffix('.').unwrap_or(name),
    };
    if DnsName::try_from(name).is_err() {
        let message = format!(
            "{} is \"{}\": its host is no DNS name that a server could prove",
            t.thing("authority"),
            authority.value
        );
        t.error(
            Some(authority.span.clone()),
            message,
            "correct the host, or write what its certificate proves as authority_name",
        );
        return None;
    }
    Some(PeerPattern::Dns(name.to_ascii_lowercase().into()))
}

fn read_bootstrap(
    t: &mut TableReader<'_, '_, '_>,
    certificate: Option<Located<PathBuf>>,
    secret_file: Option<Located<PathBuf>>,
) -> Option<Bootstrap> {
    match (t.whole_span("bootstrap"), t.whole_span("bootstrap_secret_file")) {
        (Some(_), Some(second)) => {
            let message = format!(
                "{} is there beside {}: expected one of the two",
                t.thing("bootstrap_secret_file"),
                t.thing("bootstrap")
            );
            t.rule(
                Some(second),
                message,
                "keep the one that the authority gave: a certificate lasts longer, a secret is good once",
            );
            None
        }
        (None, None) => {
            let message = "identity has neither \"bootstrap\" nor \"bootstrap_secret_file\"".to_owned();
            t.rule(t.header(), message, "name the file that \"mantlet ca bootstrap\" made, or one that holds the secret which \"mantlet ca register\" printed");
            None
        }
        _ => certificate.map(Bootstrap::Certificate).or(secret_file.map(Bootstrap::SecretFile)),
    }
}

/// RFC 7617 section 2: a user name holds no colon and no control character.
fn read_name(t: &mut TableReader<'_, '_, '_>) -> Option<Located<String>> {
    let name = t.string("name")?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if name.value.len() > MAX_NAME || !name.value.bytes().all(is_plain) {
        let message = format!(
            "{} is {:?}: expected 1 to {MAX_NAME} visible ASCII characters without \":\"",
            t.thing("name"),
            name.value
        );
        t.error(Some(name.span), message, "write the name that \"mantlet ca register\" was given");
        return None;
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_over_https() {
        for (text, shown) in [
            ("https://ca:8444", "https://ca:8444"),
            ("HTTPS://CA/", "https://ca:443"),
            ("https://[::1]:8444", "https://[::1]:8444"),
            ("https://10.0.0.7", "https://10.0.0.7:443"),
        ] {
            assert_eq!(text.parse::<AuthorityUrl>().map(|url| url.to_string()).as_deref(), Ok(shown));
        }
        for bad in [
            "http://ca",
            "https://",
            "https:///ca",
            "ca:8444",
            "https://a:b@ca",
            "https://ca/est",
            "https://ca?x",
            "https://ca:0",
        ] {
            assert!(bad.parse::<AuthorityUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fingerprint_reads_what_other_tools_print() {
        let plain = format!("sha256:{}", "0f".repeat(32));
        let colons = format!("sha256:{}", ["0F"; 32].join(":"));
        assert_eq!(plain.parse::<Fingerprint>(), colons.parse());
        assert_eq!(plain.parse::<Fingerprint>().map(|read| read.to_string()), Ok(plain.clone()));
        for bad in [&plain[7..], &plain[..70], "sha1:00", "sha256:zz"] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
