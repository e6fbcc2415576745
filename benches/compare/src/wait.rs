//! Waiting until a process serves.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::process::Process;

const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Repeats `attempt` until it succeeds; fails when `process` ends, or with the last error after half a minute.
pub(crate) async fn until<T>(
    process: &mut Process,
    mut attempt: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + DEADLINE;
    let mut last_error = anyhow!("nothing happens");
    loop {
        process.check_running()?;
        match timeout_at(deadline, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last_error = error,
            Err(_) => return Err(last_error.context(format!("not ready in half a minute:{}", process.last_lines()))),
        }
        sleep(POLL).await;
    }
}

/// Waits until `address` takes a connection.
pub(crate) async fn until_connected(address: SocketAddr, process: &mut Process) -> anyhow::Result<()> {
    until(process, async || Ok(TcpStream::connect(address).await.map(drop)?)).await
}
