//! The samples of each scenario as rows of summaries, and how mantlet's compares.

use crate::figures::{Figures, Outcome, Record, Sample};
use crate::peers::{Layer, Peer, Product};
use crate::scenarios::{DIRECT, SCENARIOS, Scenario, add_difference};
use crate::statistics::Summary;

/// A scenario that was run.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) scenario: &'static Scenario,
    pub(super) rows: Vec<Row>,
}

/// All samples of one subject.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) subject: String,
    /// One for each column of the scenario; nothing where the subject has no such figure.
    pub(super) cells: Vec<Option<Summary>>,
    pub(super) failed: usize,
}

/// The tables of all scenarios of which there are samples.
pub(super) fn tables(record: &Record) -> Vec<Table> {
    let tables = SCENARIOS.iter().map(|scenario| Table { scenario, rows: rows(record, scenario) });
    tables.filter(|table| !table.rows.is_empty()).collect()
}

impl Table {
    /// The median of the main figure of `subject`.
    pub(super) fn main(&self, subject: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.subject == subject)?.main()
    }

    /// The best of the other products that look at the same `layer`, with its main figure.
    pub(super) fn best_other(&self, layer: Layer) -> Option<(&str, f64)> {
        let others = self.rows.iter().filter(|row| {
            Peer::named(&row.subject).is_some_and(|peer| peer.layer == layer && peer.product != Product::Mantlet)
        });
        others
            .filter_map(|row| Some((row.subject.as_str(), row.main()?)))
            .min_by(|one, other| one.1.total_cmp(&other.1))
    }

    /// What ratios are told to: the best other full peer or, where mantlet is alone, its first row.
    pub(super) fn reference(&self) -> Option<f64> {
        let reference = match self.best_other(Layer::Http) {
            Some((_, best)) => best,
            None => self.rows.first()?.main()?,
        };
        (reference > 0.0).then_some(reference)
    }
}

impl Row {
    /// The median of the main figure.
    pub(super) fn main(&self) -> Option<f64> {
        Some(self.cells.first()?.as_ref()?.median)
    }
}

fn rows(record: &Record, scenario: &'static Scenario) -> Vec<Row> {
    let samples: Vec<_> = record.samples.iter().filter(|sample| sample.scenario == scenario.name).collect();
    let mut subjects: Vec<&str> = Vec::new();
    for sample in &samples {
        if !subjects.contains(&sample.subject.as_str()) {
            subjects.push(&sample.subject);
        }
    }
    // In the order of the peers, whoever came first; those that are no peers stay as they are.
    subjects.sort_by_key(|subject| crate::peers::PEERS.iter().position(|peer| peer.name == *subject));
    subjects.into_iter().map(|subject| row(&samples, scenario, subject)).collect()
}

fn row(samples: &[&Sample], scenario: &Scenario, subject: &str) -> Row {
    let own = samples.iter().filter(|sample| sample.subject == subject);
    let measured: Vec<_> = own.clone().filter_map(|sample| with_difference(sample, samples)).collect();
    let cells = scenario
        .columns
        .iter()
        .map(|column| Summary::of(measured.iter().filter_map(|figures| figures.get(column.figure).copied())));
    Row { subject: subject.to_owned(), cells: cells.collect(), failed: own.count() - measured.len() }
}

/// The figures of `sample`, with what they are beyond those of the same repetition without a proxy.
fn with_difference(sample: &Sample, samples: &[&Sample]) -> Option<Figures> {
    let Outcome::Figures(figures) = &sample.outcome else { return None };
    let mut figures = figures.clone();
    let direct = samples.iter().find(|other| other.subject == DIRECT && other.repetition == sample.repetition);
    if sample.subject != DIRECT
        && let Some(Outcome::Figures(direct)) = direct.map(|direct| &direct.outcome)
    {
        add_difference(&mut figures, direct);
    }
    Some(figures)
}
