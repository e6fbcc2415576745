//! Texts that are not TOML: the parser's errors in the operator's terms.

use std::ops::Range;

use toml::de::Error;

use super::Problem;

/// The start of the first line that is not TOML. A key that is defined twice leaves the rest of the file readable.
pub(super) fn broken_from(text: &str, errors: &[Error]) -> Option<usize> {
    errors.iter().filter(|error| !is_duplicate(error)).map(|error| line_around(text, place(text, error)).start).min()
}

/// One problem for each broken line. An open list or inline table takes in all that follows, so that nothing after it counts.
pub(super) fn problems(text: &str, errors: &[Error]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut lines_seen = Vec::new();
    for error in errors {
        let line = line_around(text, place(text, error));
        if is_duplicate(error) {
            problems.push(duplicate(text, error));
        } else if !lines_seen.contains(&line.start) {
            lines_seen.push(line.start);
            problems.push(broken(text, line, error));
        }
        if swallows_the_rest(error) {
            break;
        }
    }
    problems
}

fn is_duplicate(error: &Error) -> bool {
    error.message().starts_with("duplicate key")
}

fn swallows_the_rest(error: &Error) -> bool {
    ["array", "inline table"].iter().any(|open| error.message().contains(open))
}

fn duplicate(text: &str, error: &Error) -> Problem {
    let key = error.span().and_then(|span| text.get(span)).unwrap_or("a key");
    Problem::error(error.span(), format!("{key} is defined twice"), "keep one of the two")
}

fn broken(text: &str, line: Range<usize>, error: &Error) -> Problem {
    if swallows_the_rest(error) {
        let message = format!("not valid TOML: {}", error.message());
        return Problem::error(error.span(), message, "close what is open above, with a comma between its entries");
    }
    let content = &text[line.clone()];
    if content.trim_start().starts_with('[') {
        let message = format!("not valid TOML: {}", error.message());
        return Problem::error(error.span(), message, "write a header as [table] or [[table]], alone on its line");
    }
    let Some((key, rest)) = content.split_once('=') else {
        let message = format!("not valid TOML: {:?} is no key with a value", content.trim());
        return Problem::error(error.span(), message, "write key = value, or \"#\" before a comment");
    };
    let value = bare_value(rest);
    if value.is_empty() {
        let message = format!("not valid TOML: {} has no value", key.trim());
        return Problem::error(error.span(), message, "write a value, or remove the key");
    }
    if value.starts_with(['"', '\'', '[', '{']) {
        let message = format!("not valid TOML: {}", error.message());
        return Problem::error(error.span(), message, "close the quote or bracket, and write one value a line");
    }
    let start = line.start + key.len() + 1 + rest.find(value).unwrap_or_default();
    let message = format!("not valid TOML: {value} is no number, not true or false, and not in quotes");
    let remedy = format!("put it in quotes: {} = {value:?}", key.trim());
    Problem::error(Some(start..start + value.len()), message, remedy)
}

/// What follows the equals sign, without a comment and the space around it.
fn bare_value(text: &str) -> &str {
    if text.trim_start().starts_with(['"', '\'']) {
        return text.trim();
    }
    text.split_once('#').map_or(text, |(value, _)| value).trim()
}

fn place(text: &str, error: &Error) -> usize {
    error.span().map_or(0, |span| span.start.min(text.len()))
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |newline| at + newline);
    start..end
}
