//! `mantlet crl fetch`: asks the sources of a configuration once, as a sidecar would.

mod dry_run;
mod outcome;
mod progress;

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use crate::cli::exit_code;
use crate::cli::output::{print, print_json, unusable};
use crate::config::{Config, Problems, Revocation};
use crate::revocation::Engine;
use crate::x509::{MaterialProblem, MaterialSources, TrustMaterial};

use super::{problem_text, runtime};
use dry_run::DryRun;
use progress::Progress;

/// Ask every source of CRLs that a configuration names, once
///
/// Reads the files and folders and fetches from the addresses of the configuration and, where it says so, from the distribution
/// points that our own certificate names, as a sidecar would, and prints what each gave. Nothing is written: the cache is neither
/// read nor made, but the output says under which name each CRL would be kept there. Exit code 0 if every source is good and our
/// own certificate is found good, 1 otherwise, 2 when the configuration cannot be used.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet crl fetch config/gateway.toml
  mantlet crl fetch config/gateway.toml --json | jq -r '.sources[] | select(.ok | not) | .source + \": \" + .error'")]
pub(super) struct Args {
    /// The configuration file
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&args.file) {
        Ok((config, _)) => config,
        Err(problems) => return Ok(refuse(&problems)),
    };
    let Some(settings) = &config.revocation else {
        let file = args.file.display();
        return Ok(unusable(&[format!(
            "{file}: has no [revocation], so nothing is checked and nothing is fetched; expected [revocation] with sources, such \
             as sources = [\"certs/ca.crl\"]"
        )]));
    };
    if let Some(agent) = config.identity.workload_api().filter(|_| config.trust.anchors.is_empty()) {
        let (file, endpoint) = (args.file.display(), &agent.endpoint.value);
        return Ok(unusable(&[format!(
            "{file}: the trust anchors, by which CRLs are verified, are given by {endpoint}, which this command does not ask; \
             name files in trust.anchors, or look at \"mantlet status\" of the running sidecar"
        )]));
    }
    let now = SystemTime::now();
    let (engine, lists) = Engine::new();
    let (material, notes) = match TrustMaterial::load_at(&MaterialSources::from(&config), &lists, now) {
        Ok(loaded) => loaded,
        Err(unusable_material) => return Ok(refuse_material(&unusable_material.problems)),
    };
    for note in &notes {
        eprintln!("mantlet: note: {}", problem_text(note));
    }
    let runtime = runtime()?;
    let progress = Progress::new(stderr().is_terminal());
    let ran = runtime.block_on(DryRun::run(engine, without_cache(settings), &material, progress, now));
    // A name server that does not answer holds up nobody.
    runtime.shutdown_background();
    let dry_run = match ran {
        Ok(dry_run) => dry_run,
        Err(problems) => return Ok(refuse_material(&problems)),
    };
    let outcome = outcome::Outcome { file: &args.file, settings, dry_run, now };
    if args.json {
        print_json(&outcome.to_json())?;
    } else {
        print(&outcome.to_text())?;
    }
    Ok(if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::from(exit_code::FAILED) })
}

/// The same sources, and nothing that is written.
fn without_cache(settings: &Revocation) -> Revocation {
    Revocation { cache_dir: None, ..settings.clone() }
}

fn refuse(problems: &Problems) -> ExitCode {
    eprint!("{}", problems.report(stderr().is_terminal()));
    unusable(&[problems.verdict()])
}

fn refuse_material(problems: &[MaterialProblem]) -> ExitCode {
    let fatal = problems.iter().filter(|problem| problem.fatal);
    unusable(&fatal.map(problem_text).collect::<Vec<_>>())
}
