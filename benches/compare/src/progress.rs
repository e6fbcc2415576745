//! How far a run is and how long the rest will take.

use std::collections::HashMap;
use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

/// Starting and stopping two proxies, and warming them up.
const AROUND_LOAD: u64 = 3;

/// Shows what is done at this moment, on a terminal alone, until the next line is told.
pub(crate) fn now(text: &str) {
    if stderr().is_terminal() {
        eprint!("\r\x1b[2K{text}");
    }
}

/// Tells a line that stays.
pub(crate) fn line(text: &str) {
    now("");
    eprintln!("{text}");
}

/// Counts measurements.
#[derive(Debug)]
pub(crate) struct Progress {
    total: usize,
    done: usize,
    guess: Duration,
    scenarios: HashMap<&'static str, Pace>,
}

#[derive(Debug, Default)]
struct Pace {
    left: u32,
    done: u32,
    took: Duration,
}

impl Progress {
    /// For one measurement of each of `scenarios`, in which a name stands as often as it is measured.
    pub(crate) fn new(scenarios: impl Iterator<Item = &'static str>, seconds: u64) -> Self {
        let guess = Duration::from_secs(seconds + AROUND_LOAD);
        let mut progress = Self { total: 0, done: 0, guess, scenarios: HashMap::new() };
        for scenario in scenarios {
            progress.total += 1;
            progress.scenarios.entry(scenario).or_default().left += 1;
        }
        progress
    }

    /// Notes that a measurement took `elapsed`, and tells how long the rest will take, `at_once` at a time.
    pub(crate) fn done(&mut self, scenario: &'static str, elapsed: Duration, at_once: usize) -> String {
        self.done += 1;
        let pace = self.scenarios.entry(scenario).or_default();
        pace.left = pace.left.saturating_sub(1);
        pace.done += 1;
        pace.took += elapsed;
        let left: Duration = self.scenarios.values().map(|pace| pace.left(self.guess)).sum();
        let left = left.as_secs() / u64::try_from(at_once).unwrap_or(1);
        match left {
            0 => "done".to_owned(),
            1..90 => format!("about {left} s left"),
            _ => format!("about {} min left", left.div_ceil(60)),
        }
    }

    /// `n/m` of the measurements so far.
    pub(crate) fn place(&self) -> String {
        let total = self.total.to_string();
        format!("{:>width$}/{total}", self.done, width = total.len())
    }
}

impl Pace {
    fn left(&self, guess: Duration) -> Duration {
        let each = if self.done == 0 { guess } else { self.took / self.done };
        each * self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_told_from_what_was_seen() {
        let mut progress = Progress::new(["a", "a", "b"].into_iter(), 5);
        assert_eq!(progress.done("a", Duration::from_secs(30), 1), "about 38 s left");
        assert_eq!(progress.place(), "1/3");
        assert_eq!(progress.done("a", Duration::from_secs(30), 1), "about 8 s left");
    }
}
