//! The report in Markdown: a summary short enough for a page of documentation, then everything.

use std::collections::BTreeMap;

use super::table::{Row, Table};
use crate::enforcement::Verdict;
use crate::figures::Record;
use crate::peers::Layer;
use crate::statistics::number;

const NOTHING: &str = "–";

pub(super) fn text(record: &Record, tables: &[Table], plot: &str) -> String {
    let mut text = "# mantlet beside other proxies\n\n".to_owned();
    text += &circumstances(record);
    text += &format!("\n{}\n![Ratios of mantlet to the best other proxy]({plot})\n", summary(tables));
    for table in tables {
        text += &details(table);
    }
    text += &enforcement(&record.enforcement);
    text += &list("Programs", record.versions.iter().map(|(name, version)| format!("{name}: {version}")));
    text += &list("Left out", record.left_out.iter().cloned());
    text += &list("Problems", record.problems().into_iter());
    text
}

fn circumstances(record: &Record) -> String {
    let (machine, effort) = (&record.machine, &record.effort);
    let mut text = format!(
        "client → outbound proxy → mutual TLS → inbound proxy → application, both proxies of the same product, all on one \
         machine: {cores} cores of {processor}, {memory:.0} GiB, {distribution}, Linux {kernel}, load before {load}. \
         {repetitions} interleaved repetitions of {seconds} s from {started}; {workers} workers in each proxy, \
         {connections} connections in idle and burst. Tables show median (least–most); **less is better** in each main \
         figure; CPU is that of both proxies together.\n",
        cores = machine.cores,
        processor = machine.processor,
        memory = machine.memory_gib,
        distribution = machine.distribution,
        kernel = machine.kernel,
        load = machine.load_before,
        repetitions = effort.repetitions,
        seconds = effort.seconds,
        started = record.started,
        workers = effort.workers,
        connections = effort.connections,
    );
    if effort.smoke {
        text += "\n**A smoke run: several measurements ran at once, and no figure means anything.**\n";
    } else if machine.was_busy() {
        text += "\n**The machine was busy before the run began: what else ran is in these figures.**\n";
    }
    text
}

/// One line for each scenario: mantlet and the best other, among full proxies and among byte tunnels.
fn summary(tables: &[Table]) -> String {
    let mut text = "| scenario | main figure | mantlet | best other full proxy | ratio | mantlet-tcp | best other tunnel | ratio |\n\
         |---|---|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for table in tables.iter().filter(|table| table.main("mantlet").is_some()) {
        let full = comparison(table, "mantlet", Layer::Http);
        let tunnel = comparison(table, "mantlet-tcp", Layer::Tcp);
        text += &format!("| {} | {} | {full} | {tunnel} |\n", table.scenario.name, table.scenario.main);
    }
    text
}

/// Three cells.
fn comparison(table: &Table, ours: &str, layer: Layer) -> String {
    let decimals = table.scenario.columns[0].decimals;
    let own = table.main(ours);
    let best = table.best_other(layer);
    let show = |value: f64| number(value, decimals);
    let ratio = own.zip(best).filter(|(_, (_, best))| *best > 0.0).map(|(own, (_, best))| format!("**{:.2}**", own / best));
    let best = best.map(|(name, value)| format!("{} ({name})", show(value)));
    [own.map(show), best, ratio].map(|cell| cell.unwrap_or_else(|| NOTHING.to_owned())).join(" | ")
}

fn details(table: &Table) -> String {
    let scenario = table.scenario;
    let mut text = format!("\n## {}\n\n{}.\n\n| |", scenario.name, first_upper(scenario.what));
    for (number, column) in scenario.columns.iter().enumerate() {
        text += &if number == 0 { format!(" **{}** | ratio |", column.heading) } else { format!(" {} |", column.heading) };
    }
    text += &format!("\n|---|{}\n", "---:|".repeat(scenario.columns.len() + 1));
    for row in &table.rows {
        text += &line(table, row);
    }
    text
}

fn line(table: &Table, row: &Row) -> String {
    let mut cells = table.scenario.columns.iter().zip(&row.cells).map(|(column, cell)| {
        cell.map_or_else(|| NOTHING.to_owned(), |summary| summary.show(column.decimals))
    });
    let main = cells.next().unwrap_or_default();
    let main = if main == NOTHING { main } else { format!("**{main}**") };
    let ratio = row.main().zip(table.reference()).map(|(value, reference)| format!("{:.2}", value / reference));
    let ratio = ratio.unwrap_or_else(|| NOTHING.to_owned());
    let failed = if row.failed == 0 { String::new() } else { format!(" ({} failed)", row.failed) };
    let rest: String = cells.map(|cell| format!(" {cell} |")).collect();
    format!("| {}{failed} | {main} | {ratio} |{rest}\n", row.subject)
}

fn enforcement(verdicts: &BTreeMap<String, Verdict>) -> String {
    let mut text = "\n## Enforcement\n\nWhat became of each that tried, before anything was measured.\n\n".to_owned();
    for (peer, verdict) in verdicts {
        text += &match verdict {
            Verdict::Broken(problem) => format!("- **{peer} does not enforce**: {problem}\n"),
            Verdict::Enforces(tried) => {
                let tried: Vec<_> = tried.iter().map(|(who, what)| format!("{who}: {what}")).collect();
                format!("- **{peer}**: {}\n", tried.join("; "))
            }
        };
    }
    text
}

fn list(title: &str, lines: impl ExactSizeIterator<Item = String>) -> String {
    if lines.len() == 0 {
        return String::new();
    }
    let lines: String = lines.map(|line| format!("- {line}\n")).collect();
    format!("\n## {title}\n\n{lines}")
}

fn first_upper(text: &str) -> String {
    // Names of programs stay as they are written.
    if text.starts_with("wrk") || text.starts_with("h2load") {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
