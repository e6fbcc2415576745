//! What the tables that decide about requests have in common: names, methods, paths and claims.

use crate::policy::{ClaimRules, MethodName, Methods, PathPattern};

use super::Located;
use super::reader::TableReader;

/// The most characters of a name.
const MAX_NAME: usize = 63;

/// The name of a rule or a route, for logs and answers; required. Whether it is taken is the caller's question.
pub(super) fn read_name(t: &mut TableReader<'_, '_, '_>, example: &str) -> Option<Located<String>> {
    let name = t.string("name");
    t.require("name", &format!("name it for logs and answers, such as name = {example:?}"));
    let name = name?;
    let is_plain = |b: u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\');
    let text = &name.value;
    if text.len() > MAX_NAME || !text.bytes().all(is_plain) || text.trim() != text {
        let message = format!(
            "{} is {text:?}: expected 1 to {MAX_NAME} printable ASCII characters, without quotes and space around",
            t.thing("name"),
        );
        t.error(Some(name.span), message, format!("write a short name such as {example:?}"));
        return None;
    }
    Some(name)
}

/// `methods`; any where the key is absent.
pub(super) fn read_methods(t: &mut TableReader<'_, '_, '_>) -> Methods {
    let names = t.parsed_list::<MethodName>("methods", "write methods in capital letters, such as \"GET\"");
    refuse_empty_list(t, "methods", "list methods such as \"GET\", or remove it for any");
    let names = names.unwrap_or_default().into_iter().map(|name| name.value);
    Methods::listed(names.collect())
}

/// `paths`; none where the key is absent.
pub(super) fn read_paths(t: &mut TableReader<'_, '_, '_>) -> Vec<PathPattern> {
    let remedy = "write a path such as \"/ads\", \"/ads/{id}\" (one segment) or \"/ads/*\" (everything below)";
    let paths = t.parsed_list::<PathPattern>("paths", remedy);
    refuse_empty_list(t, "paths", "list paths such as \"/ads/*\", or remove it for any");
    paths.unwrap_or_default().into_iter().map(|path| path.value).collect()
}

/// `claims`; none asked for where the key is absent.
pub(super) fn read_claims(t: &mut TableReader<'_, '_, '_>) -> ClaimRules {
    t.claims("claims").unwrap_or_default()
}

