//! Reads TOML tables key by key, so that every problem of a file is found in one run.
//!
//! A [`TableReader`] records what is wrong and goes on; the caller gets `None` and takes the default. What values mean
//! together is left to the sections.

mod claims;
mod values;

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::expand::Environment;
use super::nearest::nearest;

/// What is the same for all tables of one file.
pub(super) struct Reading<'a> {
    /// The folder of the file, to which relative paths are relative.
    pub(super) directory: &'a Path,
    pub(super) environment: Environment<'a>,
    /// Start of the first line that is not TOML. What stands there or later may be misread, and what seems to be missing may
    /// stand there.
    pub(super) broken_from: Option<usize>,
    pub(super) problems: Vec<Problem>,
    /// Every table and key that was asked for.
    pub(super) asked: Vec<(String, &'static str)>,
}

/// What a problem follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    /// From the text at its place alone.
    Place,
    /// From other places, or from the absence of something.
    Whole,
}

/// One table of the file.
pub(super) struct TableReader<'r, 'a, 't> {
    pub(super) reading: &'r mut Reading<'a>,
    table: &'t DeTable<'t>,
    kind: String,
    title: String,
    header: Option<Range<usize>>,
    known: Vec<&'static str>,
    missing: Vec<(&'static str, Problem)>,
    elsewhere: Vec<&'static str>,
}

/// A value and its place.
type Value<'t> = Spanned<DeValue<'t>>;

impl Reading<'_> {
    /// Records a problem, unless a syntax error makes it doubtful.
    pub(super) fn report(&mut self, basis: Basis, problem: Problem) {
        let doubtful = self
            .broken_from
            .is_some_and(|broken| basis == Basis::Whole || problem.span.as_ref().is_none_or(|span| span.end > broken));
        if !doubtful {
            self.problems.push(problem);
        }
    }
}

