//! `mantlet run`: the sidecar itself.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::app;
use crate::config::{Config, Problems};
use crate::telemetry::start_logging;

use super::exit_code;

/// Run the sidecar
///
/// Reads the configuration, the certificates and the CRLs, binds every listener and serves until SIGTERM or SIGINT, which drain
/// first; a second signal ends at once. Changes of the files are taken up by themselves and on SIGHUP. Nothing is served unless
/// everything named in the file is usable: "mantlet check FILE" tells without starting.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
}

pub(super) fn execute(Args { file }: Args) -> anyhow::Result<ExitCode> {
    let colors = std::io::stderr().is_terminal();
    let text = match Config::read_text(&file) {
        Ok(text) => text,
        Err(problems) => return Ok(refuse(&problems, colors)),
    };
    let (config, warnings) = match Config::parse(&file, &text) {
        Ok(parsed) => parsed,
        Err(problems) => return Ok(refuse(&problems, colors)),
    };
    start_logging(&config.log)?;
    app::harden();
    for warning in &warnings {
        tracing::warn!(file = %file.display(), remedy = warning.remedy, "{}", warning.message);
    }
    app::run(&file, config)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn refuse(problems: &Problems, colors: bool) -> ExitCode {
    eprint!("{}", problems.report(colors));
    eprintln!("{}", problems.verdict());
    ExitCode::from(exit_code::FAILED)
}
