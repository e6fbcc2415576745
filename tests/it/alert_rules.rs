//! The alert rules name metrics that mantlet has.

use std::collections::BTreeSet;

use mantlet::proxy::Direction;
use mantlet::proxy::metrics::ProxyMetrics;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

const RULES: &str = include_str!("../../packaging/prometheus/mantlet.rules.yml");
/// What is read off the running state at each scrape, as a real one has it.
const FIGURES: &str =
    include_str!("snapshots/it__admin__metrics_are_openmetrics_with_expiry_crl_reload_build_and_process_figures.snap");

/// What a process has besides that an authority certifies; `enrolment::scripted` scrapes them.
const OF_AN_AUTHORITY: [&str; 5] = [
    "mantlet_identity_renewal_failing gauge",
    "mantlet_authority_clock_skew_seconds gauge",
    "mantlet_authority_store_up gauge",
    "mantlet_authority_unlisted_revocations gauge",
    "mantlet_authority_crl_next_update_timestamp_seconds gauge",
];

/// The series that a scrape has, by the suffixes that each type adds to the name of its family.
fn exported() -> BTreeSet<String> {
    let mut registry = Registry::default();
    let _ads = ProxyMetrics::register(&mut registry).listener("ads", Direction::Inbound);
    let mut proxy = String::new();
    encode(&mut proxy, &registry).unwrap();
    let families = proxy.lines().chain(FIGURES.lines()).filter_map(|line| line.strip_prefix("# TYPE "));
    let families = families.chain(OF_AN_AUTHORITY.iter().copied());
    families
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect()
}

fn named(rules: &str) -> BTreeSet<&str> {
    let words = rules.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with("mantlet_")).collect()
}

#[test]
fn each_metric_that_a_rule_names_is_exported() {
    let (exported, named) = (exported(), named(RULES));
    assert!(named.len() >= 8, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !exported.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not among {exported:#?}");
}

#[test]
fn each_rule_says_what_to_do() {
    for rule in RULES.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        for part in ["expr:", "severity: ", "summary: ", "description: "] {
            assert!(rule.contains(part), "{name} has no {part}");
        }
    }
}
