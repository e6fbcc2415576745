//! The name that was probably meant.

/// The known name nearest to a mistyped one, if any is near enough to be meant.
pub(super) fn nearest<'n>(typed: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let closeness = |name: &str| {
        let name = name.replace('-', "_");
        if (typed.len() > 3 && name.contains(&typed)) || (name.len() > 3 && typed.contains(&name)) {
            return 0.9;
        }
        strsim::normalized_damerau_levenshtein(&typed, &name).max(strsim::jaro_winkler(&typed, &name) - 0.2)
    };
    let (name, closeness) =
        known.map(|name| (name, closeness(name))).max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    (closeness >= 0.6).then_some(name)
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn one_of(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    match (names.pop(), names.is_empty()) {
        (Some(last), false) => format!("{} or {last}", names.join(", ")),
        (last, _) => last.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_leads_to_the_name_that_was_meant() {
        let known = ["name", "listen", "forward_to", "client_auth", "allow"];
        for (typed, meant) in [
            ("lisen", "listen"),
            ("liste", "listen"),
            ("forwardto", "forward_to"),
            ("forward-to", "forward_to"),
            ("Allow", "allow"),
            ("clientauth", "client_auth"),
            ("auth", "client_auth"),
        ] {
            assert_eq!(nearest(typed, known.into_iter()), Some(meant), "{typed}");
        }
    }

    #[test]
    fn a_foreign_name_leads_nowhere() {
        for typed in ["x", "", "timeout", "upstream"] {
            assert_eq!(nearest(typed, ["name", "listen", "allow"].into_iter()), None, "{typed}");
        }
    }
}
