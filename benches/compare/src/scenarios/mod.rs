//! What is measured: the catalogue of scenarios, who takes part in each, and one file for each kind of measurement.

mod base_memory;
mod bulk;
mod burst;
mod calls;
mod catalogue;
mod crl;
mod enrolment;
mod handshake;
mod idle;
mod latency;
mod requests;
mod revocation;
mod revoke_everywhere;
mod scaling;

use std::net::SocketAddr;

pub(crate) use catalogue::SCENARIOS;
pub(crate) use latency::add_difference;

use crate::backend::Application;
use crate::bench::{Bench, Effort};
use crate::chain::{Chain, Plan};
use crate::figures::Figures;
use crate::load::transfer::Way;
use crate::load::wrk::Wrk;
use crate::peers::{Peer, Scale};

/// One thing that is measured.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What is done, in a sentence.
    pub(crate) what: &'static str,
    /// What the main figure is, with its unit; less is better.
    pub(crate) main: &'static str,
    /// The figures of the report; the first one is the main one.
    pub(crate) columns: &'static [Column],
    kind: Kind,
    /// Whether it runs only when it is named.
    pub(crate) on_demand: bool,
}

/// A figure in the report.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its name among the figures of a sample.
    pub(crate) figure: &'static str,
    pub(crate) heading: &'static str,
    pub(crate) decimals: usize,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// With `workers` instead of as many as were asked for.
    Requests {
        load: Wrk,
        workers: Option<usize>,
    },
    Calls,
    Latency,
    Bulk(Way),
    Handshake,
    Idle,
    BaseMemory,
    Burst,
    /// With so many serial numbers.
    Crl(u32),
    RevokeToCut,
    Enrolment,
    RevokeEverywhere,
    Scaling,
}

/// Whom a measurement is of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    /// No proxy at all: the load goes to the application.
    Direct,
    Peer(&'static Peer),
    /// mantlet with more configured than is used.
    Scaled(&'static Peer, Scale),
}

/// The row without any proxy.
pub(crate) const DIRECT: &str = "direct";

impl Scenario {
    /// The scenario called `name`.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Who takes part, of those who were asked for. `direct` comes first, since others are compared with it.
    pub(crate) fn subjects(&self, peers: &[&'static Peer], effort: &Effort) -> Vec<Subject> {
        let takes_part = |peer: &&&'static Peer| match self.kind {
            Kind::Requests { workers, .. } => workers.is_none() || peer.product.knows_workers(),
            Kind::Latency | Kind::Bulk(_) => true,
            Kind::Scaling | Kind::RevokeToCut | Kind::Enrolment | Kind::RevokeEverywhere => peer.name == "mantlet",
            Kind::Crl(_) => peer.product.knows_crls() && !peer.differs_in_hop_alone(),
            Kind::Calls | Kind::Handshake | Kind::Idle | Kind::BaseMemory | Kind::Burst => !peer.differs_in_hop_alone(),
        };
        let taking_part = peers.iter().filter(takes_part);
        if matches!(self.kind, Kind::Scaling) {
            return taking_part.flat_map(|peer| scaling::subjects(peer, effort.scale)).collect();
        }
        if matches!(self.kind, Kind::Crl(_)) {
            let all_listeners = taking_part.clone().filter(|peer| peer.name == "mantlet");
            let scaled = all_listeners.map(|peer| Subject::Scaled(peer, Scale::Listeners(crl::LISTENERS)));
            return taking_part.map(|peer| Subject::Peer(peer)).chain(scaled).collect();
        }
        let direct = self.has_direct().then_some(Subject::Direct);
        direct.into_iter().chain(taking_part.map(|peer| Subject::Peer(peer))).collect()
    }

    /// Whether the load can be sent to the application itself.
    fn has_direct(&self) -> bool {
        matches!(self.kind, Kind::Requests { .. } | Kind::Calls | Kind::Latency | Kind::Bulk(_))
    }

    /// One measurement.
    pub(crate) async fn measure(&self, bench: &Bench, subject: Subject) -> anyhow::Result<Figures> {
        match self.kind {
            Kind::Requests { load, workers } => {
                requests::measure(bench, subject, load, workers.unwrap_or(bench.effort.workers)).await
            }
            Kind::Calls => calls::measure(bench, subject).await,
            Kind::Latency => latency::measure(bench, subject).await,
            Kind::Bulk(way) => bulk::measure(bench, subject, way).await,
            Kind::Handshake => handshake::measure(bench, subject.plan(bench)?).await,
            Kind::Idle => idle::measure(bench, subject.plan(bench)?).await,
            Kind::BaseMemory => base_memory::measure(bench, subject.plan(bench)?).await,
            Kind::Burst => burst::measure(bench, subject.plan(bench)?).await,
            Kind::Crl(serials) => crl::measure(bench, subject.plan(bench)?, serials).await,
            Kind::RevokeToCut => revocation::measure(bench, subject.plan(bench)?).await,
            Kind::Enrolment => enrolment::measure(bench).await,
            Kind::RevokeEverywhere => revoke_everywhere::measure(bench).await,
            Kind::Scaling => scaling::measure(bench, subject.plan(bench)?).await,
        }
    }
}

impl Subject {
    /// The row it has in tables.
    pub(crate) fn label(self) -> String {
        match self {
            Self::Direct => DIRECT.to_owned(),
            Self::Peer(peer) => peer.name.to_owned(),
            Self::Scaled(peer, scale) => format!("{}, {}", peer.name, scaling::describe(scale)),
        }
    }

    fn plan(self, bench: &Bench) -> anyhow::Result<Plan<'static>> {
        match self {
            Self::Direct => anyhow::bail!("there is no proxy to measure"),
            Self::Peer(peer) => Ok(Plan::new(bench, peer)),
            Self::Scaled(peer, scale) => Ok(Plan { scale, ..Plan::new(bench, peer) }),
        }
    }
}

/// Where load is sent: to a chain before an application or, for `Direct`, to the application itself.
struct Target {
    chain: Option<Chain>,
    address: SocketAddr,
}

impl Target {
    async fn start(bench: &Bench, subject: Subject, application: Application, workers: usize) -> anyhow::Result<Self> {
        if let Subject::Direct = subject {
            return Ok(Self { chain: None, address: bench.backend.address(application) });
        }
        let chain = Plan { application, workers, ..subject.plan(bench)? }.start_chain(bench).await?;
        Ok(Self { address: chain.outbound.address, chain: Some(chain) })
    }

    async fn stop(self) {
        if let Some(chain) = self.chain {
            chain.stop().await;
        }
    }
}

/// Named figures, in one line.
fn figures<const COUNT: usize>(named: [(&str, f64); COUNT]) -> Figures {
    named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes of a few seconds")]
fn float(count: u64) -> f64 {
    count as f64
}
