//! `mantlet check`: everything that can be validated without traffic.

mod examine;
mod outcome;

use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use examine::examine;

use super::exit_code;

/// Validate a configuration file
///
/// Checks the file and the certificates, keys and CRLs that it names, and shows every problem with its place and its
/// remedy. Exits with 0 if the sidecar would start, warnings or not, and with 1 otherwise.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Fail also if our certificate, a trust anchor or a CRL ends within this time, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    fail_within: Option<Duration>,
}

pub(super) fn execute(Args { file, json, fail_within }: Args) -> anyhow::Result<ExitCode> {
    let outcome = examine(&file, fail_within, SystemTime::now());
    let output = if json { format!("{:#}\n", outcome.to_json()) } else { outcome.to_text(wants_colors()) };
    stdout().write_all(output.as_bytes())?;
    let code = if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::from(exit_code::FAILED) };
    Ok(code)
}

/// Colours are for terminals, and not where the reader forbids them (<https://no-color.org>).
fn wants_colors() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
