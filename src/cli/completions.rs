//! `mantlet completions`: completion scripts for shells.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::CommandLine;

/// Print a completion script for a shell
///
/// For bash: `mantlet completions bash > /etc/bash_completion.d/mantlet`
#[derive(clap::Args)]
pub(super) struct Args {
    /// The shell that reads the script
    shell: Shell,
}

pub(super) fn execute(Args { shell }: Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "mantlet", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
