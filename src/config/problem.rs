//! What is wrong with a configuration file, where, and what to do about it.

use std::ops::Range;
use std::path::PathBuf;

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; the file is usable.
    Warning,
    /// The file cannot be used.
    Error,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// The bytes of the file that are at fault; absent where no place is.
    pub span: Option<Range<usize>>,
    /// The thing, the value and what was expected.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Every problem of one file, in the order of their places, with the text that they point into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub path: PathBuf,
    /// Its text; empty where it could not be read.
    pub text: String,
    /// The problems; never empty.
    pub list: Vec<Problem>,
}
