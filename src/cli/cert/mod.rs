//! `mantlet cert`: look at certificates and verify them.

mod show;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::x509::{CertificateInfo, Instant};

/// The input was not usable, so that the question was not answered; clap uses the same code for bad arguments.
const UNUSABLE: u8 = 2;

/// Show and verify certificates
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Show(show::Args),
    Verify(verify::Args),
}

pub(super) fn execute(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Show(args) => show::execute(&args),
        Command::Verify(args) => verify::execute(&args),
    }
}

/// Says on standard error why the input is unusable.
fn unusable(problems: &[String]) -> ExitCode {
    for problem in problems {
        eprintln!("mantlet: {problem}");
    }
    ExitCode::from(UNUSABLE)
}

/// Writes the answer at once; a reader that has gone away (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

fn info_json(info: &CertificateInfo) -> Value {
    json!({
        "subject": info.subject,
        "issuer": info.issuer,
        "serial": info.serial.to_string(),
        "spiffe_id": info.names.spiffe_id.as_ref().map(crate::identity::SpiffeId::as_str),
        "dns_names": info.names.dns_names,
        "ip_addresses": info.names.ip_addresses,
        "not_before": Instant(info.not_before).to_string(),
        "not_after": Instant(info.not_after).to_string(),
        "fingerprint_sha256": info.fingerprint_hex(),
    })
}
