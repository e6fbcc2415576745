//! The flea market: one request through real sidecars, and every attack on it.
//!
//! Without a subcommand it makes a closed PKI, starts `AdService` and `UserService` with a `mantlet` beside each, tells
//! what happens, and stops everything. The parts of the market are the same program under subcommands.

mod attacks;
mod client;
mod deployment;
mod events;
mod flow;
mod https;
mod issuer;
mod mantlet_binary;
mod market;
mod pki;
mod process;
mod report;
mod services;
mod sidecar;
mod store;
mod up;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};

use crate::market::Market;
use crate::report::{Story, Teller};
use crate::up::Signals;

/// Lines of each log that are shown when something went wrong.
const LINES_ON_FAILURE: usize = 8;

/// A flea market of two services, each behind a mantlet sidecar: one request through them, and every attack on it.
///
/// Exits with 0 when everything went as it should, and with 1 otherwise.
#[derive(Debug, Parser)]
#[command(name = "flea-market", version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(flatten)]
    story: StoryArgs,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, clap::Args)]
struct StoryArgs {
    /// Leave everything running after the attacks, with curl commands to try, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Print the result as JSON instead of the story
    #[arg(long)]
    json: bool,
    /// No colours, not even on a terminal
    #[arg(long)]
    no_color: bool,
    /// The mantlet program to run, instead of the one built from this workspace
    #[arg(long, value_name = "PATH")]
    mantlet: Option<PathBuf>,
}

/// What runs instead of the story: a part of the market by itself.
#[derive(Debug, Subcommand)]
enum Part {
    /// Start everything, and leave it running until Ctrl-C
    Up(up::UpArgs),
    /// Run `AdService`
    AdService(services::ads::AdServiceArgs),
    /// Run `UserService`
    UserService(services::ServiceArgs),
    /// Run the token issuer
    Issuer(issuer::IssuerArgs),
    /// Go through the eight steps of the flow on a flea market that runs already
    Flow(flow::FlowArgs),
    /// Print a token that must be refused
    #[command(hide = true)]
    Forge(issuer::forge::ForgeArgs),
    /// What the flea market in containers needs beside its services
    #[command(subcommand)]
    Deployment(deployment::Part),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = CommandLine::parse();
    let outcome = match arguments.part {
        Some(Part::Up(args)) => up::run(args).await.map(|()| true),
        Some(Part::AdService(args)) => services::ads::run(args).await.map(|()| true),
        Some(Part::UserService(args)) => services::users::run(args).await.map(|()| true),
        Some(Part::Issuer(args)) => issuer::run(args).await.map(|()| true),
        Some(Part::Flow(args)) => flow::run(args).await,
        Some(Part::Forge(args)) => issuer::forge::run(&args).map(|()| true),
        Some(Part::Deployment(part)) => deployment::run(part).await,
        None => tell_and_clean_up(arguments.story).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("flea-market: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The running flea market with its folder, after its story was told.
struct Told {
    market: Market,
    story: Story,
}

/// Tells the story and cleans up; the folder stays where the logs are needed to see what went wrong.
async fn tell_and_clean_up(args: StoryArgs) -> anyhow::Result<bool> {
    let teller = Teller::new(args.no_color, args.json);
    let mantlet = mantlet_binary::find_or_build(args.mantlet.clone()).await?;
    let folder = tempfile::Builder::new().prefix("flea-market-").tempdir()?;
    let mut signals = Signals::install()?;
    // A signal drops the story, and with it every process that it has started.
    let told = tokio::select! {
        told = tell(&teller, &mantlet, folder.path()) => told,
        name = signals.next() => bail!("stopped by {name}"),
    };
    let passed = match told {
        Ok(told) => told.finish(&args, &teller, &mut signals).await,
        Err(error) => Err(error),
    };
    if !matches!(passed, Ok(true)) {
        eprintln!("flea-market: the logs and the configuration are kept in {}", folder.keep().display());
    }
    passed
}

impl Told {
    /// Stops everything, after a signal where it is to be kept until then, and tells how it all went.
    async fn finish(mut self, args: &StoryArgs, teller: &Teller, signals: &mut Signals) -> anyhow::Result<bool> {
        if args.keep {
            self.conclude(args, teller)?;
            up::invite(&self.market, teller);
            signals.next().await;
        }
        self.story.bad_ends = self.market.stop().await;
        if !args.keep {
            self.conclude(args, teller)?;
        } else if !self.story.bad_ends.is_empty() {
            bail!("{}", self.story.bad_ends.join("; "));
        }
        Ok(self.story.passed)
    }

    fn conclude(&mut self, args: &StoryArgs, teller: &Teller) -> anyhow::Result<()> {
        let Self { market, story } = self;
        story.passed = story.problems().is_empty();
        if story.ended_by.is_none() {
            teller.summary(story);
        }
        if !story.passed {
            story.logs = Some(market.logs.clone());
            show_failure(market, teller, story);
        }
        if args.json { Teller::json(story) } else { Ok(()) }
    }
}

async fn tell(teller: &Teller, mantlet: &Path, folder: &Path) -> anyhow::Result<Told> {
    teller.heading("Setting up");
    let market = up::start(teller, mantlet, folder).await?;
    let mut story = Story::default();
    story.ended_by = tell_story(&market, teller, &mut story).await.err().map(|error| format!("{error:#}"));
    Ok(Told { market, story })
}

async fn tell_story(market: &Market, teller: &Teller, story: &mut Story) -> anyhow::Result<()> {
    teller.heading(flow::HEADING);
    flow::tell(&market.view()?, teller, story).await?;
    teller.heading("The attacks");
    attacks::tell(market, teller, story).await
}

fn show_failure(market: &Market, teller: &Teller, story: &Story) {
    teller.heading("What went wrong");
    for problem in story.problems() {
        teller.problem(&problem);
    }
    for process in market.processes() {
        teller.note(&format!("\n  the last lines of {} ({}):", process.name(), process.log().display()));
        for line in process.last_lines(LINES_ON_FAILURE) {
            teller.note(&format!("  {line}"));
        }
    }
}
