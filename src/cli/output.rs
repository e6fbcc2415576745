//! Answers on standard output, and why there is none on standard error.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;

/// The input was not usable, so that the question was not answered; clap uses the same code for bad arguments.
const UNUSABLE: u8 = 2;

/// Says on standard error why the input is unusable.
pub(super) fn unusable(problems: &[String]) -> ExitCode {
    for problem in problems {
        eprintln!("mantlet: {problem}");
    }
    ExitCode::from(UNUSABLE)
}

/// Writes the answer at once; a reader that has gone away (`| head`) is no failure.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(text.as_bytes())
}

/// The same for an answer that is passed on.
pub(super) fn print_bytes(answer: &[u8]) -> anyhow::Result<()> {
    match io::stdout().write_all(answer) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

pub(super) fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}
