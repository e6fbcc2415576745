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
    let texts = [markdown::text(record, &tables, PLOT), plot::svg(&tables)];
    for (file, text) in files.iter().zip(texts) {
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(files)
}
