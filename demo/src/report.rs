//! The story as it is told: on a terminal with colours, in a pipe as plain text, or as JSON at the end.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use serde::Serialize;

use crate::services::ads::Ads;

/// One hop of the flow, and what was verified at it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    pub(crate) title: String,
    pub(crate) carried_by: &'static str,
    pub(crate) verified: Vec<Fact>,
    /// What is not as it should be.
    pub(crate) problems: Vec<String>,
}

/// Something that a sidecar or a service said.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fact {
    pub(crate) what: String,
    pub(crate) value: String,
}

/// One attack and what came of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) tried: String,
    pub(crate) expected: String,
    pub(crate) seen: String,
    /// What the sidecar says why.
    pub(crate) reason: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) problems: Vec<String>,
}

/// The whole story.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Story {
    pub(crate) passed: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) answer: Option<Ads>,
    pub(crate) attacks: Vec<Attack>,
    /// Who did not end as it should when told to stop.
    pub(crate) bad_ends: Vec<String>,
    /// Why the story was not told to its end.
    pub(crate) ended_by: Option<String>,
    /// Where the logs were kept, which is only done when something went wrong.
    pub(crate) logs: Option<PathBuf>,
}

/// Tells the story while it happens.
#[derive(Debug)]
pub(crate) struct Teller {
    colours: bool,
    silent: bool,
}

impl Story {
    /// Everything that is not as it should be, with where it was found.
    pub(crate) fn problems(&self) -> Vec<String> {
        let steps = self.steps.iter().map(|step| (step.title.as_str(), &step.problems));
        let attacks = self.attacks.iter().map(|attack| (attack.name, &attack.problems));
        steps
            .chain(attacks)
            .flat_map(|(title, problems)| problems.iter().map(move |problem| format!("{title}: {problem}")))
            .chain(self.bad_ends.clone())
            .chain(self.ended_by.clone())
            .collect()
    }
}

impl Fact {
    pub(crate) fn new(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self { what: what.into(), value: value.into() }
    }
}

impl Teller {
    /// Colours only where a person looks at them; with `json` nothing is told before the end.
    pub(crate) fn new(no_color: bool, json: bool) -> Self {
        let unwanted = no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: !unwanted && std::io::stdout().is_terminal(), silent: json }
    }

    pub(crate) fn heading(&self, text: &str) {
        self.line(&format!("\n{}", self.bold(text)));
    }

    pub(crate) fn note(&self, text: &str) {
        self.line(&format!("  {text}"));
    }

    pub(crate) fn step(&self, number: usize, step: &Step) {
        self.line(&format!("\n {number}. {}  {}", self.bold(&step.title), self.dim(&format!("[{}]", step.carried_by))));
        for Fact { what, value } in &step.verified {
            self.field(what, value);
        }
        self.verdict(&step.problems, "verified");
    }

    pub(crate) fn attack(&self, number: usize, attack: &Attack) {
        self.line(&format!("\n {number}. {}", self.bold(attack.name)));
        self.field("tried", &attack.tried);
        self.field("expected", &attack.expected);
        self.field("seen", &attack.seen);
        if let Some(reason) = &attack.reason {
            self.field("the sidecar says", reason);
        }
        if let Some(hint) = &attack.hint {
            self.field("and advises", hint);
        }
        self.verdict(&attack.problems, "as it should be");
    }

    /// The ads with their sellers, as a buyer sees them.
    pub(crate) fn answer(&self, answer: &Ads) {
        let rows = answer.ads.iter().map(|ad| {
            let seller = ad.seller.as_ref();
            vec![
                ad.title.clone(),
                ad.category.clone(),
                format!("{}.{:02} EUR", ad.price_cents / 100, ad.price_cents % 100),
                ad.distance_km.map_or_else(String::new, |distance| format!("{distance:.1} km")),
                seller.map_or_else(|| "unknown".to_owned(), |seller| seller.name.clone()),
                seller.map_or_else(String::new, |seller| format!("{:.1}", seller.rating)),
            ]
        });
        self.table(&["ad", "category", "price", "distance", "seller", "rating"], rows.collect());
    }

    /// One line for the flow and for each attack.
    pub(crate) fn summary(&self, story: &Story) {
        self.heading("Summary");
        let good = |problems: bool| if problems { "NO" } else { "yes" }.to_owned();
        let mut rows = vec![vec![
            "the flow: client, gateway, AdService, UserService and back".to_owned(),
            format!("{} steps verified", story.steps.iter().filter(|step| step.problems.is_empty()).count()),
            good(story.steps.iter().any(|step| !step.problems.is_empty())),
        ]];
        rows.extend(story.attacks.iter().map(|attack| {
            vec![
                attack.name.to_owned(),
                shortened(attack.reason.as_ref().unwrap_or(&attack.seen)),
                good(!attack.problems.is_empty()),
            ]
        }));
        self.table(&["what", "refused because, or seen", "as it should be"], rows);
        let (steps, attacks) = (story.steps.len(), story.attacks.len());
        let verdict = match story.problems().len() {
            0 => self.green(&format!("{steps} steps verified, {attacks} attacks in vain.")),
            problems => self.red(&format!("{problems} things are not as they should be.")),
        };
        self.line(&format!("\n  {verdict}"));
    }

    /// The end of the story on standard output for another program.
    pub(crate) fn json(story: &Story) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, story)?;
        writeln!(out)?;
        Ok(())
    }

    pub(crate) fn problem(&self, text: &str) {
        self.line(&format!("  {}", self.red(text)));
    }

    fn verdict(&self, problems: &[String], good: &str) {
        if problems.is_empty() {
            self.line(&format!("    {}", self.green(good)));
        }
        for problem in problems {
            self.line(&format!("    {} {problem}", self.red("WRONG:")));
        }
    }

    fn field(&self, name: &str, value: &str) {
        self.line(&format!("    {} {value}", self.dim(&format!("{name:<24}"))));
    }

    fn table(&self, head: &[&str], rows: Vec<Vec<String>>) {
        let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
        let widths: Vec<usize> = (0..head.len())
            .map(|column| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let padded = |row: &[String]| {
            let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
            format!("  {}", cells.join("  ")).trim_end().to_owned()
        };
        self.line(&format!("\n{}", self.bold(&padded(&head))));
        self.line(&self.dim(&padded(&widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>())));
        for row in rows {
            self.line(&padded(&row));
        }
    }

    fn line(&self, text: &str) {
        if !self.silent {
            // A reader who has seen enough closes the pipe; the story and its exit code go on.
            writeln!(std::io::stdout(), "{text}").ok();
        }
    }

    fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.styled("2", text)
    }

    fn green(&self, text: &str) -> String {
        self.styled("32", text)
    }

    fn red(&self, text: &str) -> String {
        self.styled("1;31", text)
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// What fits into a cell of the summary.
fn shortened(text: &str) -> String {
    const WIDTH: usize = 84;
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    text.chars().take(WIDTH - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_named_with_its_place() {
        let step = Step {
            title: "a -> b".into(),
            carried_by: "mutual TLS",
            verified: vec![Fact::new("caller", "nobody")],
            problems: vec!["the caller is nobody".into()],
        };
        let attack = Attack {
            name: "no certificate",
            tried: String::new(),
            expected: String::new(),
            seen: "200".into(),
            reason: None,
            hint: None,
            problems: vec!["it came through".into()],
        };
        let story = Story { steps: vec![step], attacks: vec![attack], ..Story::default() };
        assert_eq!(story.problems(), ["a -> b: the caller is nobody", "no certificate: it came through"]);
    }
}
