//! Medians, spreads and percentiles.

use std::time::Duration;

/// The middle of several values, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Summary {
    /// Of `values`, in any order; nothing where there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { median, least, most })
    }

    /// `median (least–most)`, or the one value where all look the same.
    pub(crate) fn show(&self, decimals: usize) -> String {
        let [median, least, most] = [self.median, self.least, self.most].map(|value| number(value, decimals));
        if least == most { median } else { format!("{median} ({least}–{most})") }
    }
}

/// A number with thousands separated.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let groups: Vec<_> = whole.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    let is_zero = text.chars().all(|digit| matches!(digit, '0' | '.'));
    let sign = if value < 0.0 && !is_zero { "−" } else { "" };
    format!("{sign}{}{fraction}", groups.join(","))
}

/// The value below which `share` of the sorted `values` lie; zero where there are none.
pub(crate) fn percentile(values: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = (values.len() as f64 * share) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        let summary = Summary::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(summary, Summary { median: 2.5, least: 1.0, most: 4.0 });
        assert_eq!(summary.show(1), "2.5 (1.0–4.0)");
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn values_that_look_the_same_show_no_spread() {
        assert_eq!(Summary::of([2.001, 2.002]).unwrap().show(2), "2.00");
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(number(1_234_567.84, 1), "1,234,567.8");
        assert_eq!(number(-0.4, 0), "0");
        assert_eq!(number(-1234.0, 0), "−1,234");
    }

    #[test]
    fn a_percentile_is_never_beyond_the_last_value() {
        let values: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 0.5), Duration::from_millis(51));
        assert_eq!(percentile(&values, 1.0), Duration::from_millis(100));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
