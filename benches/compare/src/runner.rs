//! The order of a run: first everybody proves to enforce, then each scenario goes round the subjects, once for each repetition.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use futures_util::stream::{self, StreamExt as _};

use crate::bench::Bench;
use crate::enforcement::{Verdict, judge};
use crate::figures::{Outcome, Record, Sample};
use crate::peers::Peer;
use crate::progress::{self, Progress};
use crate::scenarios::{Scenario, Subject};
use crate::statistics::number;

/// Measurements at once where figures do not count.
const SMOKE_AT_ONCE: usize = 10;

#[derive(Debug, Clone, Copy)]
struct Task {
    scenario: &'static Scenario,
    subject: Subject,
    repetition: usize,
}

/// Runs all of it into `record`, which is saved in `file` after each measurement.
pub(crate) async fn run(
    bench: &Bench,
    peers: &[&'static Peer],
    scenarios: &[&'static Scenario],
    record: &mut Record,
    file: &Path,
) -> anyhow::Result<()> {
    let at_once = if bench.effort.smoke { SMOKE_AT_ONCE } else { 1 };
    let peers = who_enforces(bench, peers, record, at_once).await;
    if peers.is_empty() {
        bail!("no peer is left to measure:\n  {}", record.problems().join("\n  "));
    }
    let tasks = plan(bench, &peers, scenarios);
    let mut progress = Progress::new(tasks.iter().map(|task| task.scenario.name), bench.effort.seconds);
    let measurements = tasks.into_iter().map(async |task| {
        if at_once == 1 {
            progress::now(&format!("{} of {} ...", task.scenario.name, task.subject.label()));
        }
        let start = Instant::now();
        let outcome = match task.scenario.measure(bench, task.subject).await {
            Ok(figures) => Outcome::Figures(figures),
            Err(error) => Outcome::Error(format!("{error:#}")),
        };
        (task, outcome, start.elapsed())
    });
    let mut measurements = stream::iter(measurements).buffer_unordered(at_once);
    while let Some((task, outcome, elapsed)) = measurements.next().await {
        let left = progress.done(task.scenario.name, elapsed, at_once);
        progress::line(&format!("{} {}, {left}", progress.place(), task.describe(&outcome)));
        record.samples.push(Sample {
            scenario: task.scenario.name.to_owned(),
            subject: task.subject.label(),
            repetition: task.repetition,
            outcome,
        });
        record.save(file)?;
    }
    // Those that ran at once ended in any order.
    record.samples.sort_by_key(|sample| scenarios.iter().position(|scenario| scenario.name == sample.scenario));
    record.save(file)
}

async fn who_enforces(
    bench: &Bench,
    peers: &[&'static Peer],
    record: &mut Record,
    at_once: usize,
) -> Vec<&'static Peer> {
    let trials = peers.iter().map(async |peer| (*peer, judge(bench, peer).await));
    let mut trials = stream::iter(trials).buffered(at_once);
    let mut good = Vec::new();
    while let Some((peer, verdict)) = trials.next().await {
        match &verdict {
            Verdict::Enforces(_) => {
                eprintln!("{} enforces mutual TLS", peer.name);
                good.push(peer);
            }
            Verdict::Broken(problem) => eprintln!("{} DOES NOT ENFORCE and is not measured: {problem}", peer.name),
        }
        record.enforcement.insert(peer.name.to_owned(), verdict);
    }
    good
}

/// Interleaved, so that a machine that changes its pace changes it for all.
fn plan(bench: &Bench, peers: &[&'static Peer], scenarios: &[&'static Scenario]) -> Vec<Task> {
    let mut tasks = Vec::new();
    for scenario in scenarios {
        let subjects = scenario.subjects(peers, &bench.effort);
        for repetition in 0..bench.effort.repetitions {
            tasks.extend(subjects.iter().map(|subject| Task { scenario, subject: *subject, repetition }));
        }
    }
    tasks
}

impl Task {
    fn describe(&self, outcome: &Outcome) -> String {
        let result = match outcome {
            Outcome::Error(error) => format!("FAILED: {error}"),
            Outcome::Figures(figures) => {
                let told = self.scenario.columns.iter().filter_map(|column| {
                    let value = number(*figures.get(column.figure)?, column.decimals);
                    Some(format!("{value} {}", column.heading))
                });
                told.take(2).collect::<Vec<_>>().join(", ")
            }
        };
        format!("{} {} of {}: {result}", self.scenario.name, self.repetition + 1, self.subject.label())
    }
}
