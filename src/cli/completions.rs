//! `mantlet completions`: completion scripts for shells.

use std::process::ExitCode;

/// Print a completion script for a shell
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn execute(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
