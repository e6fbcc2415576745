//! The command line: one file for each subcommand.

#[cfg(feature = "authority")]
mod ca;
mod cert;
mod check;
mod completions;
mod crl;
mod health;
mod output;
mod pause;
mod policy;
mod run;
mod status;

use std::process::ExitCode;
use std::time::SystemTime;

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
    #[cfg(feature = "authority")]
    Ca(ca::Args),
    Cert(cert::Args),
    Crl(crl::Args),
    Policy(policy::Args),
    Status(status::Args),
    Health(health::Args),
    Pause(pause::Args),
    Completions(completions::Args),
}

/// Parses the arguments, carries out the subcommand, and prints the chain of an error once.
pub fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Run(args) => run::execute(args),
        Command::Check(args) => check::execute(args),
        #[cfg(feature = "authority")]
        Command::Ca(args) => ca::execute(args),
        Command::Cert(args) => cert::execute(args),
        Command::Crl(args) => crl::execute(args),
        Command::Policy(args) => policy::execute(args),
        Command::Status(args) => status::execute(args),
        Command::Health(args) => health::execute(args),
        Command::Pause(args) => pause::execute(args),
        Command::Completions(args) => completions::execute(args),
    };
    outcome.unwrap_or_else(|error| {
        for line in format!("{error:#}").lines() {
            eprintln!("mantlet: {line}");
        }
        ExitCode::from(exit_code::FAILED)
    })
}

/// The two largest units of a time span, such as `1d 3h`.
fn time_span(seconds: u64) -> String {
    const UNITS: [(u64, char); 4] = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let first = UNITS.iter().position(|(size, _)| seconds >= *size).unwrap_or(UNITS.len() - 1);
    let (size, name) = UNITS[first];
    let (whole, rest) = (seconds / size, seconds % size);
    match UNITS.get(first + 1) {
        // Hours are no news about what lasts for months.
        Some((finer, finer_name)) if rest >= *finer && seconds < 30 * 86_400 => {
            format!("{whole}{name} {}{finer_name}", rest / finer)
        }
        _ => format!("{whole}{name}"),
    }
}

/// `in 3d 2h`, `41m ago`: to the two largest units.
fn span_of_time(now: SystemTime, then: SystemTime) -> String {
    match then.duration_since(now) {
        Ok(ahead) => format!("in {}", time_span(ahead.as_secs())),
        Err(past) => format!("{} ago", time_span(past.duration().as_secs())),
    }
}

/// Exit codes that all subcommands share.
mod exit_code {
    /// The question was answered with no, or the work failed.
    pub(super) const FAILED: u8 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_shows_its_two_largest_units() {
        let shown = [0, 59, 61, 3600, 86_399, 86_400, 90_061, 400 * 86_400 + 7200].map(time_span);
        assert_eq!(shown, ["0s", "59s", "1m 1s", "1h", "23h 59m", "1d", "1d 1h", "400d"]);
    }
}
