//! The command line: one file for each subcommand.

mod ca;
mod cert;
mod check;
mod completions;
mod health;
mod run;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("MANTLET_COMMIT"), ")");

/// A sidecar proxy that enforces mutual TLS for the service beside it.
///
/// Inbound it terminates mutual TLS, checks the caller's certificate against the trust anchors and CRLs, and forwards
/// plaintext to the service on loopback. Outbound it takes plaintext on loopback and originates mutual TLS to the peer's
/// sidecar. One TOML file configures it.
#[derive(Parser)]
#[command(name = "mantlet", version = VERSION, propagate_version = true, arg_required_else_help = true, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Ca(ca::Args),
    Cert(cert::Args),
    Status(status::Args),
    Health(health::Args),
    Completions(completions::Args),
}

/// Parses the arguments, carries out the subcommand, and prints the chain of an error once.
pub fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Run(args) => run::execute(args),
        Command::Check(args) => check::execute(args),
        Command::Ca(args) => ca::execute(args),
        Command::Cert(args) => cert::execute(args),
        Command::Status(args) => status::execute(args),
        Command::Health(args) => health::execute(args),
        Command::Completions(args) => completions::execute(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("mantlet: {error:#}");
        ExitCode::from(exit_code::FAILED)
    })
}

/// Exit codes that all subcommands share.
mod exit_code {
    /// The question was answered with no, or the work failed.
    pub(super) const FAILED: u8 = 1;
}
