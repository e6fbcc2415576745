//! Request methods by name.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The name of a request method such as `GET`: a token of HTTP (RFC 9110 section 9.1) without lower-case letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodName(Box<str>);

/// Why a text is not a [`MethodName`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MethodNameError {
    /// Methods are told apart by case, and `get` is not `GET`.
    #[error("{text:?} has lower-case letters: methods are told apart by case")]
    LowerCase {
        /// The text as it was given.
        text: String,
    },
    /// A character that no method has, or none at all.
    #[error("{text:?} is not a method such as \"GET\"")]
    NotAToken {
        /// The text as it was given.
        text: String,
    },
}

/// Which methods are meant; any, unless some are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Methods {
    /// Empty where any is meant.
    listed: Vec<MethodName>,
}

impl Methods {
    /// Any method.
    pub fn any() -> Self {
        Self::default()
    }

    /// These methods. None at all are never meant: an empty list is any.
    pub fn listed(listed: Vec<MethodName>) -> Self {
        Self { listed }
    }

    /// The methods listed; empty where any is meant.
    pub fn names(&self) -> &[MethodName] {
        &self.listed
    }

    /// True where the method is meant. Case matters: `get` is another method than `GET`.
    pub fn contain(&self, method: &str) -> bool {
        self.listed.is_empty() || self.listed.iter().any(|name| *name.0 == *method)
    }

    /// True where a service that is careless about case could take the method for one that is meant.
    pub fn resemble(&self, method: &str) -> bool {
        self.listed.is_empty() || self.listed.iter().any(|name| name.0.eq_ignore_ascii_case(method))
    }
}

impl MethodName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MethodName {
    type Err = MethodNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if text.is_empty() || !text.bytes().all(is_token) || text == "*" {
            return Err(MethodNameError::NotAToken { text: text.to_owned() });
        }
        if text.bytes().any(|b| b.is_ascii_lowercase()) {
            return Err(MethodNameError::LowerCase { text: text.to_owned() });
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `any`, or the names.
impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.listed.split_first() {
            None => f.write_str("any"),
            Some((first, rest)) => {
                first.fmt(f)?;
                rest.iter().try_for_each(|name| write!(f, ", {name}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_apart_by_case() {
        let methods = Methods::listed(vec!["GET".parse().expect("valid"), "M-SEARCH".parse().expect("valid")]);
        assert!(methods.contain("GET") && methods.contain("M-SEARCH"));
        for other in ["get", "HEAD", "GE", "GETX", ""] {
            assert!(!methods.contain(other), "{other}");
        }
        assert!(methods.resemble("get") && !methods.resemble("HEAD"));
        assert!(Methods::any().contain("PURGE") && Methods::any().resemble("PURGE"));
    }

    #[test]
    fn what_is_no_method_is_refused() {
        for text in ["", "GET ", "GE T", "*", "GET,HEAD", "G\u{c9}T", "GET\n"] {
            assert!(matches!(text.parse::<MethodName>(), Err(MethodNameError::NotAToken { .. })), "{text:?}");
        }
        assert!(matches!("get".parse::<MethodName>(), Err(MethodNameError::LowerCase { .. })));
    }
}
