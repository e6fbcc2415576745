//! `mantlet ca serve`: the authority as a service.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{AuthorityConfig, Config};
use crate::telemetry::start_logging;

use super::place::PassphraseFile;

/// Run the authority as a service: services enrol and renew by themselves, and revocations reach them at once
///
/// Serves enrolment over TLS (EST, RFC 7030) and, over plain HTTP, CRLs and trust anchors. The other commands work on the same
/// directory while it runs. SIGTERM and SIGINT end it once the requests in flight are answered.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  mantlet ca init     --dir ca --trust-domain fleamarket.internal
  mantlet ca register --dir ca adservice --dns adservice
  mantlet ca serve    authority.toml
with authority.toml:
  [authority]
  dir = \"ca\"
  listen = \"0.0.0.0:8444\"
  crl_listen = \"0.0.0.0:8480\"
  store = \"sqlite\"")]
pub(super) struct Serve {
    /// The configuration file
    #[arg(value_name = "AUTHORITY.toml")]
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseFile,
}

pub(super) fn serve(Serve { file, passphrase }: &Serve) -> anyhow::Result<ExitCode> {
    let colors = std::io::stderr().is_terminal();
    let parsed = Config::read_text(file).and_then(|text| AuthorityConfig::parse(file, &text));
    let (mut config, warnings) = match parsed {
        Ok(parsed) => parsed,
        Err(problems) => return Ok(crate::cli::run::refuse(&problems, colors)),
    };
    // The file's own comes first.
    let settings = &mut config.authority;
    settings.passphrase_file = settings.passphrase_file.take().or_else(|| passphrase.passphrase_file.clone());
    start_logging(&config.log)?;
    crate::app::harden();
    for warning in &warnings {
        tracing::warn!(file = %file.display(), remedy = warning.remedy, "{}", warning.message);
    }
    crate::authority::run(file, config)?;
    Ok(ExitCode::SUCCESS)
}
