//! The report in Markdown: a summary short enough for a page of documentation, then everything.

use std::collections::BTreeMap;

use super::table::{Row, Table};
use crate::enforcement::{Verdict, refused};
use crate::figures::Record;
use crate::peers::Layer;
use crate::statistics::number;

const NOTHING: &str = "–";

pub(super) fn text(record: &Record, tables: &[Table], plot: &str) -> String {
    let parts = [
        "# mantlet beside other proxies\n".to_owned(),
        circumstances(record),
        warning(record),
        summary(tables),
        format!("![Ratios of mantlet to the best other proxy]({plot})\n"),
        tables.iter().map(details).collect::<Vec<_>>().join("\n"),
        enforcement(&record.enforcement),
        list("Programs", record.versions.iter().map(|(name, version)| format!("{name}: {version}"))),
        list("Left out", record.left_out.iter().cloned()),
        list("Problems", record.problems().into_iter()),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

fn circumstances(record: &Record) -> String {
    let (machine, effort) = (&record.machine, &record.effort);
    format!(
        "client → outbound proxy → mutual TLS → inbound proxy → application, both proxies of the same product, all on one \
         machine: {cores} cores of {processor}, {memory:.0} GiB, {distribution}, Linux {kernel}, load before {load}. \
         Samples of {seconds} s from {started}, {repetitions} of each, interleaved; {workers} workers in each proxy, \
         {connections} connections in idle and burst. Tables show median (least–most). **Less is better** in each main \
         figure, and ratios are to the best other full proxy, which parses and authorizes requests as mantlet does. CPU is \
         that of both proxies together.\n",
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
    )
}

fn warning(record: &Record) -> String {
    if record.effort.smoke {
        "**A smoke run: several measurements ran at once, and no figure means anything.**\n".to_owned()
    } else if record.machine.was_busy() {
        "**The machine was busy before the run began: what else ran is in these figures.**\n".to_owned()
    } else {
        String::new()
    }
}

/// One line for each scenario: mantlet and the best other, among full proxies and among byte tunnels.
fn summary(tables: &[Table]) -> String {
    let headings = [
        "scenario",
        "main figure",
        "mantlet",
        "best other full proxy",
        "ratio",
        "mantlet-tcp",
        "best other tunnel",
        "ratio",
    ];
    let compared = tables.iter().filter(|table| table.main("mantlet").is_some());
    let lines: String = compared.map(summary_line).collect();
    head(headings.map(str::to_owned), 2) + &lines
}

fn summary_line(table: &Table) -> String {
    let names = [table.scenario.name, table.scenario.main].map(str::to_owned);
    let full = comparison(table, "mantlet", Layer::Http);
    let tunnel = comparison(table, "mantlet-tcp", Layer::Tcp);
    line(names.into_iter().chain(full).chain(tunnel))
}

/// Our figure, that of the best other and whose it is, and the ratio.
fn comparison(table: &Table, ours: &str, layer: Layer) -> [String; 3] {
    let decimals = table.scenario.columns[0].decimals;
    let own = table.main(ours);
    let best = table.best_other(layer);
    let known = own.zip(best).filter(|(_, (_, best))| *best > 0.0);
    let ratio = known.map(|(own, (_, best))| format!("**{:.2}**", own / best));
    let best = best.map(|(name, value)| format!("{} ({name})", number(value, decimals)));
    [own.map(|value| number(value, decimals)), best, ratio].map(|cell| cell.unwrap_or_else(|| NOTHING.to_owned()))
}

fn details(table: &Table) -> String {
    let scenario = table.scenario;
    let mut headings = scenario.columns.iter().map(|column| column.heading.to_owned());
    let main = format!("**{}**", headings.next().unwrap_or_default());
    let headings = [String::new(), main, "ratio".to_owned()].into_iter().chain(headings);
    let lines: String = table.rows.iter().map(|row| detail_line(table, row)).collect();
    format!("## {}\n\n{}.\n\n{}{lines}", scenario.name, first_upper(scenario.what), head(headings, 1))
}

fn detail_line(table: &Table, row: &Row) -> String {
    let columns = table.scenario.columns.iter().zip(&row.cells);
    let mut cells = columns.map(|(column, cell)| cell.as_ref().map(|summary| summary.show(column.decimals)));
    let main = cells.next().flatten().map(|main| format!("**{main}**"));
    let ratio = row.main().zip(table.reference()).map(|(value, reference)| format!("{:.2}", value / reference));
    let failed = if row.failed == 0 { String::new() } else { format!(" ({} failed)", row.failed) };
    let name = format!("{}{failed}", row.subject);
    let cells = [Some(name), main, ratio].into_iter().chain(cells);
    line(cells.map(|cell| cell.unwrap_or_else(|| NOTHING.to_owned())))
}

fn enforcement(verdicts: &BTreeMap<String, Verdict>) -> String {
    let headings = [""].into_iter().chain(refused()).map(str::to_owned);
    let lines: String = verdicts.iter().map(|(peer, verdict)| verdict_line(peer, verdict)).collect();
    format!(
        "## Enforcement\n\nWhat became of those who must be refused, before anything was measured: clients at the inbound \
         proxy, servers behind the outbound one. Each peer also let the good client in, before and after these, and sent the \
         right server its request.\n\n{}{lines}",
        head(headings, 1 + refused().count()),
    )
}

fn verdict_line(peer: &str, verdict: &Verdict) -> String {
    let cells = match verdict {
        Verdict::Broken(problem) => vec![format!("**does not enforce**: {problem}")],
        Verdict::Enforces(refusals) => {
            refused().map(|who| refusals.get(who).map_or(NOTHING, String::as_str).to_owned()).collect()
        }
    };
    line([peer.to_owned()].into_iter().chain(cells))
}

fn list(title: &str, lines: impl ExactSizeIterator<Item = String>) -> String {
    if lines.len() == 0 {
        return String::new();
    }
    let lines: Vec<_> = lines.collect();
    format!("## {title}\n\n- {}\n", lines.join("\n- "))
}

/// The headings of a table, whose first `texts` columns are texts and all others numbers.
fn head(headings: impl IntoIterator<Item = String>, texts: usize) -> String {
    let headings: Vec<_> = headings.into_iter().collect();
    let rules = (0..headings.len()).map(|column| if column < texts { "---" } else { "---:" }.to_owned());
    let rules = line(rules);
    line(headings) + &rules
}

fn line(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<_> = cells.into_iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn first_upper(text: &str) -> String {
    // Names of programs stay as they are written.
    if text.starts_with("wrk") || text.starts_with("h2load") {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
