//! Tables of claims, whose keys are the operator's.

use toml::de::{DeTable, DeValue};

use crate::policy::{ClaimRule, ClaimRules, ClaimValue};

use super::values::IS;
use super::{TableReader, Value, described};

impl TableReader<'_, '_, '_> {
    /// What a user's claims have to say: `{ role = ["seller", "admin"], email_verified = true, realm.roles = "admin" }`.
    pub(in crate::config) fn claims(&mut self, key: &'static str) -> Option<ClaimRules> {
        let value = self.value(key)?;
        let thing = self.thing(key);
        let DeValue::Table(table) = value.get_ref() else {
            let message = format!("{thing} is {}: expected a table of claims", described(value));
            self.error(Some(value.span()), message, format!("write {key} = {{ role = \"seller\" }}"));
            return None;
        };
        let mut rules = Vec::new();
        self.claims_below(&thing, &mut Vec::new(), (value, table), &mut rules)?;
        Some(ClaimRules::new(rules))
    }

    fn claims_below(
        &mut self,
        thing: &str,
        path: &mut Vec<String>,
        (value, table): (&Value<'_>, &DeTable<'_>),
        rules: &mut Vec<ClaimRule>,
    ) -> Option<()> {
        if table.is_empty() {
            let message = format!("{thing} is empty: expected a claim and its value");
            self.error(Some(value.span()), message, "name a claim, or remove the empty table");
            return None;
        }
        let mut all = Some(());
        for (name, value) in table {
            path.push(name.get_ref().to_string());
            let thing = format!("{thing}.{}", name.get_ref());
            let read = match value.get_ref() {
                DeValue::Table(below) => self.claims_below(&thing, path, (value, below), rules),
                _ => {
                    self.claim_values(&thing, value).map(|one_of| rules.push(ClaimRule { path: path.clone(), one_of }))
                }
            };
            all = all.and(read);
            path.pop();
        }
        all
    }

    fn claim_values(&mut self, thing: &str, value: &Value<'_>) -> Option<Vec<ClaimValue>> {
        let DeValue::Array(array) = value.get_ref() else { return Some(vec![self.claim_value(thing, value)?]) };
        if array.is_empty() {
            let message = format!("{thing} is an empty list, which no claim can match");
            self.error(Some(value.span()), message, "list the values of which the claim has to be one");
            return None;
        }
        // All are looked at, so that every problem is found.
        let values: Vec<Option<ClaimValue>> = array.iter().map(|element| self.claim_value(thing, element)).collect();
        values.into_iter().collect()
    }

    fn claim_value(&mut self, thing: &str, value: &Value<'_>) -> Option<ClaimValue> {
        let found = match value.get_ref() {
            DeValue::String(_) => return self.text_of(thing, IS, value).map(|text| ClaimValue::Text(text.value)),
            DeValue::Boolean(value) => Some(ClaimValue::Boolean(*value)),
            DeValue::Integer(digits) => {
                i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(ClaimValue::Integer)
            }
            _ => None,
        };
        if found.is_none() {
            let message = format!(
                "{thing} is {}: expected a string, an integer of 64 bits, true or false, or a list of these",
                described(value),
            );
            self.error(Some(value.span()), message, "write the value that the claim has in the token");
        }
        found
    }
}
