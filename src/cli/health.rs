//! `mantlet health`: an exit code for container health checks.

use std::io::{Write as _, stderr};
use std::process::ExitCode;

use anyhow::bail;
use http::StatusCode;

use crate::admin::{Format, ask};

use super::exit_code;
use super::status::{At, printable};

/// Ask a running sidecar whether it is ready for traffic
///
/// Exits with 0 if it is: its listeners are bound, its own certificate is valid, and it does not shut down. Exits with 1 and
/// prints the reasons otherwise, also where no mantlet answers. Nothing else, such as curl, is needed in the container.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet health
  mantlet health --admin unix:/run/mantlet/admin.sock

In a Compose file:
  healthcheck:
    test: [CMD, mantlet, health]
    interval: 5s

Let a restart depend on --live, and traffic on readiness: a restart brings back no expired certificate.")]
pub(super) struct Args {
    #[command(flatten)]
    at: At,
    /// Ask only whether the process is alive, ready or not
    #[arg(long)]
    live: bool,
}

pub(super) fn execute(args: Args) -> anyhow::Result<ExitCode> {
    let Args { at: At { admin }, live } = args;
    let path = if live { "/healthz" } else { "/readyz" };
    let answer = ask(&admin, path, Format::Text)?;
    match answer.status {
        StatusCode::OK => Ok(ExitCode::SUCCESS),
        StatusCode::SERVICE_UNAVAILABLE => {
            let reasons = String::from_utf8_lossy(&answer.body);
            for reason in reasons.lines() {
                writeln!(stderr(), "{}", printable(reason))?;
            }
            Ok(ExitCode::from(exit_code::FAILED))
        }
        status => bail!("{admin} answered {status} for {path}; is it of another version?"),
    }
}
