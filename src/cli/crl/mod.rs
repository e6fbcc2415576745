//! `mantlet crl`: look at CRLs, and try the sources of a configuration.

mod fetch;
mod show;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::status::printable;
use crate::x509::MaterialProblem;

/// Longest text of a CRL that is shown on one line.
const MAX_SHOWN: usize = 500;

/// Show CRLs, and try the sources that a configuration names
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Show(show::Args),
    Fetch(fetch::Args),
}

pub(super) fn execute(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Show(args) => show::execute(&args),
        Command::Fetch(args) => fetch::execute(&args),
    }
}

fn problem_text(problem: &MaterialProblem) -> String {
    format!("{}; {}", problem.message, problem.remedy)
}

/// Text of a stranger on one line of bounded length.
fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        None => printable(text),
        Some((end, _)) => format!("{}… ({} bytes in all)", printable(&text[..end]), text.len()),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_wrote_is_shown_on_one_line_of_bounded_length() {
        assert_eq!(shown("CN=a\u{1b}[2J\n"), "CN=a\u{fffd}[2J\u{fffd}");
        let long = shown(&"ü".repeat(5000));
        assert!(long.ends_with("ü… (10000 bytes in all)") && long.chars().count() < 600, "{long}");
    }
}
