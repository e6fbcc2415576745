//! `mantlet status`: what a running sidecar says of itself.

use std::process::ExitCode;

/// Show the state of a running sidecar
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn execute(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
