//! End users: the people, and their devices, on whose behalf a service calls another.

use std::fmt;

use serde_json::{Map, Value};

/// An end user, as a verified token tells, or a caller that was named as one who may say so.
///
/// It is never what a request merely claims: whoever makes one has verified the token, or the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who vouches for the user: the token's `iss` (RFC 7519 section 4.1.1).
    pub issuer: String,
    /// Who the user is to the issuer: the token's `sub` (RFC 7519 section 4.1.2).
    pub subject: String,
    /// Everything that the issuer says of the user, `iss` and `sub` included.
    pub claims: Map<String, Value>,
}

/// The name by which a user is known in logs: the subject alone, without what a terminal would obey.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subject.chars().try_for_each(|c| write!(f, "{}", if c.is_control() { '\u{fffd}' } else { c }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_shown_on_one_line() {
        let user = User { issuer: String::new(), subject: "ann\n\u{1b}[2J \u{e9}".into(), claims: Map::new() };
        assert_eq!(user.to_string(), "ann\u{fffd}\u{fffd}[2J \u{e9}");
    }
}
