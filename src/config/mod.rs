//! What the program runs on: one validated value for each section of the TOML file.
//!
//! A [`Config`] cannot hold a key that is unknown, a name that is taken twice or an address that is none. Whether the
//! files it names hold usable certificates is left to `x509`.

mod access;
mod admin;
mod authority;
mod cors;
mod edge;
mod edge_route;
mod enrolment;
mod expand;
mod file;
mod https_url;
mod identity;
mod inbound;
mod issuer;
mod limits;
mod listeners;
mod log;
mod nearest;
mod outbound;
mod peer;
mod postgres_url;
mod problem;
mod rate;
mod reader;
#[cfg(test)]
mod reference;
mod report;
mod revocation;
mod rule;
mod runtime;
mod syntax;
mod timeouts;
mod tls;
mod trust;
mod upstream;
mod workload_api;

use std::path::PathBuf;

pub use admin::Admin;
pub use authority::{Authority, AuthorityConfig, AuthorityLimits, StoreSetting};
pub use cors::{Cors, Origin, OriginError};
pub use edge::Edge;
pub use edge_route::EdgeRoute;
pub use enrolment::{AuthorityUrl, AuthorityUrlError, Bootstrap, Enrolment, Fingerprint, FingerprintError};
pub use file::{Inspection, MaterialSections};
pub use https_url::{HttpsUrl, HttpsUrlError};
pub use identity::{Identity, IdentityFiles};
pub use inbound::{AppProtocol, ClientAuth, IdentityHeader, Inbound, Protocol};
pub use issuer::{Issuer, KeysFormat, TokenAlgorithm};
pub use limits::Limits;
pub use log::{Log, LogFormat};
pub use outbound::Outbound;
pub use peer::Hop;
pub use postgres_url::{PostgresUrl, PostgresUrlError};
pub use problem::{Position, Problem, Problems, Severity};
pub use rate::{Rate, RateError, RateLimit};
pub use revocation::{CrlSource, CrlUrl, CrlUrlError, OnUnknown, Revocation, RevocationDepth};
pub use runtime::Runtime;
pub use timeouts::Timeouts;
pub use tls::{Tls, TlsVersion};
pub use trust::Trust;
pub use upstream::Upstream;
pub use workload_api::{WorkloadApi, WorkloadEndpoint, WorkloadEndpointError};

/// A value and where it stands in the file: a range of bytes. Equal values are equal wherever they stand.
#[derive(Debug, Clone, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The bytes of the file that hold it, quotes included.
    pub span: std::ops::Range<usize>,
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// A whole validated configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// `[identity]`: who we are.
    pub identity: Identity,
    /// `[trust]`: whom we believe.
    pub trust: Trust,
    /// `[revocation]`: what has been withdrawn; without it nothing is checked, but for the CRLs that a SPIFFE agent gives.
    pub revocation: Option<Revocation>,
    /// `[[issuer]]`: who issues the tokens of end users.
    pub issuers: Vec<Issuer>,
    /// `[[inbound]]`: listeners that terminate mutual TLS for the local service.
    pub inbound: Vec<Inbound>,
    /// `[[outbound]]`: listeners that originate mutual TLS to a peer.
    pub outbound: Vec<Outbound>,
    /// `[[upstream]]`: peers that the routes of edge listeners lead to.
    pub upstream: Vec<Upstream>,
    /// `[[edge]]`: public listeners.
    pub edge: Vec<Edge>,
    /// `[admin]`: health, metrics and status; without it there is no admin listener.
    pub admin: Option<Admin>,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[limits]`
    pub limits: Limits,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[tls]`
    pub tls: Tls,
    /// `[log]`
    pub log: Log,
}