/// An empty list could be meant as none or as any, so it is neither.
pub(super) fn refuse_empty_list(t: &mut TableReader<'_, '_, '_>, key: &'static str, remedy: &str) {
    if t.is_empty_list(key) {
        let message = format!("{} is empty: expected one entry at least", t.thing(key));
        t.error(t.whole_span(key), message, remedy);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use toml::de::DeTable;

    use super::super::reader::Reading;
    use super::*;

    type Said = (Option<String>, Methods, Vec<PathPattern>, ClaimRules);

    /// What a rule of an inbound listener says, and what is wrong with it.
    fn read(rule: &str) -> (Said, Vec<String>) {
        let text = format!("[[inbound]]\nname = \"ads\"\n[[inbound.rule]]\n{rule}");
        let table = DeTable::parse(&text).expect("valid TOML");
        let mut reading = Reading {
            directory: Path::new(""),
            environment: &|name| (name == "ROLE").then(|| "seller".into()),
            broken_from: None,
            problems: Vec::new(),
            asked: Vec::new(),
        };
        let mut rules = TableReader::read_root(&mut reading, table.get_ref(), |root| {
            root.sections("inbound", |inbound| {
                inbound.string("name");
                inbound.sections("rule", |t| {
                    let name = read_name(t, "read ads").map(|name| name.value);
                    (name, read_methods(t), read_paths(t), read_claims(t))
                })
            })
        });
        let problems = reading.problems.iter().map(|problem| format!("{}; {}", problem.message, problem.remedy));
        (rules.remove(0).remove(0), problems.collect())
    }

    #[test]
    fn names_methods_paths_and_claims_are_read() {
        let text = r#"
            name = "read ads"
            methods = ["GET", "HEAD"]
            paths = ["/ads", "/ads/{id}", "/static/*"]
            claims = { role = ["${ROLE}", "admin"], email_verified = true, level = 3, realm.roles = "x", "https://a/b" = "y" }
        "#;
        let ((name, methods, paths, claims), problems) = read(text);
        assert_eq!((problems, name.as_deref()), (vec![], Some("read ads")));
        assert_eq!(methods.to_string(), "GET, HEAD");
        assert_eq!(paths.iter().map(ToString::to_string).collect::<Vec<_>>(), ["/ads", "/ads/{id}", "/static/*"]);
        let claims: Vec<String> = claims.all().iter().map(ToString::to_string).collect();
        let expected = [
            "email_verified = true",
            "https://a/b = \"y\"",
            "level = 3",
            "realm.roles = \"x\"",
            "role = one of \"seller\", \"admin\"",
        ];
        assert_eq!(claims, expected);
    }

    #[test]
    fn claims_can_be_a_table_of_their_own() {
        let ((_, _, _, claims), problems) = read("name = \"x\"\n[inbound.rule.claims]\nrole = \"seller\"");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(claims.all().iter().map(ToString::to_string).collect::<Vec<_>>(), ["role = \"seller\""]);
    }

    #[test]
    fn every_bad_value_is_reported_with_its_remedy() {
        for (rule, problem) in [
            (
                "",
                "inbound \"ads\": rule number 1 has no \"name\"; name it for logs and answers, such as name = \"read ads\"",
            ),
            (
                "name = \"caf\u{e9}\"",
                "inbound \"ads\": rule \"caf\u{e9}\": name is \"caf\u{e9}\": expected 1 to 63 printable ASCII characters, without quotes and space around; write a short name such as \"read ads\"",
            ),
            (
                "name = \"r\"\nmethods = []",
                "inbound \"ads\": rule \"r\": methods is empty: expected one entry at least; list methods such as \"GET\", or remove it for any",
            ),
            (
                "name = \"r\"\nmethods = [\"get\"]",
                "inbound \"ads\": rule \"r\": methods: \"get\" has lower-case letters: methods are told apart by case; write methods in capital letters, such as \"GET\"",
            ),
            (
                "name = \"r\"\nmethods = \"GET\"",
                "inbound \"ads\": rule \"r\": methods is \"GET\": expected a list of strings; write methods = [\"GET\"]",
            ),
            (
                "name = \"r\"\npaths = []",
                "inbound \"ads\": rule \"r\": paths is empty: expected one entry at least; list paths such as \"/ads/*\", or remove it for any",
            ),
            (
                "name = \"r\"\npaths = [\"ads\"]",
                "inbound \"ads\": rule \"r\": paths: \"ads\" does not begin with \"/\"; write a path such as \"/ads\", \"/ads/{id}\" (one segment) or \"/ads/*\" (everything below)",
            ),
            (
                "name = \"r\"\nclaims = \"seller\"",
                "inbound \"ads\": rule \"r\": claims is \"seller\": expected a table of claims; write claims = { role = \"seller\" }",
            ),
            (
                "name = \"r\"\nclaims = {}",
                "inbound \"ads\": rule \"r\": claims is empty: expected a claim and its value; name a claim, or remove the empty table",
            ),
            (
                "name = \"r\"\nclaims = { role = [] }",
                "inbound \"ads\": rule \"r\": claims.role is an empty list, which no claim can match; list the values of which the claim has to be one",
            ),
            (
                "name = \"r\"\nclaims = { level = 1.5 }",
                "inbound \"ads\": rule \"r\": claims.level is 1.5: expected a string, an integer of 64 bits, true or false, or a list of these; write the value that the claim has in the token",
            ),
            (
                "name = \"r\"\nclaims = { a = { b = [[1]] } }",
                "inbound \"ads\": rule \"r\": claims.a.b is a list: expected a string, an integer of 64 bits, true or false, or a list of these; write the value that the claim has in the token",
            ),
            (
                "name = \"r\"\npath = [\"/ads\"]",
                "unknown key \"path\" in inbound \"ads\": rule \"r\"; rename it to \"paths\", or remove it",
            ),
        ] {
            assert_eq!(read(rule).1, [problem], "{rule}");
        }
    }

    #[test]
    fn a_nested_table_in_single_brackets_is_reported() {
        let table = DeTable::parse("[[inbound]]\nname = \"ads\"\n[inbound.rule]\nname = \"x\"").expect("valid TOML");
        let mut reading = Reading {
            directory: Path::new(""),
            environment: &|_| None,
            broken_from: None,
            problems: Vec::new(),
            asked: Vec::new(),
        };
        TableReader::read_root(&mut reading, table.get_ref(), |root| {
            root.sections("inbound", |inbound| {
                inbound.string("name");
                inbound.sections("rule", |_| ());
            });
        });
        let problem = &reading.problems[0];
        assert_eq!(problem.message, "inbound \"ads\": rule is a table: expected tables [[inbound.rule]]");
        assert_eq!(problem.remedy, "write [[inbound.rule]] in double brackets, once for each rule");
    }
}
