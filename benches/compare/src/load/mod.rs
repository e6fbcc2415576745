//! What sends the load: wrk and h2load, and our own clients where those do not do.

pub(crate) mod connections;
pub(crate) mod h2load;
pub(crate) mod handshake;
pub(crate) mod message;
pub(crate) mod repeat;
pub(crate) mod tls;
pub(crate) mod transfer;
pub(crate) mod wrk;

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;
use tokio::time::timeout;

/// Runs a load generator to its end, which is expected `time` after its start, and gives what it printed.
async fn output(mut command: Command, time: Duration) -> anyhow::Result<String> {
    let program = command.as_std().get_program().to_owned();
    let program = program.display();
    let deadline = time + Duration::from_secs(30);
    let output = timeout(deadline, command.kill_on_drop(true).output()).await;
    let output =
        output.with_context(|| format!("{program} did not end"))?.with_context(|| format!("cannot start {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{program} ended with {}: {}{text}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// A duration as wrk and h2load print it, such as `3.75ms`, in milliseconds.
fn milliseconds(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let factor = match &text[digits.len()..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}
