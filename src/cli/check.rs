//! `mantlet check`: everything that can be validated without traffic.

use std::process::ExitCode;

/// Validate a configuration file
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn execute(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
