//! JSON objects that can be read in one way only (RFC 8725 section 2.6): a member that stands twice is refused, at every depth, and so is
//! what is nested deeply or has very many values.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deeply arrays and objects may lie in each other, the outermost included.
const MAX_DEPTH: usize = 12;

/// Reads one object of at most so many values.
///
/// # Errors
/// Where and why it is none; the text repeats nothing of a value.
pub(super) fn object(text: &[u8], max_values: usize) -> Result<Map<String, Value>, String> {
    let reading = Reading { left: Cell::new(max_values), refused: Cell::new(None) };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth: 0, reading: &reading }.deserialize(&mut reader);
    match value.and_then(|value| reader.end().map(|()| value)) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("is JSON, but no object".to_owned()),
        Err(error) => Err(reading.refused.get().map_or_else(|| format!("is no JSON: {error}"), str::to_owned)),
    }
}

/// What is the same for all values of one text.
struct Reading {
    /// How many values may still come.
    left: Cell<usize>,
    /// Why it is refused although it is JSON.
    refused: Cell<Option<&'static str>>,
}

impl Reading {
    fn refuse<E: Error>(&self, reason: &'static str) -> E {
        self.refused.set(Some(reason));
        E::custom(reason)
    }
}

/// Reads one value at a depth.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    reading: &'a Reading,
}

impl Strict<'_> {
    /// What lies one deeper.
    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.reading.refuse("is nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.reading.left.get().checked_sub(1) {
            Some(left) => self.reading.left.set(left),
            None => return Err(self.reading.refuse("holds too many values")),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.reading.refuse("holds what is no number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let (inner, mut values) = (self.inner()?, Vec::new());
        while let Some(value) = elements.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let (inner, mut map) = (self.inner()?, Map::new());
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(self.reading.refuse("holds a member twice"));
            }
            map.insert(name, members.next_value_seed(inner)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        object(text.as_bytes(), 64).expect_err(text)
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"b":1,"c":2,"b":3}]}"#, r#"{"a":1,"\u0061":2}"#] {
            assert_eq!(refusal(text), "holds a member twice", "{text}");
        }
        for text in
            ["", "{", r#"{"a":1}x"#, r#"{"a":1}{}"#, r#"{"a":NaN}"#, r#"{"a":01}"#, r"{'a':1}", "{\"a\":\"\u{1}\"}"]
        {
            assert!(refusal(text).starts_with("is no JSON: "), "{text}: {}", refusal(text));
        }
        assert!(object(b"{\"a\":\"\xff\"}", 64).is_err(), "octets that are no UTF-8");
        for text in ["[]", "1", "null", r#""x""#] {
            assert_eq!(refusal(text), "is JSON, but no object");
        }
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(nested(MAX_DEPTH - 1).as_bytes(), 64).is_ok());
        assert_eq!(refusal(&nested(MAX_DEPTH)), "is nested too deeply");
        let wide = |count: usize| format!("{{\"a\":[{}]}}", vec!["1"; count].join(","));
        assert!(object(wide(62).as_bytes(), 64).is_ok());
        assert_eq!(refusal(&wide(63)), "holds too many values");
    }

    #[test]
    fn a_good_object_is_read_as_serde_json_reads_it() {
        let text = r#"{"s":"\u00e9\ud83d\ude00","n":-1,"f":1.5,"t":true,"z":null,"l":[1,{"m":{}}]}"#;
        let expected: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(object(text.as_bytes(), 64).map(Value::Object), Ok(expected));
    }
}