impl<'a, 't> TableReader<'_, 'a, 't> {
    /// Reads the root table of a file.
    pub(super) fn read_root<T>(
        reading: &mut Reading<'a>,
        table: &'t DeTable<'t>,
        read: impl FnOnce(&mut TableReader<'_, 'a, 't>) -> T,
    ) -> T {
        read_table(reading, table, None, (String::new(), String::new()), read)
    }

    /// Reads the table `[key]`; `None` where there is none.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut TableReader<'_, 'a, 't>) -> T,
    ) -> Option<T> {
        let value = self.value(key)?;
        let kind = self.kind_of(key);
        let DeValue::Table(table) = value.get_ref() else {
            let message = format!("{} is {}: expected the table [{kind}]", self.thing(key), described(value));
            self.error(Some(value.span()), message, format!("write it once, under the header [{kind}]"));
            return None;
        };
        let names = (kind, self.thing(key));
        Some(read_table(self.reading, table, Some(value.span()), names, read))
    }

    /// Reads every table `[[key]]`, in their order; in a table `[[table]]` every `[[table.key]]`.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut TableReader<'_, 'a, 't>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let kind = self.kind_of(key);
        let elements = value.get_ref().as_array().map(|array| array.iter().collect::<Vec<_>>()).unwrap_or_default();
        let mut found = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            if let DeValue::Table(table) = element.get_ref() {
                let title = match table.get("name").and_then(|name| name.get_ref().as_str()) {
                    Some(name) => format!("{} {name:?}", self.thing(key)),
                    None => format!("{} number {}", self.thing(key), index + 1),
                };
                let names = (kind.clone(), title);
                found.push(read_table(self.reading, table, Some(element.span()), names, &mut read));
            }
        }
        if found.len() != elements.len() || !value.get_ref().is_array() {
            let message = format!("{} is {}: expected tables [[{kind}]]", self.thing(key), described(value));
            let remedy = format!("write [[{kind}]] in double brackets, once for each {key}");
            self.error(Some(value.span()), message, remedy);
        }
        found
    }

    /// The header of a table below this one: `inbound.rule`.
    fn kind_of(&self, key: &str) -> String {
        if self.kind.is_empty() { key.to_owned() } else { format!("{}.{key}", self.kind) }
    }

    /// How the table is called in messages: `inbound "ads"`.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// The bytes of the table's header.
    pub(super) fn header(&self) -> Option<Range<usize>> {
        self.header.clone()
    }

    /// How a key is called in messages: `timeouts.idle`, `inbound "ads": listen`.
    pub(super) fn thing(&self, key: &str) -> String {
        match (self.title.is_empty(), self.title == self.kind) {
            (true, _) => key.to_owned(),
            (false, true) => format!("{}.{key}", self.title),
            (false, false) => format!("{}: {key}", self.title),
        }
    }

    /// The bytes of a key's value, where the key is present.
    pub(super) fn span(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(Spanned::span)
    }

    /// The bytes of a key and its value, where the key is present.
    pub(super) fn whole_span(&self, key: &str) -> Option<Range<usize>> {
        self.table.get_key_value(key).map(|(key, value)| key.span().start..value.span().end)
    }

    /// The folder of the file, which relative paths start from.
    pub(super) fn directory(&self) -> &'a Path {
        self.reading.directory
    }

    /// True where the key holds `[]`.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        self.table.get(key).and_then(|value| value.get_ref().as_array()).is_some_and(|array| array.is_empty())
    }

    /// Records an error that follows from the text at its place.
    pub(super) fn error(&mut self, span: Option<Range<usize>>, message: String, remedy: impl Into<String>) {
        self.reading.report(Basis::Place, Problem::error(span, message, remedy));
    }

    /// Records an error that follows from several places or from something missing.
    pub(super) fn rule(&mut self, span: Option<Range<usize>>, message: String, remedy: impl Into<String>) {
        self.reading.report(Basis::Whole, Problem::error(span, message, remedy));
    }

    /// Records a warning that follows from several places or from something missing.
    pub(super) fn warn(&mut self, span: Option<Range<usize>>, message: String, remedy: impl Into<String>) {
        self.reading.report(Basis::Whole, Problem::warning(span, message, remedy));
    }

    /// Records an error if the key is absent.
    pub(super) fn require(&mut self, key: &'static str, remedy: &str) {
        if !self.table.contains_key(key) {
            let message = if self.title.is_empty() {
                format!("[{key}] is missing")
            } else {
                format!("{} has no {key:?}", self.title)
            };
            self.missing.push((key, Problem::error(self.header(), message, remedy)));
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'t Value<'t>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// Reports a table that belongs in the file of another command.
    pub(super) fn belongs_elsewhere(&mut self, key: &'static str, remedy: &str) {
        if let Some(span) = self.span(key) {
            self.elsewhere.push(key);
            self.error(Some(span), format!("table [{key}] belongs in another file"), remedy);
        }
    }

    /// Reports the keys that nobody asked for and those that are missing. A mistyped key is reported once, as the former.
    fn finish(mut self) {
        let absent: Vec<&str> = self.known.iter().copied().filter(|key| !self.table.contains_key(*key)).collect();
        for (key, value) in self.table {
            let name: &str = key.get_ref();
            if self.known.contains(&name) || self.elsewhere.contains(&name) {
                continue;
            }
            let what = if value.get_ref().is_table() { format!("table [{name}]") } else { format!("key {name:?}") };
            let place = if self.title.is_empty() { String::new() } else { format!(" in {}", self.title) };
            let remedy = if let Some(meant) = nearest(name, absent.iter().copied()) {
                self.missing.retain(|(missing, _)| *missing != meant);
                format!("rename it to {meant:?}, or remove it")
            } else {
                format!("remove it; known here: {}", self.known.join(", "))
            };
            self.reading
                .report(Basis::Place, Problem::error(Some(key.span()), format!("unknown {what}{place}"), remedy));
        }
        for (_, problem) in self.missing {
            self.reading.report(Basis::Whole, problem);
        }
        self.reading.asked.extend(self.known.into_iter().map(|key| (self.kind.clone(), key)));
    }
}

fn read_table<'a, 't, T>(
    reading: &mut Reading<'a>,
    table: &'t DeTable<'t>,
    header: Option<Range<usize>>,
    (kind, title): (String, String),
    read: impl FnOnce(&mut TableReader<'_, 'a, 't>) -> T,
) -> T {
    let mut reader = TableReader {
        reading,
        table,
        kind,
        title,
        header,
        known: Vec::new(),
        missing: Vec::new(),
        elsewhere: Vec::new(),
    };
    let outcome = read(&mut reader);
    reader.finish();
    outcome
}

/// A value as a message shows it.
fn described(value: &Value<'_>) -> String {
    match value.get_ref() {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(digits) => digits.to_string(),
        DeValue::Float(digits) => digits.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
