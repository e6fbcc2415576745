//! `${NAME}` in string values.

use std::ffi::OsString;

use thiserror::Error;

/// Where the values of variables come from.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Why a text could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum ExpandError {
    #[error("environment variable {name} is not set")]
    Unset { name: String },
    #[error("environment variable {name} is not UTF-8 text")]
    NotText { name: String },
    #[error("{name:?} is not a name of an environment variable: expected letters, digits and _")]
    Name { name: String },
    #[error("\"${{\" has no closing brace")]
    Unclosed,
    #[error("\"$\" stands before neither a brace nor another \"$\"")]
    LoneDollar,
}

impl ExpandError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Unset { name } => format!("set {name}, or write the value itself"),
            Self::NotText { name } => format!("set {name} to UTF-8 text"),
            Self::Name { .. } | Self::Unclosed | Self::LoneDollar => {
                "write \"${NAME}\" for a variable, or \"$$\" for a dollar sign".into()
            }
        }
    }
}

/// Replaces `${NAME}` by the variable's value and `$$` by `$`. A value is not expanded again.
pub(super) fn expand(text: &str, environment: Environment<'_>) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or(ExpandError::Unclosed)?;
            expanded.push_str(&value_of(name, environment)?);
            rest = after;
        } else {
            return Err(ExpandError::LoneDollar);
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn value_of(name: &str, environment: Environment<'_>) -> Result<String, ExpandError> {
    let well_formed = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !well_formed {
        return Err(ExpandError::Name { name: name.to_owned() });
    }
    let value = environment(name).ok_or_else(|| ExpandError::Unset { name: name.to_owned() })?;
    value.into_string().map_err(|_| ExpandError::NotText { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand_here(text: &str) -> Result<String, String> {
        let environment = |name: &str| match name {
            "PORT" => Some("8443".into()),
            "DOLLARS" => Some("${PORT}$$".into()),
            _ => None,
        };
        expand(text, &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_and_dollar_signs_are_replaced_once() {
        assert_eq!(expand_here("0.0.0.0:${PORT}").as_deref(), Ok("0.0.0.0:8443"));
        assert_eq!(expand_here("$$${PORT}$${PORT}").as_deref(), Ok("$8443${PORT}"));
        assert_eq!(expand_here("${DOLLARS}").as_deref(), Ok("${PORT}$$"));
        assert_eq!(expand_here("plain").as_deref(), Ok("plain"));
    }

    #[test]
    fn what_cannot_be_expanded_is_named() {
        for text in ["${NONE}", "${PORT", "$PORT", "${}", "${1A}", "${A:-b}", "a$"] {
            assert!(expand_here(text).is_err(), "{text}");
        }
        assert_eq!(expand_here("${NONE}"), Err("environment variable NONE is not set".into()));
    }
}
