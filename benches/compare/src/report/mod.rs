//! What is told of a run: Markdown for people, a plot for a glance, JSON with every sample for everything else.

mod markdown;
mod plot;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::figures::Record;

/// The file of the samples.
pub(crate) const JSON: &str = "comparison.json";
const MARKDOWN: &str = "comparison.md";
const PLOT: &str = "comparison.svg";

/// Writes the Markdown and the plot of `record` into `folder`, and gives their names.
pub(crate) fn write(record: &Record, folder: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let tables = table::tables(record);
    let files = [folder.join(MARKDOWN), folder.join(PLOT)];
    let texts = [markdown::text(record, &tables, PLOT), plot::svg(&tables, record.effort.smoke)];
    for (file, text) in files.iter().zip(texts) {
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// One scenario: mantlet takes 2 s and then 4 s, `HAProxy` 2 s, nginx fails once.
    fn record() -> Record {
        let sample = |subject: &str, repetition: usize, cpu: f64| json!({ "scenario": "h1_rps", "subject": subject, "repetition": repetition, "figures": { "cpu": cpu } });
        let failure = json!({ "scenario": "h1_rps", "subject": "nginx", "repetition": 0, "error": "it | broke" });
        let record = json!({
            "started": "2026-01-01T00:00:00Z",
            "machine": {
                "processor": "a", "cores": 2, "memory_gib": 8.0, "kernel": "6", "distribution": "d", "load_before": "0.1 0 0",
            },
            "effort": {
                "repetitions": 2, "seconds": 5, "workers": 2, "connections": 10, "scale": 10, "rest_seconds": 1, "smoke": false,
            },
            "versions": {},
            "left_out": ["envoy: not installed"],
            "enforcement": { "haproxy": { "enforces": { "revoked client": "alert: CertificateRevoked" } } },
            "samples": [
                sample("haproxy", 0, 2.0), sample("mantlet", 0, 2.0), failure, sample("mantlet", 1, 4.0),
                sample("stunnel", 0, 1.0),
            ],
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn ratios_are_of_medians_to_the_best_other_full_proxy() {
        let text = markdown::text(&record(), &table::tables(&record()), "plot.svg");
        for line in [
            "| h1_rps | CPU-s per 100k requests | 3.00 | 2.00 (haproxy) | **1.50** | – | 1.00 (stunnel) | – |\n",
            "| mantlet | **3.00 (2.00–4.00)** | 1.50 |",
            "| nginx (1 failed) | – | – |",
            "| haproxy | – | – | alert: CertificateRevoked |",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_failure_is_a_problem() {
        assert_eq!(record().problems(), ["h1_rps of nginx: it | broke"]);
    }

    #[test]
    fn the_plot_has_a_bar_and_marks_of_full_proxies_alone() {
        let svg = plot::svg(&table::tables(&record()), false);
        assert!(svg.contains("1.50×</text>") && svg.contains("class=\"worse\""), "{svg}");
        assert_eq!(svg.matches("<title>haproxy</title>").count(), 2, "once in the legend and once in the row");
        assert!(!svg.contains("<title>stunnel</title>"));
    }

    #[test]
    fn a_record_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(JSON);
        record().save(&file).unwrap();
        assert_eq!(Record::load(&file).unwrap().samples.len(), record().samples.len());
    }
}
