//! Holds `config/mantlet.reference.toml` and `config/authority/authority.reference.toml` against the readers.

use std::collections::BTreeSet;
use std::path::Path;

use toml::de::DeTable;

use super::reader::{Reading, TableReader};
use super::{AuthorityConfig, Config, authority, file};

const AUTHORITY_REFERENCE: &str = include_str!("../../config/authority/authority.reference.toml");
const REFERENCE: &str = include_str!("../../config/mantlet.reference.toml");

/// The reference with its optional keys and, if wanted, its examples in force.
fn in_force(reference: &str, examples: bool) -> String {
    let line = |line: &str| {
        let (default, example) = (line.strip_prefix("# "), line.strip_prefix("# example: "));
        match (example, default) {
            (Some(example), _) if examples => example.to_owned(),
            (None, Some(default)) if is_assignment(default) => default.to_owned(),
            _ => line.to_owned(),
        }
    };
    reference.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn is_assignment(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

fn parse(text: &str) -> Config {
    let parsed = Config::parse_with(Path::new("config/mantlet.reference.toml"), text, &|_| None);
    parsed.unwrap_or_else(|problems| panic!("{problems}")).0
}

/// Every key of the reference, optional ones and examples included, with the table that it stands in.
fn written(reference: &str) -> BTreeSet<(String, String)> {
    let text = in_force(reference, true);
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
fn asked<T>(reference: &str, read: impl FnOnce(&mut TableReader<'_, '_, '_>) -> T) -> BTreeSet<(String, String)> {
    let text = in_force(reference, true);
    let table = DeTable::parse(&text).expect("valid TOML");
    let mut reading = Reading {
        directory: Path::new(""),
        environment: &|_| None,
        broken_from: None,
        problems: Vec::new(),
        asked: Vec::new(),
    };
    TableReader::read_root(&mut reading, table.get_ref(), read);
    reading.asked.into_iter().map(|(section, key)| (section, key.to_owned())).collect()
}

#[test]
fn the_reference_holds_every_key_and_no_other() {
    assert_eq!(written(REFERENCE), asked(REFERENCE, |root| file::read(root, Path::new(""))));
    assert_eq!(written(AUTHORITY_REFERENCE), asked(AUTHORITY_REFERENCE, authority::read));
}

/// Without their spans, which differ between two texts.
fn without_spans(config: &impl std::fmt::Debug) -> String {
    let text = format!("{config:#?}");
    text.lines().filter(|line| !line.trim_start().starts_with("span:")).collect::<Vec<_>>().join("\n")
}

fn uncommented(reference: &str) -> String {
    reference.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_defaults_in_the_reference_are_those_of_the_code() {
    let read = |text: &str| without_spans(&parse(text));
    assert_eq!(read(&in_force(REFERENCE, false)), read(&uncommented(REFERENCE)));
    let read = |text: &str| {
        let parsed = AuthorityConfig::parse_with(Path::new("authority.toml"), text, &|_| None);
        let (config, warnings) = parsed.unwrap_or_else(|problems| panic!("{problems}"));
        assert!(warnings.is_empty(), "{warnings:?}");
        without_spans(&config)
    };
    assert_eq!(read(&in_force(AUTHORITY_REFERENCE, false)), read(&uncommented(AUTHORITY_REFERENCE)));
    read(include_str!("../../config/authority/authority.toml"));
}

#[test]
fn every_key_of_the_reference_is_explained() {
    for reference in [REFERENCE, AUTHORITY_REFERENCE] {
        let lines: Vec<&str> = reference.lines().collect();
        for pair in lines.windows(2) {
            let assignment = pair[1].trim_start_matches("# ").trim_start_matches("example: ");
            if is_assignment(assignment) {
                let explanation = pair[0].strip_prefix("# ").unwrap_or_default();
                assert!(!explanation.is_empty() && !is_assignment(explanation), "{} has no explanation", pair[1]);
            }
        }
    }
}
