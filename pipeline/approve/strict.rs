//! Owns the one parser for bytes that somebody signed: it refuses what two parsers could read in two
//! ways, before anything is believed.
//!
//! Refused are: too many bytes, text that is not UTF-8, a key that stands twice, any float (and
//! numbers beyond 64 bits), deep nesting, anything after the value, and characters that a reader
//! does not see (controls, marks of direction, zero width). Called by the rest of the room after a
//! signature has verified.

use std::fmt;
use std::fmt::Write as _;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Nesting beyond this is nobody's document.
const DEPTH_MAX: usize = 32;

/// Parses one JSON value; the error says what is wrong with it.
pub fn parse_strict(bytes: &[u8], bytes_max: usize) -> Result<Value, String> {
    if bytes.len() > bytes_max {
        return Err(format!("it is larger than {bytes_max} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// The first character of a document's texts that a reader would not see, with its place.
#[must_use]
pub fn unseen_character(value: &Value) -> Option<String> {
    fn walk(value: &Value, path: &str) -> Option<String> {
        match value {
            Value::String(text) => unseen(text).map(|c| format!("U+{:04X} in {path}", c as u32)),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .find_map(|(index, item)| walk(item, &format!("{path}[{index}]"))),
            Value::Object(fields) => fields.iter().find_map(|(key, item)| {
                unseen(key)
                    .map(|c| format!("U+{:04X} in a key of {path}", c as u32))
                    .or_else(|| walk(item, &format!("{path}.{key}")))
            }),
            _ => None,
        }
    }
    walk(value, "$")
}

fn unseen(text: &str) -> Option<char> {
    text.chars().find(|c| {
        c.is_control()
            || matches!(*c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}')
    })
}

/// Text for a terminal or a page: what a reader would not see is spelled out.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if unseen(c.encode_utf8(&mut [0; 4])).is_some() {
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        } else {
            out.push(c);
        }
    }
    out
}

struct Strict {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format!(
                "it is nested deeper than {DEPTH_MAX} levels"
            )));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without floats")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format!(
            "it holds the float {value}: numbers travel as integers or text"
        )))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.deeper::<A::Error>()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.deeper::<A::Error>()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.deeper::<A::Error>()?;
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self.deeper::<A::Error>()?)?;
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` stands twice")));
            }
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &[u8]) -> String {
        parse_strict(text, 10_000).unwrap_err()
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        assert!(refused(br#"{"a":1,"a":2}"#).contains("stands twice"));
        assert!(refused(br#"{"a":{"b":1,"\u0062":2}}"#).contains("stands twice"));
        assert!(refused(br#"{"a":1.0}"#).contains("float"));
        assert!(refused(br#"{"a":1e3}"#).contains("float"));
        assert!(refused(br#"{"a":99999999999999999999}"#).contains("float"));
        assert!(refused(b"{\"a\":\"\xff\"}").contains("UTF-8"));
        assert!(refused(br#"{"a":1} {"a":2}"#).contains("trailing"));
        // Half of a pair is no character.
        assert!(refused(br#"{"a":"\ud800"}"#).contains("hex escape"));
        assert!(parse_strict(br#"{"a":[1,-2,"x",null,true]}"#, 100).is_ok());
        assert!(parse_strict(b"[1]", 2).unwrap_err().contains("larger"));
    }

    #[test]
    fn nesting_is_bounded_before_the_stack_is() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse_strict(deep(DEPTH_MAX).as_bytes(), 10_000).is_ok());
        assert!(refused(deep(DEPTH_MAX + 1).as_bytes()).contains("deeper"));
        assert!(parse_strict(deep(1_000_000).as_bytes(), 1 << 22).is_err());
    }

    #[test]
    fn what_a_reader_does_not_see_is_named() {
        let value = parse_strict("{\"a\":[\"x\u{202e}y\"]}".as_bytes(), 100).unwrap();
        assert_eq!(unseen_character(&value).unwrap(), "U+202E in $.a[0]");
        assert_eq!(visible("a\u{202e}b\n"), "a\\u{202e}b\\u{a}");
        assert_eq!(
            unseen_character(&serde_json::json!({"å": "Zürich 東京"})),
            None
        );
    }
}
