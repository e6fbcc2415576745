//! `mantlet run`: the sidecar itself.

use std::process::ExitCode;

/// Run the sidecar
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn execute(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
