//! Waiting until a process serves.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::process::Process;

const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Repeats `attempt` until it succeeds; fails when `process` ends, or with the last error after half a minute.
pub(crate) async fn until<T>(process: &mut Process, mut attempt: impl AsyncFnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        process.check_running()?;
        let outcome = timeout_at(deadline, attempt()).await.context("no answer within half a minute").flatten();
        match outcome {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("not ready in time; its log ends with:{}", process.last_lines())));
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

/// Waits until `address` takes a connection.
pub(crate) async fn until_connected(address: SocketAddr, process: &mut Process) -> anyhow::Result<()> {
    until(process, async || Ok(TcpStream::connect(address).await.map(drop)?)).await
}
