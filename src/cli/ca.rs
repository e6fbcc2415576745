//! `mantlet ca`: a closed certificate authority in a directory.

use std::process::ExitCode;

/// Run a closed certificate authority in a directory
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn execute(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
