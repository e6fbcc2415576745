//! Holds `config/mantlet.reference.toml` against the readers.

use std::collections::BTreeSet;
use std::path::Path;

use toml::de::DeTable;

use super::reader::{Reading, TableReader};
use super::{Config, file};

const REFERENCE: &str = include_str!("../../config/mantlet.reference.toml");

/// The reference with its optional keys and, if wanted, its examples in force.
fn in_force(examples: bool) -> String {
    let line = |line: &str| {
        let (default, example) = (line.strip_prefix("# "), line.strip_prefix("# example: "));
        match (example, default) {
            (Some(example), _) if examples => example.to_owned(),
            (None, Some(default)) if is_assignment(default) => default.to_owned(),
            _ => line.to_owned(),
        }
    };
    REFERENCE.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn is_assignment(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

fn parse(text: &str) -> Config {
    let parsed = Config::parse_with(Path::new("config/mantlet.reference.toml"), text, &|_| None);
    parsed.unwrap_or_else(|problems| panic!("{problems}")).0
}

/// Every key of the reference, optional ones and examples included, with the table that it stands in.
fn written() -> BTreeSet<(String, String)> {
    let text = in_force(true);
    let table = DeTable::parse(&text).expect("valid TOML");
    let mut keys = BTreeSet::new();
    add_keys(&mut keys, "", table.get_ref());
    keys
}

fn add_keys(keys: &mut BTreeSet<(String, String)>, kind: &str, table: &DeTable<'_>) {
    for (name, value) in table {
        let name = name.get_ref().to_string();
        let element = value.get_ref().as_array().and_then(|array| array.iter().next()).unwrap_or(value);
        // The keys of claims are the operator's.
        if let Some(section) = element.get_ref().as_table().filter(|_| name != "claims") {
            let kind = if kind.is_empty() { name.clone() } else { format!("{kind}.{name}") };
            add_keys(keys, &kind, section);
        }
        keys.insert((kind.to_owned(), name));
    }
}

/// Every key that a reader asks for.
fn asked() -> BTreeSet<(String, String)> {
    let text = in_force(true);
    let table = DeTable::parse(&text).expect("valid TOML");
    let mut reading = Reading {
        directory: Path::new(""),
        environment: &|_| None,
        broken_from: None,
        problems: Vec::new(),
        asked: Vec::new(),
    };
    TableReader::read_root(&mut reading, table.get_ref(), |root| file::read(root, Path::new("")));
    reading.asked.into_iter().map(|(section, key)| (section, key.to_owned())).collect()
}

#[test]
fn the_reference_holds_every_key_and_no_other() {
    assert_eq!(written(), asked());
}

#[test]
fn the_defaults_in_the_reference_are_those_of_the_code() {
    // Without their spans, which differ between the two texts.
    let without_spans = |config: Config| {
        let text = format!("{config:#?}");
        text.lines().filter(|line| !line.trim_start().starts_with("span:")).collect::<Vec<_>>().join("\n")
    };
    let commented: String = REFERENCE.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!(without_spans(parse(&in_force(false))), without_spans(parse(&commented)));
}

#[test]
fn every_key_of_the_reference_is_explained() {
    let lines: Vec<&str> = REFERENCE.lines().collect();
    for pair in lines.windows(2) {
        let assignment = pair[1].trim_start_matches("# ").trim_start_matches("example: ");
        if is_assignment(assignment) {
            let explanation = pair[0].strip_prefix("# ").unwrap_or_default();
            assert!(!explanation.is_empty() && !is_assignment(explanation), "{} has no explanation", pair[1]);
        }
    }
}
