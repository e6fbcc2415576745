//! `mantlet ca log`: who did what, and why.

use crate::ca::LogEntry;
use crate::cli::output::print;

use super::place::Place;

/// Entries read at a time.
const PAGE: i64 = 1000;

/// Show the authority's log: every registration, issuance, renewal, refusal and revocation, with who and why
///
/// Each entry holds a digest over itself and all before it, so that --verify finds one that was changed or removed. Keep the
/// last digest elsewhere to find also a log that was cut and written anew.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet ca log --dir ca --last 20
  mantlet ca log --dir ca --subject adservice --json
  mantlet ca log --dir ca --verify")]
pub(super) struct Log {
    #[command(flatten)]
    place: Place,
    /// The last entries only
    #[arg(long, value_name = "COUNT")]
    last: Option<u32>,
    /// Entries about this name only
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Hold the whole log against its digests
    #[arg(long, conflicts_with_all = ["last", "subject", "json"])]
    verify: bool,
    /// Print a JSON object on each line
    #[arg(long)]
    json: bool,
}

pub(super) async fn log(args: &Log) -> anyhow::Result<()> {
    let authority = args.place.open().await?;
    if args.verify {
        let count = authority.verify_log().await?;
        let head = authority.store().state().await?.log_head;
        say!("the log is whole: {count} entries, the last digest is {head}")?;
        return Ok(());
    }
    let all = authority.store().state().await?.log_entries;
    let mut after = args.last.map_or(0, |last| (all - i64::from(last)).max(0));
    loop {
        let entries = authority.log_entries(after, PAGE).await?;
        let Some(last) = entries.last() else { return Ok(()) };
        after = last.entry;
        let wanted = entries.iter().filter(|entry| args.subject.as_ref().is_none_or(|name| entry.subject == *name));
        let text: String = wanted.map(|entry| if args.json { json_line(entry) } else { line(entry) }).collect();
        print(&text)?;
    }
}

fn line(entry: &LogEntry) -> String {
    let LogEntry { at, actor, action, subject, detail, .. } = entry;
    let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    format!("{at}  {action:<10}  {subject}{detail}  (by {actor})\n")
}

fn json_line(entry: &LogEntry) -> String {
    serde_json::to_string(entry).expect("texts and numbers") + "\n"
}
