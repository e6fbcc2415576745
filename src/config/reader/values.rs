//! Values of every kind that a key can hold.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use crate::config::Located;
use crate::config::expand::expand;
use crate::config::nearest::{nearest, one_of};

use super::{TableReader, Value, described};

/// How a message joins a thing and its value.
pub(super) const IS: &str = "is";
/// How a message joins a thing and an entry of its list.
const LISTS: &str = "lists";

impl TableReader<'_, '_, '_> {
    /// A string, never empty.
    pub(in crate::config) fn string(&mut self, key: &'static str) -> Option<Located<String>> {
        let value = self.value(key)?;
        self.text_of(&self.thing(key), IS, value)
    }

    /// A path, taken from the folder of the file if it is relative.
    pub(in crate::config) fn path(&mut self, key: &'static str) -> Option<Located<PathBuf>> {
        let text = self.string(key)?;
        Some(Located { value: self.reading.directory.join(text.value), span: text.span })
    }

    /// A list of paths, likewise.
    pub(in crate::config) fn paths(&mut self, key: &'static str) -> Option<Vec<Located<PathBuf>>> {
        let directory = self.reading.directory;
        self.list(key, |_, _, text| Some(directory.join(&text.value)))
    }

    /// Anything that a string is parsed into. The error's text must name the value and what was expected.
    pub(in crate::config) fn parsed<T>(&mut self, key: &'static str, remedy: &str) -> Option<Located<T>>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.string(key)?;
        let thing = self.thing(key);
        let value = self.parse_text(&thing, &text, remedy)?;
        Some(Located { value, span: text.span })
    }

    /// A list of such values; a value that is listed twice earns a warning.
    pub(in crate::config) fn parsed_list<T>(&mut self, key: &'static str, remedy: &str) -> Option<Vec<Located<T>>>
    where
        T: FromStr<Err: Display> + PartialEq,
    {
        self.list(key, |t, thing, text| t.parse_text(thing, text, remedy))
    }

    /// One of some names.
    pub(in crate::config) fn choice<T: Copy>(&mut self, key: &'static str, names: &[(&str, T)]) -> Option<Located<T>> {
        let text = self.string(key)?;
        let thing = self.thing(key);
        self.choose(&thing, IS, &text, names).map(|value| Located { value, span: text.span })
    }

    /// A list of some names.
    pub(in crate::config) fn choices<T>(&mut self, key: &'static str, names: &[(&str, T)]) -> Option<Vec<T>>
    where
        T: Copy + PartialEq,
    {
        let values = self.list(key, |t, thing, text| t.choose(thing, LISTS, text, names))?;
        Some(values.into_iter().map(|value| value.value).collect())
    }

    /// `true` or `false`; also from an environment variable.
    pub(in crate::config) fn boolean(&mut self, key: &'static str) -> Option<Located<bool>> {
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
    pub(in crate::config) fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
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
    pub(in crate::config) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
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
    pub(in crate::config) fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        mut make: impl FnMut(&mut Self, &str, &Located<String>) -> Option<T>,
    ) -> Option<Vec<Located<T>>> {
        let value = self.value(key)?;
        let thing = self.thing(key);
        let DeValue::Array(array) = value.get_ref() else {
            let message = format!("{thing} is {}: expected a list of strings", described(value));
            let meant = value.get_ref().as_str().unwrap_or("...");
            self.error(Some(value.span()), message, format!("write {key} = [{meant:?}]"));
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

    /// A text parsed into something; an error is reported where it stands.
    pub(in crate::config) fn parse_text<T>(&mut self, thing: &str, text: &Located<String>, remedy: &str) -> Option<T>
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

    pub(super) fn text_of(&mut self, thing: &str, verb: &str, value: &Value<'_>) -> Option<Located<String>> {
        let span = value.span();
        let DeValue::String(text) = value.get_ref() else {
            let message = format!("{thing} {verb} {}: expected a string", described(value));
            let remedy = match value.get_ref() {
                DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                    format!("write {:?}, in quotes", described(value))
                }
                _ => "write one value in quotes".to_owned(),
            };
            self.error(Some(span), message, remedy);
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
}

/// A scalar as a message shows it: a string after expansion.
fn shown(value: &Value<'_>, text: &str) -> String {
    if value.get_ref().is_str() { format!("{text:?}") } else { text.to_owned() }
}

/// True for a string without a variable: a number or a boolean in quotes is a mistake.
fn is_plain_string(value: &Value<'_>) -> bool {
    value.get_ref().as_str().is_some_and(|text| !text.contains("${"))
}
