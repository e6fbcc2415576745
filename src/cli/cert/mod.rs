//! `mantlet cert`: look at certificates and verify them.

mod show;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::x509::{CertificateInfo, Instant};

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
