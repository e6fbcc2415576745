//! `mantlet status`: what a running sidecar says of itself.

mod tables;

use std::io::{IsTerminal as _, stdout};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use http::StatusCode;
use serde_json::Value;

use crate::admin::{DEFAULT_ADDRESS, Document, Format, Target, ask};
use crate::cli::output::{print, print_bytes};

pub(super) use tables::{printable, section};

/// Show what a running sidecar works with: identity, trust, listeners, peers, refusals, reloads
///
/// A terminal gets tables, a pipe gets the JSON document as the sidecar sent it. An authority is shown as JSON.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet status
  mantlet status --admin unix:/run/mantlet/admin.sock
  mantlet status | jq -r '.refusals[] | .peer_address + \": \" + .detail'

The sidecar answers where its configuration has an [admin] section. MANTLET_ADMIN sets the address once for all commands.")]
pub(super) struct Args {
    #[command(flatten)]
    at: At,
    /// Print the JSON document also on a terminal
    #[arg(long)]
    json: bool,
}

/// Which sidecar to ask.
#[derive(clap::Args)]
pub(super) struct At {
    #[arg(
        long,
        value_name = "ADDR",
        env = "MANTLET_ADMIN",
        default_value = DEFAULT_ADDRESS,
        help = "Address of the [admin] listener: IP:PORT, HOST:PORT or unix:/PATH"
    )]
    pub(super) admin: Target,
}

pub(super) fn execute(args: Args) -> anyhow::Result<ExitCode> {
    let Args { at: At { admin }, json } = args;
    let answer = ask(&admin, "/status", Format::Json)?;
    if answer.status != StatusCode::OK {
        bail!("{admin} answered {} for /status; is it of another version?", answer.status);
    }
    let is_of_an_authority = || {
        let document: Option<Value> = serde_json::from_slice(&answer.body).ok();
        document.is_some_and(|document| document["role"] == "authority")
    };
    if json || !stdout().is_terminal() || is_of_an_authority() {
        print_bytes(&answer.body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let document: Document = serde_json::from_slice(&answer.body)
        .with_context(|| format!("cannot read the status of {admin}; --json prints it as it is"))?;
    print(&tables::render(&document))?;
    Ok(ExitCode::SUCCESS)
}
