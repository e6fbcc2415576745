//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::bench::Effort;
use crate::limits::open_files;
use crate::peers::{PEERS, Peer};
use crate::scenarios::{SCENARIOS, Scenario};

/// Connections of the scenarios that hold many, where that many files may be open.
const MANY_CONNECTIONS: usize = 5000;

/// Compare mantlet with other proxies on this machine
///
/// Starts client -> outbound proxy -> mutual TLS -> inbound proxy -> application for each of them, sees that each enforces
/// mutual TLS and its CRL, measures, and writes Markdown, JSON and a plot. Exits with 1 where anything failed.
#[derive(Debug, Parser)]
#[command(name = "compare", version, args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Peers to compare [default: all that are installed]
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = parse_peer)]
    pub(crate) peers: Vec<&'static Peer>,
    /// Scenarios to run [default: all but those on demand]
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = parse_scenario)]
    pub(crate) scenarios: Vec<&'static Scenario>,
    /// Times that each is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) reps: u8,
    /// Seconds of load in each measurement
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    pub(crate) seconds: u16,
    /// Threads of each proxy
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) workers: u8,
    /// Folder for the reports [default: compare in Cargo's target folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// See only that everything works: once, for a second, several at a time
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Leave the temporary folder, with keys, configurations and logs
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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

impl RunArgs {
    /// How much is to be done in each measurement.
    pub(crate) fn effort(&self) -> Effort {
        let files = usize::try_from(open_files()).unwrap_or(usize::MAX);
        let full = Effort {
            repetitions: self.reps.into(),
            seconds: self.seconds.into(),
            workers: self.workers.into(),
            // A tunnel has two files open for each, and other uses for more.
            connections: MANY_CONNECTIONS.min(files / 4),
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

    /// The scenarios that were named, or all but those on demand.
    pub(crate) fn scenarios(&self) -> Vec<&'static Scenario> {
        if self.scenarios.is_empty() {
            return SCENARIOS.iter().filter(|scenario| !scenario.on_demand).collect();
        }
        self.scenarios.clone()
    }
}
