//! wrk: HTTP/1.1 on a fixed number of connections, each with one request at a time.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::{milliseconds, output};

/// What wrk measured.
#[derive(Debug, PartialEq)]
pub(crate) struct Requests {
    pub(crate) count: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// What wrk is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wrk {
    pub(crate) connections: usize,
    /// Asks for the end of the connection with each request.
    pub(crate) close: bool,
}

impl Wrk {
    /// Sends requests to `server` for `time`, which is a number of whole seconds.
    ///
    /// # Errors
    ///
    /// An answer other than 2xx, and any error of a socket.
    pub(crate) async fn run(self, program: &Path, server: SocketAddr, time: Duration) -> anyhow::Result<Requests> {
        let mut command = Command::new(program);
        command.args(["-t1", "--latency", "--timeout", "10s"]);
        command.arg(format!("-c{}", self.connections)).arg(format!("-d{}s", time.as_secs().max(1)));
        if self.close {
            command.args(["-H", "Connection: close"]);
        }
        command.arg(format!("http://{server}/"));
        let text = output(command, time).await?;
        parse(&text).with_context(|| format!("wrk printed {text}"))
    }
}

fn parse(text: &str) -> anyhow::Result<Requests> {
    let after = |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
    if let Some(count) = after("Non-2xx or 3xx responses:") {
        bail!("{count} requests were not answered with 2xx");
    }
    if let Some(errors) = after("Socket errors:") {
        bail!("connections failed: {errors}");
    }
    let count = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    Ok(Requests {
        count: count.filter(|count| *count > 0.0).context("no request was answered")?,
        per_second: after("Requests/sec:").and_then(|rate| rate.parse().ok()).context("no rate")?,
        p50_ms: after("50%").and_then(milliseconds).context("no median")?,
        p99_ms: after("99%").and_then(milliseconds).context("no 99th percentile")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   443.38us    1.02ms  12.78ms   96.88%\n    \
        Req/Sec   186.71k     4.50k  193.91k    80.00%\n  Latency Distribution\n     50%  321.00us\n     75%  342.00us\n     \
        90%  370.00us\n     99%    6.64ms\n  186142 requests in 1.00s, 48.99MB read\nRequests/sec: 185793.40\n\
        Transfer/sec:     48.90MB\n";

    #[test]
    fn figures_are_read() {
        let expected = Requests { count: 186_142.0, per_second: 185_793.40, p50_ms: 0.321, p99_ms: 6.64 };
        assert_eq!(parse(PRINTED).unwrap(), expected);
    }

    #[test]
    fn errors_are_not_figures() {
        for line in ["  Non-2xx or 3xx responses: 7\n", "  Socket errors: connect 0, read 3, write 0, timeout 0\n"] {
            assert!(parse(&(PRINTED.to_owned() + line)).is_err(), "{line}");
        }
    }
}
