//! `mantlet policy`: look at what decides about requests.

mod explain;

use std::process::ExitCode;

use clap::Subcommand;

/// Explain what decides about requests
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Explain(explain::Args),
}

pub(super) fn execute(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Explain(args) => explain::execute(&args),
    }
}
