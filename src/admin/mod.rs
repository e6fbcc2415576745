//! Health, metrics and status over HTTP, and the client that `mantlet status` and `mantlet health` ask them with.
//!
//! What is shown is read at the moment of asking from what the proxy itself uses. Nothing here changes the proxy, and no key
//! comes near it.

mod answer;
mod client;
mod document;
mod figures;
mod readiness;
mod reload;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;

use crate::enrolment::EnrolmentStatus;
use crate::policy::RequestRule;
use crate::proxy::connections::Connections;
use crate::proxy::refusals::Refusals;
use crate::revocation::RevocationStatus;
use crate::token::IssuerStatus;
use crate::x509::CertificateInfo;

pub use client::{Answer, ClientError, DEFAULT_ADDRESS, Format, Target, TargetError, ask};
pub use document::{
    CertificateEntry, ConnectionEntry, CrlEntry, Document, EnrolmentEntry, IssuerEntry, ListenerEntry, PeerEntry,
    PublicCertificateEntry, RefusalEntry, ReloadEntry, ReloadErrorEntry, RevocationEntry, SourceEntry, UpstreamEntry,
};
pub use readiness::Readiness;
pub use reload::{ReloadError, ReloadRecord, ReloadStatus};
pub use server::serve;
#[cfg(feature = "authority")]
pub(crate) use {
    answer::{AdminAnswer, HostRule, problem, refuse, respond},
    server::serve_with,
};

/// The version of this build.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that this build was made from.
const COMMIT: &str = env!("MANTLET_COMMIT");
/// How an answer names the program that gave it.
const SERVER_NAME: &str = concat!("mantlet/", env!("CARGO_PKG_VERSION"));

/// What the admin listener shows.
#[derive(Debug)]
pub struct AdminState {
    /// What is in use; replaced whole after each change. Until the first one is stored the process is not ready.
    pub running: Arc<ArcSwap<Running>>,
    /// How the reloads went.
    pub reload: Arc<ReloadStatus>,
    registry: Registry,
    connections: Arc<Connections>,
    refusals: Arc<Refusals>,
    started: SystemTime,
}

/// What the process works with at the moment.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// The configuration file.
    pub config_file: PathBuf,
    /// Our own certificate.
    pub own: Option<CertificateInfo>,
    /// How an authority certifies us, or an agent gives us an identity; absent where files are named.
    pub enrolment: Option<EnrolmentStatus>,
    /// The trust anchors.
    pub anchors: Vec<CertificateInfo>,
    /// The certificates of edge listeners, with the names of these.
    pub public: Vec<(String, CertificateInfo)>,
    /// The CRLs, their sources, and what they say of our own certificate.
    pub revocation: RevocationStatus,
    /// Every peer would be refused for want of any CRL.
    pub is_nobody_let_in: bool,
    /// Whether revocation is checked at all.
    pub revocation_checked: bool,
    /// The issuers of end-user tokens and their keys.
    pub issuers: Vec<IssuerStatus>,
    /// The listeners that are bound, without the admin one.
    pub listeners: Vec<ListenerStatus>,
    /// Where the routes of edge listeners lead.
    pub upstreams: Vec<UpstreamStatus>,
    /// The process shuts down.
    pub draining: bool,
}

/// One listener that is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// `inbound`, `outbound` or `edge`.
    pub direction: &'static str,
    /// `http` or `tcp`.
    pub protocol: &'static str,
    /// The address it is bound to.
    pub address: String,
    /// Where it forwards to or connects to.
    pub target: String,
    /// The peers allowed or expected; the routes of an edge listener.
    pub peers: Vec<String>,
    /// The rules about requests.
    pub rules: Vec<RequestRule>,
}

/// One peer that routes lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub target: String,
    /// The identities expected.
    pub peers: Vec<String>,
}

impl AdminState {
    /// The state of a process that starts now and is not ready yet. `registry` holds what others count; what is read off
    /// this state at each scrape is added to it.
    pub fn new(mut registry: Registry, connections: Arc<Connections>, refusals: Arc<Refusals>) -> Self {
        let started = SystemTime::now();
        let running: Arc<ArcSwap<Running>> = Arc::default();
        let reload = Arc::new(ReloadStatus::new(started));
        registry.register_collector(Box::new(figures::Figures {
            running: Arc::clone(&running),
            reload: Arc::clone(&reload),
            connections: Arc::clone(&connections),
            started,
        }));
        Self { running, reload, registry, connections, refusals, started }
    }

    /// Whether the process is ready for traffic, and why it is not.
    pub fn readiness(&self) -> Readiness {
        Readiness::judge(&self.running.load(), &self.reload.record(), SystemTime::now())
    }

    /// Notes that the process shuts down, so that it is not ready any more.
    pub fn begin_draining(&self) {
        self.running.rcu(|running| Running { draining: true, ..Running::clone(running) });
    }
}
