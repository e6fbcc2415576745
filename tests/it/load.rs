//! Load generators of others through two sidecars: nothing fails. `benches/soak.sh` does the same for longer.

use std::process::Command;

use crate::support::mesh::Mesh;
use crate::support::programs::{program, run};

const H2LOAD: &str = "apt-get install nghttp2-client";
const WRK: &str = "apt-get install wrk";

/// Loads the entry with this many requests and gives the summary.
fn h2load(mesh: &Mesh, requests: u32, options: &[&str], path: &str) {
    let url = format!("http://{}{path}", mesh.entry());
    let mut command = Command::new(program("h2load", H2LOAD));
    let said = run(command.args(["-n", &requests.to_string()]).args(options).arg(&url), b"");
    let summary =
        format!("requests: {requests} total, {requests} started, {requests} done, {requests} succeeded, 0 failed");
    let statuses = format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx");
    assert!(said.out.contains(&summary) && said.out.contains(&statuses), "{}\n{}", said.out, mesh.outbound.text());
}

#[test]
fn thousands_of_http2_requests_all_succeed() {
    let mesh = Mesh::start();
    h2load(&mesh, 4000, &["-c", "8", "-m", "32"], "/bytes/128");
}

#[test]
fn thousands_of_http1_requests_all_succeed_over_a_hop_of_either_version() {
    for hop in ["http1", "http2"] {
        let mesh = Mesh::with("", &format!("hop = \"{hop}\""), "");
        h2load(&mesh, 2000, &["--h1", "-c", "32"], "/bytes/128");
    }
}

#[test]
fn a_second_of_wrk_has_no_error_and_memory_stays_flat() {
    let mesh = Mesh::start();
    let wrk = |seconds: &str| {
        let mut command = Command::new(program("wrk", WRK));
        let said =
            run(command.args(["-t1", "-c32", "-d", seconds]).arg(format!("http://{}/bytes/128", mesh.entry())), b"");
        assert!(said.status.success() && said.out.contains("requests in"), "{}{}", said.out, said.err);
        assert!(!said.out.contains("Socket errors") && !said.out.contains("Non-2xx"), "{}", said.out);
    };
    wrk("1s");
    let resident = || mesh.inbound.resident_kib() + mesh.outbound.resident_kib();
    let before = resident();
    wrk("1s");
    let after = resident();
    assert!(after < before + 16 * 1024, "{before} KiB before, {after} KiB after");
}
