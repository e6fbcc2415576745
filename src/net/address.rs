//! Where to listen and where to connect.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// A local address: `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/app.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

/// A peer's address: `userservice:8443`, `10.0.0.7:8443` or `[fd00::7]:8443`. Names are resolved at each connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

/// The host of an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name to resolve.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not `IP:PORT` or `unix:/PATH`.
    #[error("{text:?} is not an address: expected IP:PORT such as \"127.0.0.1:8080\", or \"unix:/PATH\"")]
    Local {
        /// The text as it was given.
        text: String,
    },
    /// Not `HOST:PORT`.
    #[error("{text:?} is not HOST:PORT, such as \"userservice:8443\"")]
    Peer {
        /// The text as it was given.
        text: String,
    },
}

impl Address {
    /// True where only this host can reach it.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unusable = || AddressError::Local { text: text.to_owned() };
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(unusable()),
            None => text.parse().map(Self::Tcp).map_err(|_| unusable()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unusable = || AddressError::Peer { text: text.to_owned() };
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 {
                Err(unusable())
            } else {
                Ok(Self { host: Host::Ip(address.ip()), port: address.port() })
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(unusable)?;
        let is_name = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        match port.parse() {
            Ok(port) if is_name && port != 0 => Ok(Self { host: Host::Dns(host.to_ascii_lowercase()), port }),
            _ => Err(unusable()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Dns(name) => write!(f, "{name}:{}", self.port),
            Host::Ip(address) => SocketAddr::new(*address, self.port).fmt(f),
        }
    }
}
