//! What is measured: a table of scenarios, who takes part in each, and one file for each kind of measurement.

mod base_memory;
mod bulk;
mod burst;
mod calls;
mod crl;
mod handshake;
mod idle;
mod latency;
mod requests;
mod scaling;

use std::net::SocketAddr;

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
    Crl,
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

const fn column(figure: &'static str, heading: &'static str, decimals: usize) -> Column {
    Column { figure, heading, decimals }
}

const REQUESTS: &[Column] = &[
    column("cpu", "CPU-s per 100k", 2),
    column("cpu_outbound", "outbound", 2),
    column("cpu_inbound", "inbound", 2),
    column("per_second", "requests/s", 0),
    column("p50_ms", "p50 ms", 2),
    column("p99_ms", "p99 ms", 2),
];

const TAIL: &[Column] = &[
    column("p99_ms", "p99 ms", 2),
    column("p50_ms", "p50 ms", 2),
    column("cpu", "CPU-s per 100k", 2),
    column("per_second", "requests/s", 0),
];

const CALLS: &[Column] = &[
    column("cpu", "CPU-s per 100k", 2),
    column("cpu_outbound", "outbound", 2),
    column("cpu_inbound", "inbound", 2),
    column("per_second", "calls/s", 0),
    column("mean_ms", "mean ms", 2),
];

const LATENCY: &[Column] = &[
    column("added_p50_us", "added p50 µs", 0),
    column("added_p99_us", "added p99 µs", 0),
    column("p50_us", "p50 µs", 0),
    column("p99_us", "p99 µs", 0),
    column("p999_us", "p99.9 µs", 0),
];

const BULK: &[Column] = &[
    column("cpu", "CPU-s per GiB", 2),
    column("cpu_outbound", "outbound", 2),
    column("cpu_inbound", "inbound", 2),
    column("mib_per_second", "MiB/s", 0),
];

const HANDSHAKE: &[Column] = &[
    column("cpu_ms", "CPU-ms each", 3),
    column("per_second", "handshakes/s", 0),
    column("p50_ms", "p50 ms", 2),
    column("p99_ms", "p99 ms", 2),
];

const IDLE: &[Column] = &[
    column("kib_used", "KiB each after a request", 1),
    column("kib_fresh", "KiB each before any", 1),
    column("cpu_percent", "idle CPU % of a core", 2),
];

const BASE_MEMORY: &[Column] = &[
    column("resident_mib", "resident MiB", 1),
    column("anonymous_mib", "of it anonymous", 1),
    column("summed_mib", "sum of RSS", 1),
];

const BURST: &[Column] = &[
    column("after_mib", "MiB after", 1),
    column("peak_mib", "at the peak", 1),
    column("before_mib", "before", 1),
    column("kept_mib", "kept", 1),
];

const CRL: &[Column] = &[
    column("cpu_ms", "CPU-ms each", 3),
    column("per_second", "handshakes/s", 0),
    column("first_ms", "first handshake ms after the start", 0),
    column("resident_mib", "resident MiB", 0),
];

const SCALING: &[Column] = &[
    column("cpu", "CPU-s per 100k", 2),
    column("cpu_outbound", "outbound", 2),
    column("cpu_inbound", "inbound", 2),
    column("resident_outbound_mib", "outbound MiB", 1),
    column("resident_inbound_mib", "inbound MiB", 1),
];

const CPU_PER_REQUESTS: &str = "CPU-s per 100k requests";

const fn wrk(connections: usize, close: bool, workers: Option<usize>) -> Kind {
    Kind::Requests { load: Wrk { connections, close }, workers }
}

const fn scenario(
    name: &'static str,
    what: &'static str,
    main: &'static str,
    columns: &'static [Column],
    kind: Kind,
) -> Scenario {
    Scenario { name, what, main, columns, kind, on_demand: false }
}

/// Every scenario, in the order of the run and of the report.
pub(crate) const SCENARIOS: [Scenario; 14] = [
    scenario(
        "h1_rps",
        "wrk on 64 keep-alive connections, answers of 128 bytes",
        CPU_PER_REQUESTS,
        REQUESTS,
        wrk(64, false, None),
    ),
    scenario("h1_rps_1", "the same with one worker in each proxy", CPU_PER_REQUESTS, REQUESTS, wrk(64, false, Some(1))),
    scenario("h1_512", "wrk on 512 keep-alive connections", "p99 in ms", TAIL, wrk(512, false, None)),
    scenario(
        "h1_close",
        "wrk on 16 connections, a new one for each request",
        CPU_PER_REQUESTS,
        REQUESTS,
        wrk(16, true, None),
    ),
    scenario(
        "h2_grpc",
        "h2load over HTTP/2 without TLS, 8 connections of 32 streams, calls of 64 and answers of 128 bytes",
        "CPU-s per 100k calls",
        CALLS,
        Kind::Calls,
    ),
    scenario(
        "latency",
        "h2load over HTTP/1.1, 10 connections, 1000 requests a second in all; added is what comes on top of direct",
        "added p50 in µs",
        LATENCY,
        Kind::Latency,
    ),
    scenario("bulk_down", "2 connections, downloads of 128 MiB", "CPU-s per GiB", BULK, Kind::Bulk(Way::Down)),
    scenario("bulk_up", "2 connections, uploads of 128 MiB", "CPU-s per GiB", BULK, Kind::Bulk(Way::Up)),
    scenario(
        "handshake",
        "8 clients, full handshakes with the inbound proxy alone (X25519, ECDSA P-256 on both sides, CRL)",
        "CPU-ms each",
        HANDSHAKE,
        Kind::Handshake,
    ),
    scenario(
        "idle",
        "thousands of idle connections with the inbound proxy, before and after one HTTP/1.1 request on each",
        "KiB each after a request",
        IDLE,
        Kind::Idle,
    ),
    scenario(
        "base_rss",
        "memory of the inbound proxy after one handshake (PSS: what its processes share counts once)",
        "resident MiB",
        BASE_MEMORY,
        Kind::BaseMemory,
    ),
    scenario(
        "burst",
        "memory of the inbound proxy before, with and some seconds after thousands of connections with a request each",
        "MiB after",
        BURST,
        Kind::Burst,
    ),
    scenario(
        "scaling",
        "h1_rps through mantlet with more configured than is used",
        CPU_PER_REQUESTS,
        SCALING,
        Kind::Scaling,
    ),
    Scenario {
        name: "crl_100k",
        what: "handshake with a CRL of 100,000 serial numbers",
        main: "CPU-ms each",
        columns: CRL,
        kind: Kind::Crl,
        on_demand: true,
    },
];

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
            Kind::Scaling => peer.name == "mantlet",
            Kind::Crl => peer.product.knows_crls() && !peer.differs_in_hop_alone(),
            Kind::Calls | Kind::Handshake | Kind::Idle | Kind::BaseMemory | Kind::Burst => !peer.differs_in_hop_alone(),
        };
        let taking_part = peers.iter().filter(takes_part);
        if matches!(self.kind, Kind::Scaling) {
            return taking_part.flat_map(|peer| scaling::subjects(peer, effort.scale)).collect();
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
            Kind::Crl => crl::measure(bench, subject.plan(bench)?).await,
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
