//! What is asked of the claims of an end user.

use std::fmt;

use serde_json::{Map, Value};

/// What the claims of a user have to say; all of it has to be so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimRules(Vec<ClaimRule>);

/// One claim that has to have one of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRule {
    /// The name of the claim; below an object the name of its member, and so on. Never empty.
    pub path: Vec<String>,
    /// The values, of which the claim has to equal one, or has to hold one if it is an array. Never empty.
    pub one_of: Vec<ClaimValue>,
}

/// A value that a claim is compared with. Nothing is converted: `"1"` is not `1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    /// A string, compared exactly.
    Text(String),
    /// A number without a fraction.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
}

impl ClaimRules {
    /// All of these. None ask nothing.
    pub fn new(rules: Vec<ClaimRule>) -> Self {
        Self(rules)
    }

    /// True where nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each claim that is asked about.
    pub fn all(&self) -> &[ClaimRule] {
        &self.0
    }

    /// True where the claims say all that is asked.
    pub fn hold_for(&self, claims: &Map<String, Value>) -> bool {
        self.first_unmet(claims).is_none()
    }

    /// The first claim that does not say what is asked.
    pub fn first_unmet(&self, claims: &Map<String, Value>) -> Option<&ClaimRule> {
        self.0.iter().find(|rule| !rule.holds_for(claims))
    }
}

impl ClaimRule {
    /// True where the claim is there and has one of the values.
    pub fn holds_for(&self, claims: &Map<String, Value>) -> bool {
        let Some((first, rest)) = self.path.split_first() else { return false };
        let claim = rest.iter().try_fold(claims.get(first), |claim, name| Some(claim?.as_object()?.get(name)));
        match claim.flatten() {
            Some(Value::Array(elements)) => elements.iter().any(|element| self.is_one(element)),
            Some(claim) => self.is_one(claim),
            None => false,
        }
    }

    fn is_one(&self, claim: &Value) -> bool {
        self.one_of.iter().any(|value| value.equals(claim))
    }
}

impl ClaimValue {
    fn equals(&self, claim: &Value) -> bool {
        match self {
            Self::Text(text) => claim.as_str() == Some(text),
            Self::Integer(number) => claim.as_i64() == Some(*number),
            Self::Boolean(value) => claim.as_bool() == Some(*value),
        }
    }
}

impl fmt::Display for ClaimValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(value) => value.fmt(f),
        }
    }
}

/// `role = "seller"`, or `role = one of "seller", "admin"`.
impl fmt::Display for ClaimRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path.join("."))?;
        f.write_str(if self.one_of.len() > 1 { " = one of " } else { " = " })?;
        let values: Vec<String> = self.one_of.iter().map(ToString::to_string).collect();
        f.write_str(&values.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(path: &[&str], one_of: &[ClaimValue]) -> ClaimRule {
        ClaimRule { path: path.iter().map(ToString::to_string).collect(), one_of: one_of.to_vec() }
    }

    fn text(text: &str) -> ClaimValue {
        ClaimValue::Text(text.into())
    }

    #[track_caller]
    fn assert_holds(rule: &ClaimRule, claims: &Value, holds: bool) {
        assert_eq!(rule.holds_for(claims.as_object().expect("an object")), holds, "{rule} {claims}");
    }

    #[test]
    fn a_claim_has_to_equal_one_of_the_values() {
        let seller = rule(&["role"], &[text("seller"), text("admin")]);
        assert_holds(&seller, &json!({"role": "seller"}), true);
        assert_holds(&seller, &json!({"role": "admin", "x": 1}), true);
        for claims in [json!({}), json!({"role": "buyer"}), json!({"role": "Seller"}), json!({"role": null})] {
            assert_holds(&seller, &claims, false);
        }
    }

    #[test]
    fn an_array_has_to_hold_one_of_the_values() {
        let seller = rule(&["roles"], &[text("seller"), text("admin")]);
        assert_holds(&seller, &json!({"roles": ["buyer", "seller"]}), true);
        for claims in [json!({"roles": []}), json!({"roles": ["buyer"]}), json!({"roles": [["seller"]]})] {
            assert_holds(&seller, &claims, false);
        }
    }

    #[test]
    fn nothing_is_converted() {
        let verified = rule(&["email_verified"], &[ClaimValue::Boolean(true)]);
        assert_holds(&verified, &json!({"email_verified": true}), true);
        for claims in
            [json!({"email_verified": "true"}), json!({"email_verified": 1}), json!({"email_verified": false})]
        {
            assert_holds(&verified, &claims, false);
        }
        let level = rule(&["level"], &[ClaimValue::Integer(3)]);
        assert_holds(&level, &json!({"level": 3}), true);
        for claims in [json!({"level": "3"}), json!({"level": 3.5}), json!({"level": 3_000_000_000_000_000_000_000.0})]
        {
            assert_holds(&level, &claims, false);
        }
    }

    #[test]
    fn a_path_leads_into_objects_and_nowhere_else() {
        let admin = rule(&["realm_access", "roles"], &[text("admin")]);
        assert_holds(&admin, &json!({"realm_access": {"roles": ["admin"]}}), true);
        for claims in [
            json!({"realm_access.roles": "admin"}),
            json!({"realm_access": "admin"}),
            json!({"realm_access": [{"roles": "admin"}]}),
            json!({"roles": "admin"}),
        ] {
            assert_holds(&admin, &claims, false);
        }
    }

    #[test]
    fn all_rules_have_to_hold() {
        let rules = ClaimRules::new(vec![rule(&["a"], &[text("x")]), rule(&["b"], &[text("y")])]);
        let claims = |value: Value| value.as_object().expect("an object").clone();
        assert!(rules.hold_for(&claims(json!({"a": "x", "b": "y"}))));
        let unmet = rules.first_unmet(&claims(json!({"a": "x", "b": "z"}))).map(ToString::to_string);
        assert_eq!(unmet.as_deref(), Some("b = \"y\""));
        assert!(ClaimRules::default().hold_for(&Map::new()));
    }
}
