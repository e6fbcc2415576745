//! Every scenario: what is done, what is told of it, and which figure counts.

use super::{Column, Kind, Scenario};
use crate::load::transfer::Way;
use crate::load::wrk::Wrk;

/// Every scenario, in the order of the run and of the report.
pub(crate) const SCENARIOS: [Scenario; 19] = [
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
    scenario(
        "revoke_to_cut",
        "900 connections and 100 of a peer that a CRL revokes, which mantlet fetches: until the last of these is closed",
        "ms after the CRL was served",
        CUT,
        Kind::RevokeToCut,
    ),
    crl("crl_1k", "handshake with a CRL of 1,000 serial numbers", 1_000),
    crl("crl_100k", "handshake with a CRL of 100,000 serial numbers", 100_000),
    crl("crl_1m", "handshake with a CRL of 1,000,000 serial numbers", 1_000_000),
    on_demand(
        "enrolment",
        "renewals at an authority (EST, SQLite), 8 clients, each with a new key on a new connection",
        "CPU-ms each",
        ENROLMENT,
        Kind::Enrolment,
    ),
    on_demand(
        "revoke_everywhere",
        "a peer with a live connection to each of 100 sidecars: from the start of \"mantlet ca revoke\" to their ends",
        "ms to the end of the last",
        REVOKE_EVERYWHERE,
        Kind::RevokeEverywhere,
    ),
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

const fn crl(name: &'static str, what: &'static str, serials: u32) -> Scenario {
    on_demand(name, what, "CPU-ms each", CRL, Kind::Crl(serials))
}

const fn on_demand(
    name: &'static str,
    what: &'static str,
    main: &'static str,
    columns: &'static [Column],
    kind: Kind,
) -> Scenario {
    Scenario { on_demand: true, ..scenario(name, what, main, columns, kind) }
}

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

const CUT: &[Column] = &[column("cut_ms", "ms, median of five", 1), column("slowest_ms", "the slowest of them", 1)];

const ENROLMENT: &[Column] = &[
    column("cpu_ms", "CPU-ms each", 2),
    column("per_second", "renewals/s", 0),
    column("p50_ms", "p50 ms", 1),
    column("p99_ms", "p99 ms", 1),
    column("resident_mib", "resident MiB", 1),
];

const REVOKE_EVERYWHERE: &[Column] = &[
    column("last_ms", "ms to the last", 0),
    column("p50_ms", "p50 ms", 0),
    column("p99_ms", "p99 ms", 0),
    column("command_ms", "the command itself ms", 0),
];

const SCALING: &[Column] = &[
    column("cpu", "CPU-s per 100k", 2),
    column("cpu_outbound", "outbound", 2),
    column("cpu_inbound", "inbound", 2),
    column("resident_outbound_mib", "outbound MiB", 1),
    column("resident_inbound_mib", "inbound MiB", 1),
];
