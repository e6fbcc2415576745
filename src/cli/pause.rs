//! `mantlet pause`: a process that does nothing until it is told to end.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

/// Hold a container's network namespace, and do nothing else
///
/// A service and its sidecar share a network namespace. Where a container of its own holds it, either of them can be restarted or
/// replaced without cutting the other off; where one of the two holds it, the other loses its network with it. Ends at once
/// on SIGTERM or SIGINT.
#[derive(clap::Args)]
#[command(after_help = "\
In a Compose file:
  adservice:          {image: mantlet, command: [pause], healthcheck: {disable: true}}
  adservice-mantlet:  {image: mantlet, network_mode: \"service:adservice\"}
  adservice-app:      {image: ads, network_mode: \"service:adservice\"}")]
pub(super) struct Args {}

pub(super) fn execute(Args {}: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        // The first process of a container is not ended by a signal that it does not ask for.
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}
