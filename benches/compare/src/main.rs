//! mantlet side by side with the proxies that people use: the same job, the same load, on one machine.
//!
//! Everything listens on 127.0.0.0/8 and in temporary folders; whatever was started is ended, also at Ctrl-C.

mod backend;
mod bench;
mod chain;
mod enforcement;
mod figures;
mod limits;
mod load;
mod machine;
mod peers;
mod pki;
mod ports;
mod process;
mod programs;
mod progress;
mod report;
mod runner;
mod scenarios;
mod statistics;
mod usage;
mod wait;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::bench::{Bench, Effort};
use crate::figures::Record;
use crate::machine::Machine;
use crate::peers::{PEERS, Peer, ZTUNNEL_LEFT_OUT};
use crate::programs::{Programs, target_folder};
use crate::scenarios::{SCENARIOS, Scenario};

/// Compare mantlet with other proxies on this machine
///
/// Starts client -> outbound proxy -> mutual TLS -> inbound proxy -> application for each of them, sees that each enforces
/// mutual TLS and its CRL, measures, and writes Markdown, JSON and a plot. Exits with 1 where anything failed.
#[derive(Debug, Parser)]
#[command(name = "compare", version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Peers to compare [default: all that are installed]
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = parse_peer)]
    peers: Vec<&'static Peer>,
    /// Scenarios to run [default: all but those on demand]
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = parse_scenario)]
    scenarios: Vec<&'static Scenario>,
    /// Times that each is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    reps: u8,
    /// Seconds of load in each measurement
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Threads of each proxy
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    workers: u8,
    /// Folder for the reports [default: compare in Cargo's target folder]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// See only that everything works: once, for a second, several at a time
    #[arg(long)]
    smoke: bool,
    /// Leave the temporary folder, with keys, configurations and logs
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the reports of an earlier run again
    Report {
        /// What the run left, comparison.json
        file: PathBuf,
    },
    /// Show peers and scenarios
    List,
}

fn parse_peer(name: &str) -> Result<&'static Peer, String> {
    Peer::named(name).ok_or_else(|| format!("expected one of {}", PEERS.each_ref().map(|peer| peer.name).join(", ")))
}

fn parse_scenario(name: &str) -> Result<&'static Scenario, String> {
    let names = || SCENARIOS.each_ref().map(|scenario| scenario.name).join(", ");
    Scenario::named(name).ok_or_else(|| format!("expected one of {}", names()))
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match CommandLine::parse() {
        CommandLine { command: Some(Command::List), .. } => list().map(|()| true),
        CommandLine { command: Some(Command::Report { file }), .. } => report_again(&file).map(|()| true),
        CommandLine { run, .. } => run_or_stop(run).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> anyhow::Result<()> {
    let programs = Programs::find(&PEERS.each_ref())?;
    println!("peers");
    for peer in &PEERS {
        let state = match programs.product(peer.product) {
            Some(path) => path.display().to_string(),
            None => format!("missing: {}", peer.product.how_to_install()),
        };
        println!("  {:<14} {state}", peer.name);
    }
    println!("scenarios");
    for scenario in &SCENARIOS {
        let on_demand = if scenario.on_demand { " (only when named)" } else { "" };
        println!("  {:<14} {}{on_demand}", scenario.name, scenario.what);
    }
    Ok(())
}

fn report_again(file: &Path) -> anyhow::Result<()> {
    let record = Record::load(file)?;
    let written = report::write(&record, file.parent().unwrap_or(Path::new(".")))?;
    println!("wrote {} and {}", written[0].display(), written[1].display());
    Ok(())
}

/// Runs until the end or a signal. Dropping the run is what ends its processes.
async fn run_or_stop(arguments: RunArgs) -> anyhow::Result<bool> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let folder = tempfile::Builder::new().prefix("mantlet-compare-").tempdir()?;
    let folder_path = folder.path().to_owned();
    let folder = if arguments.keep { Err(folder.keep()) } else { Ok(folder) };
    let outcome = tokio::select! {
        outcome = run(arguments, &folder_path) => outcome,
        _ = interrupt.recv() => Err(anyhow::anyhow!("stopped by Ctrl-C")),
        _ = terminate.recv() => Err(anyhow::anyhow!("stopped by SIGTERM")),
    };
    match folder {
        Ok(folder) => folder.close().context("the temporary folder cannot be removed")?,
        Err(kept) => eprintln!("kept {}", kept.display()),
    }
    outcome
}

async fn run(arguments: RunArgs, folder: &Path) -> anyhow::Result<bool> {
    limits::raise_open_files()?;
    let machine = Machine::look();
    if machine.was_busy() && !arguments.smoke {
        eprintln!("the machine is busy (load {}): figures will be noise", machine.load_before);
    }
    let asked_for = if arguments.peers.is_empty() { PEERS.iter().collect() } else { arguments.peers.clone() };
    let programs = Programs::find(&asked_for)?;
    let (peers, missing): (Vec<_>, Vec<_>) =
        asked_for.into_iter().partition(|peer| programs.product(peer.product).is_some());
    let missing = missing.iter().map(|peer| format!("{}: not installed; {}", peer.name, peer.product.how_to_install()));
    let left_out: Vec<_> = missing.chain([ZTUNNEL_LEFT_OUT.to_owned()]).collect();
    if peers.is_empty() {
        bail!("no peer can be compared:\n  {}", left_out.join("\n  "));
    }
    let output = match &arguments.output {
        Some(output) => output.clone(),
        None => target_folder()?.join("compare"),
    };
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;

    let mut record = Record {
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        machine,
        effort: arguments.effort(),
        versions: programs.versions(),
        left_out,
        enforcement: BTreeMap::new(),
        samples: Vec::new(),
    };
    let bench = Bench::prepare(record.effort, programs, folder).await?;
    let json = output.join(report::JSON);
    runner::run(&bench, &peers, &arguments.scenarios(), &mut record, &json).await?;
    let written = report::write(&record, &output)?;
    println!("wrote {}, {} and {}", written[0].display(), written[1].display(), json.display());
    let problems = record.problems();
    for problem in &problems {
        eprintln!("PROBLEM: {problem}");
    }
    Ok(problems.is_empty())
}

impl RunArgs {
    fn effort(&self) -> Effort {
        let full = Effort {
            repetitions: self.reps.into(),
            seconds: self.seconds.into(),
            workers: self.workers.into(),
            connections: 5000,
            scale: 1000,
            rest_seconds: 10,
            smoke: false,
        };
        if self.smoke {
            Effort { repetitions: 1, seconds: 1, connections: 64, scale: 100, rest_seconds: 1, smoke: true, ..full }
        } else {
            full
        }
    }

    fn scenarios(&self) -> Vec<&'static Scenario> {
        if self.scenarios.is_empty() {
            return SCENARIOS.iter().filter(|scenario| !scenario.on_demand).collect();
        }
        self.scenarios.clone()
    }
}
