//! What is wrong with a configuration file, where, and what to do about it.

use std::fmt;
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
///
/// Displayed it is one compact line a problem: `FILE:LINE:COLUMN: MESSAGE; REMEDY`. See [`Problems::report`] for the form
/// that shows the text at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub path: PathBuf,
    /// Its text; empty where it could not be read.
    pub text: String,
    /// The problems; never empty in an `Err`.
    pub list: Vec<Problem>,
}

/// The place of a span for people: lines and columns count from 1, columns in characters, the end is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line of the first character.
    pub line: usize,
    /// Its column.
    pub column: usize,
    /// The line of the first character after the span.
    pub end_line: usize,
    /// Its column.
    pub end_column: usize,
}

impl Severity {
    /// `error` or `warning`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Problem {
    /// An error at a place.
    pub fn error(span: Option<Range<usize>>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span, message: message.into(), remedy: remedy.into() }
    }

    /// A warning at a place.
    pub fn warning(span: Option<Range<usize>>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, span, message: message.into(), remedy: remedy.into() }
    }
}

impl Problems {
    /// Brings the problems into the order of their places; those without one come first.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| {
            (problem.span.as_ref().map(|span| (span.start, span.end)), std::cmp::Reverse(problem.severity))
        });
        Self { path: path.into(), text: text.into(), list }
    }

    /// How many problems prevent use.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// How many do not.
    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// Where a problem of this file is, for people.
    pub fn position(&self, problem: &Problem) -> Option<Position> {
        let span = problem.span.as_ref()?;
        let (line, column) = self.line_and_column(span.start);
        let (end_line, end_column) = self.line_and_column(span.end);
        Some(Position { line, column, end_line, end_column })
    }

    /// The text at fault.
    pub fn text_of(&self, problem: &Problem) -> Option<&str> {
        self.text.get(problem.span.clone()?)
    }

    fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let boundary = (0..=offset.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at));
        let before = &self.text[..boundary.unwrap_or_default()];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.path.display())?;
            if let Some(Position { line, column, .. }) = self.position(problem) {
                write!(f, "{line}:{column}:")?;
            }
            if problem.severity == Severity::Warning {
                f.write_str(" warning:")?;
            }
            write!(f, " {}; {}", problem.message, problem.remedy)?;
        }
        Ok(())
    }
}
