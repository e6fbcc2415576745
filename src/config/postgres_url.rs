//! Where a database is.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// The address of a `PostgreSQL` database, which may hold a password. `Display` and `Debug` leave that out.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Url);

/// A text that is no [`PostgresUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostgresUrlError {
    /// Something else.
    #[error("is no address of a PostgreSQL database: expected \"postgres://USER@HOST/DATABASE\"")]
    Malformed,
    /// The connection would be in plaintext over a network.
    #[error(
        "leads to {host:?} over a network, and the connection is in plaintext: expected a loopback address or \
         \"?host=/FOLDER\" of a Unix socket, such as that of a mantlet beside it"
    )]
    Plaintext {
        /// The host.
        host: String,
    },
}

impl PostgresUrl {
    /// Reads an address, whose host must be this one.
    pub fn on_this_host(text: &str) -> Result<Self, PostgresUrlError> {
        let url = Self::on_any_host(text)?;
        let socket = url.0.query_pairs().any(|(key, value)| key == "host" && value.starts_with('/'));
        let local = match url.0.host() {
            None | Some(Host::Domain("" | "localhost")) => true,
            // A special character in a Unix socket's folder is percent-encoded.
            Some(Host::Domain(name)) => name.starts_with("%2F") || name.starts_with("%2f") || is_loopback(name),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
        };
        if local || socket {
            return Ok(url);
        }
        Err(PostgresUrlError::Plaintext { host: url.0.host_str().unwrap_or_default().to_owned() })
    }

    /// Reads an address, wherever it leads: the connection is in plaintext.
    pub fn on_any_host(text: &str) -> Result<Self, PostgresUrlError> {
        let url: Url = text.parse().map_err(|_| PostgresUrlError::Malformed)?;
        if matches!(url.scheme(), "postgres" | "postgresql") { Ok(Self(url)) } else { Err(PostgresUrlError::Malformed) }
    }

    /// The whole address, password included.
    pub fn reveal(&self) -> &str {
        self.0.as_str()
    }
}

/// The library for addresses takes a host of this scheme for a name, whatever it looks like.
fn is_loopback(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // Neither can fail for an address of this scheme that has a host, and without a host there is no password.
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.fmt(f)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
