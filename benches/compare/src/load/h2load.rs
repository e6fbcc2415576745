//! h2load: gRPC-like calls over HTTP/2, and HTTP/1.1 at a fixed rate with the time of every request.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::{milliseconds, output};
use crate::backend::GRPC_PATH;

const CALL_BYTES: usize = 64;
const PACED_CONNECTIONS: u32 = 10;
const PACED_RATE_EACH: u32 = 100;

/// What h2load measured with calls.
#[derive(Debug, PartialEq)]
pub(crate) struct Calls {
    pub(crate) count: f64,
    pub(crate) mean_ms: f64,
}

/// One call, to see whether it is answered.
pub(crate) async fn one_call(program: &Path, server: SocketAddr, folder: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.args(["-c1", "-n1"]);
    call(command, server, folder, Duration::ZERO).await.map(drop)
}

/// Calls on 8 connections of 32 streams for `time`.
pub(crate) async fn calls(program: &Path, server: SocketAddr, folder: &Path, time: Duration) -> anyhow::Result<Calls> {
    let mut command = Command::new(program);
    command.args(["-t1", "-c8", "-m32"]).arg(format!("-D{}", time.as_secs().max(1)));
    call(command, server, folder, time).await
}

async fn call(mut command: Command, server: SocketAddr, folder: &Path, time: Duration) -> anyhow::Result<Calls> {
    let body = folder.join("call");
    fs::write(&body, "x".repeat(CALL_BYTES))?;
    command.args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"]).arg(body);
    command.arg(format!("http://{server}{GRPC_PATH}"));
    let text = output(command, time).await?;
    parse(&text).with_context(|| format!("h2load printed {text}"))
}

fn parse(text: &str) -> anyhow::Result<Calls> {
    let line =
        |label: &str| text.lines().find_map(|line| line.strip_prefix(label)).with_context(|| format!("no {label}"));
    let number = |line: &str, label: &str| {
        let parts = line.split(',').find_map(|part| part.trim().strip_suffix(label)?.trim().parse::<f64>().ok());
        parts.with_context(|| format!("no number of {label}"))
    };
    let requests = line("requests:")?;
    for problem in ["failed", "errored", "timeout"] {
        let count = number(requests, problem)?;
        ensure!(count == 0.0, "{count} calls {problem}");
    }
    let count = number(line("status codes:")?, "2xx")?;
    let answered = number(requests, "done")?;
    ensure!(count > 0.0 && count >= answered, "{count} of {answered} calls were answered with 2xx");
    let mean = line("time for request:")?.split_whitespace().nth(2).and_then(milliseconds);
    Ok(Calls { count, mean_ms: mean.context("no mean time")? })
}

/// How long requests took at 1000 a second over HTTP/1.1, in order of length.
pub(crate) async fn paced(
    program: &Path,
    server: SocketAddr,
    folder: &Path,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let log = folder.join("requests");
    fs::remove_file(&log).ok();
    let mut command = Command::new(program);
    command.args(["--h1", "-t1"]).arg(format!("-c{PACED_CONNECTIONS}")).arg(format!("--rps={PACED_RATE_EACH}"));
    command.arg(format!("-D{}", time.as_secs().max(1))).arg("--log-file").arg(&log).arg(format!("http://{server}/"));
    output(command, time).await?;
    let text = fs::read_to_string(&log)?;
    let mut durations = text.lines().map(duration).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!durations.is_empty(), "no request was answered");
    durations.sort_unstable();
    Ok(durations)
}

/// Reads a line of the log: the time of the request, its status, and how long it took, both times in microseconds.
fn duration(line: &str) -> anyhow::Result<Duration> {
    let mut fields = line.split('\t').skip(1);
    let status = fields.next().unwrap_or_default();
    // h2load writes 0 for a status line without a reason phrase, which RFC 9112 allows and HAProxy sends.
    ensure!(matches!(status, "200" | "0"), "a request was answered with {status}");
    let micros = fields.next().and_then(|field| field.trim().parse().ok());
    micros.map(Duration::from_micros).with_context(|| format!("{line:?} has no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(failed: usize, good: usize) -> String {
        format!(
            "finished in 6.00s, 26815.17 req/s, 3.21MB/s\n\
             requests: 161147 total, 160891 started, 160891 done, {good} succeeded, {failed} failed, 0 errored, 0 timeout\n\
             status codes: {good} 2xx, 0 3xx, 0 4xx, 0 5xx\n\
             time for request:      123us    100.27ms      9.45ms      2.11ms    70.00%\n"
        )
    }

    #[test]
    fn figures_are_read() {
        assert_eq!(parse(&printed(0, 160_891)).unwrap(), Calls { count: 160_891.0, mean_ms: 9.45 });
    }

    #[test]
    fn failures_are_not_figures() {
        assert!(parse(&printed(1, 160_891)).is_err());
        assert!(parse(&printed(0, 160_890)).is_err());
    }
}
