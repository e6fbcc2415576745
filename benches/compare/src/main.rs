//! mantlet side by side with the proxies that people use: the same job, the same load, on one machine.
//!
//! Everything listens on 127.0.0.0/8 and in temporary folders; whatever was started is ended, also at Ctrl-C.

mod authority;
mod backend;
mod bench;
mod chain;
mod command_line;
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
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow, bail};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::bench::Bench;
use crate::command_line::{Command, CommandLine, RunArgs};
use crate::figures::Record;
use crate::machine::Machine;
use crate::peers::{PEERS, ZTUNNEL_LEFT_OUT};
use crate::programs::{Programs, product_path, target_folder};
use crate::scenarios::SCENARIOS;

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
    println!("peers");
    for peer in &PEERS {
        let state = match product_path(peer.product)? {
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
        _ = interrupt.recv() => Err(anyhow!("stopped by Ctrl-C")),
        _ = terminate.recv() => Err(anyhow!("stopped by SIGTERM")),
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
