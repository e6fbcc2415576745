//! `mantlet health`: an exit code for container health checks.

use std::process::ExitCode;

/// Ask a running sidecar whether it is ready
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn execute(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
