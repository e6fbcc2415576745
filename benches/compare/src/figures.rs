//! What a run leaves: samples with named figures, and all that is needed to judge them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::bench::Effort;
use crate::enforcement::Verdict;
use crate::machine::Machine;

/// Named figures of one measurement.
pub(crate) type Figures = BTreeMap<String, f64>;

/// One measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) scenario: String,
    /// The peer, with what was special about it; the row of a table.
    pub(crate) subject: String,
    pub(crate) repetition: usize,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// How a measurement ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Figures(Figures),
    Error(String),
}

/// A whole run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) started: String,
    pub(crate) machine: Machine,
    pub(crate) effort: Effort,
    /// The version of each program.
    pub(crate) versions: BTreeMap<String, String>,
    /// What was not compared, and why.
    pub(crate) left_out: Vec<String>,
    /// For each peer whether, and how, it refuses whom it must refuse.
    pub(crate) enforcement: BTreeMap<String, Verdict>,
    pub(crate) samples: Vec<Sample>,
}

impl Record {
    /// Reads what `save` wrote.
    pub(crate) fn load(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no record of a comparison", file.display()))
    }

    pub(crate) fn save(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Everything that went wrong, a line for each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let verdicts = self.enforcement.iter().filter_map(|(peer, verdict)| match verdict {
            Verdict::Broken(problem) => Some(format!("{peer} does not enforce: {problem}")),
            Verdict::Enforces(_) => None,
        });
        let samples = self.samples.iter().filter_map(|sample| match &sample.outcome {
            Outcome::Error(error) => Some(format!("{} of {}: {error}", sample.scenario, sample.subject)),
            Outcome::Figures(_) => None,
        });
        verdicts.chain(samples).collect()
    }
}
