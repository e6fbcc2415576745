//! `mantlet cert`: look at certificates and verify them.

use std::process::ExitCode;

/// Show and verify certificates
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn execute(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
