//! Reads TOML tables key by key, so that every problem of a file is found in one run.
//!
//! A [`TableReader`] records what is wrong and goes on; the caller gets `None` and takes the default. What values mean
//! together is left to the sections.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expand::{Environment, expand};
use super::nearest::{nearest, one_of};
use super::{Located, Problem};

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
}

/// How a message joins a thing and its value.
const IS: &str = "is";
/// How a message joins a thing and an entry of its list.
const LISTS: &str = "lists";

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
        let DeValue::Table(table) = value.get_ref() else {
            let message = format!("{key} is {}: expected the table [{key}]", described(value));
            self.error(Some(value.span()), message, format!("write it once, under the header [{key}]"));
            return None;
        };
        Some(read_table(self.reading, table, Some(value.span()), (key.into(), key.into()), read))
    }

    /// Reads every table `[[key]]`, in their order.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut TableReader<'_, 'a, 't>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let elements = value.get_ref().as_array().map(|array| array.iter().collect::<Vec<_>>()).unwrap_or_default();
        let mut found = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            if let DeValue::Table(table) = element.get_ref() {
                let title = match table.get("name").and_then(|name| name.get_ref().as_str()) {
                    Some(name) => format!("{key} {name:?}"),
                    None => format!("{key} number {}", index + 1),
                };
                found.push(read_table(self.reading, table, Some(element.span()), (key.into(), title), &mut read));
            }
        }
        if found.len() != elements.len() || !value.get_ref().is_array() {
            let message = format!("{key} is {}: expected tables [[{key}]]", described(value));
            self.error(
                Some(value.span()),
                message,
                format!("write [[{key}]] in double brackets, once for each listener"),
            );
        }
        found
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

    /// A string, never empty.
    pub(super) fn string(&mut self, key: &'static str) -> Option<Located<String>> {
        let value = self.value(key)?;
        self.text_of(&self.thing(key), IS, value)
    }

    /// A path, taken from the folder of the file if it is relative.
    pub(super) fn path(&mut self, key: &'static str) -> Option<Located<PathBuf>> {
        let text = self.string(key)?;
        Some(Located { value: self.reading.directory.join(text.value), span: text.span })
    }

    /// A list of paths, likewise.
    pub(super) fn paths(&mut self, key: &'static str) -> Option<Vec<Located<PathBuf>>> {
        let directory = self.reading.directory;
        self.list(key, |_, _, text| Some(directory.join(&text.value)))
    }

    /// Anything that a string is parsed into. The error's text must name the value and what was expected.
    pub(super) fn parsed<T>(&mut self, key: &'static str, remedy: &str) -> Option<Located<T>>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.string(key)?;
        let thing = self.thing(key);
        let value = self.parse_text(&thing, &text, remedy)?;
        Some(Located { value, span: text.span })
    }

    /// A list of such values; a value that is listed twice earns a warning.
    pub(super) fn parsed_list<T>(&mut self, key: &'static str, remedy: &str) -> Option<Vec<Located<T>>>
    where
        T: FromStr<Err: Display> + PartialEq,
    {
        self.list(key, |t, thing, text| t.parse_text(thing, text, remedy))
    }

    /// One of some names.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, names: &[(&str, T)]) -> Option<Located<T>> {
        let text = self.string(key)?;
        let thing = self.thing(key);
        self.choose(&thing, IS, &text, names).map(|value| Located { value, span: text.span })
    }

    /// A list of some names.
    pub(super) fn choices<T>(&mut self, key: &'static str, names: &[(&str, T)]) -> Option<Vec<T>>
    where
        T: Copy + PartialEq,
    {
        let values = self.list(key, |t, thing, text| t.choose(thing, LISTS, text, names))?;
        Some(values.into_iter().map(|value| value.value).collect())
    }

    /// `true` or `false`; also from an environment variable.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<Located<bool>> {
        let value = self.value(key)?;
        let text = self.scalar_text(key, value)?;
        let found = text.parse().ok().filter(|_| !is_plain_string(value));
        if found.is_none() {
            let message = format!("{} is {}: expected true or false", self.thing(key), shown(value, &text));
            self.error(Some(value.span()), message, "write true or false, without quotes");
        }
        found.map(|found| Located { value: found, span: value.span() })
    }

    /// An integer in a range; also from an environment variable.
    pub(super) fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let value = self.value(key)?;
        let text = self.scalar_text(key, value)?;
        let found = match value.get_ref() {
            DeValue::Integer(digits) => i128::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => text.parse().ok().filter(|_| !is_plain_string(value)),
        };
        let found = found.and_then(|found| T::try_from(found).ok()).filter(|found| range.contains(found));
        if found.is_none() {
            let expected = format!("an integer from {} to {}", range.start(), range.end());
            let message = format!("{} is {}: expected {expected}", self.thing(key), shown(value, &text));
            self.error(Some(value.span()), message, format!("write {expected}, without quotes"));
        }
        found
    }

    /// The text of a value that is no list: a string's after expansion, any other's as it is written.
    fn scalar_text(&mut self, key: &str, value: &Value<'_>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(_) => self.text_of(&self.thing(key), IS, value).map(|text| text.value),
            _ => Some(described(value)),
        }
    }

    /// A duration such as `"10s"` or `"1h 30m"`, in a range.
    pub(super) fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.value(key)?;
        let text = self.scalar_text(key, value)?;
        let found = humantime::parse_duration(&text).ok().filter(|_| value.get_ref().is_str());
        let found_in_range = found.filter(|found| range.contains(found));
        if found_in_range.is_none() {
            let (least, most) = (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
            let expected = format!("a duration from \"{least}\" to \"{most}\"");
            let message = format!("{} is {}: expected {expected}", self.thing(key), shown(value, &text));
            let remedy = match found {
                Some(_) => format!("choose {expected}"),
                None => "write a number and a unit in quotes, such as \"500ms\", \"10s\", \"5m\" or \"1h\"".into(),
            };
            self.error(Some(value.span()), message, remedy);
        }
        found_in_range
    }

    /// A list of strings, each made into something. A value that is listed twice earns a warning.
    fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        mut make: impl FnMut(&mut Self, &str, &Located<String>) -> Option<T>,
    ) -> Option<Vec<Located<T>>> {
        let value = self.value(key)?;
        let thing = self.thing(key);
        let DeValue::Array(array) = value.get_ref() else {
            let message = format!("{thing} is {}: expected a list of strings", described(value));
            self.error(Some(value.span()), message, format!("write {key} = [\"...\"]"));
            return None;
        };
        let mut found: Vec<Located<T>> = Vec::new();
        for element in array {
            let Some(text) = self.text_of(&thing, LISTS, element) else { continue };
            let Some(value) = make(self, &thing, &text) else { continue };
            if found.iter().any(|earlier| earlier.value == value) {
                self.warn(Some(text.span), format!("{thing} lists {:?} twice", text.value), "remove one of them");
            } else {
                found.push(Located { value, span: text.span });
            }
        }
        Some(found)
    }

    fn parse_text<T>(&mut self, thing: &str, text: &Located<String>, remedy: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        match text.value.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(Some(text.span.clone()), format!("{thing}: {error}"), remedy);
                None
            }
        }
    }

    fn choose<T: Copy>(&mut self, thing: &str, verb: &str, text: &Located<String>, names: &[(&str, T)]) -> Option<T> {
        if let Some((_, value)) = names.iter().find(|(name, _)| *name == text.value) {
            return Some(*value);
        }
        let expected = one_of(names.iter().map(|(name, _)| format!("{name:?}")));
        let remedy = match nearest(&text.value, names.iter().map(|(name, _)| *name)) {
            Some(name) => format!("write {name:?}"),
            None => format!("write {expected}"),
        };
        let message = format!("{thing} {verb} {:?}: expected {expected}", text.value);
        self.error(Some(text.span.clone()), message, remedy);
        None
    }

    fn text_of(&mut self, thing: &str, verb: &str, value: &Value<'_>) -> Option<Located<String>> {
        let span = value.span();
        let DeValue::String(text) = value.get_ref() else {
            let message = format!("{thing} {verb} {}: expected a string", described(value));
            self.error(Some(span), message, "write one value in quotes");
            return None;
        };
        match expand(text, self.reading.environment) {
            Ok(text) if text.trim().is_empty() => {
                self.error(Some(span), format!("{thing} {verb} \"\": expected a value"), "write one, or remove it");
                None
            }
            Ok(value) => Some(Located { value, span }),
            Err(error) => {
                self.error(Some(span), format!("{thing}: {error}"), error.remedy());
                None
            }
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'t Value<'t>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// Reports the keys that nobody asked for and those that are missing. A mistyped key is reported once, as the former.
    fn finish(mut self) {
        let absent: Vec<&str> = self.known.iter().copied().filter(|key| !self.table.contains_key(*key)).collect();
        for (key, value) in self.table {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
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
    let mut reader = TableReader { reading, table, kind, title, header, known: Vec::new(), missing: Vec::new() };
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

/// A scalar as a message shows it: a string after expansion.
fn shown(value: &Value<'_>, text: &str) -> String {
    if value.get_ref().is_str() { format!("{text:?}") } else { text.to_owned() }
}

/// True for a string without a variable: a number or a boolean in quotes is a mistake.
fn is_plain_string(value: &Value<'_>) -> bool {
    value.get_ref().as_str().is_some_and(|text| !text.contains("${"))
}
