//! Owns the one canonical JSON writer and SHA-256 digests: equal content gives equal bytes.
//!
//! Keys are sorted, there is no white space, and floats are refused: money and ratios travel as
//! decimal strings, so that no two writers can round differently.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// A float stands where only integers and strings may.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("canonical JSON has no floats, but {path} is one: write it as a decimal string")]
pub struct FloatInCanonicalJson {
    path: String,
}

/// SHA-256 of the bytes in lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The canonical bytes of a JSON value.
pub fn to_canonical(value: &Value) -> Result<String, FloatInCanonicalJson> {
    let mut out = String::new();
    write_value(value, "$", &mut out)?;
    Ok(out)
}

fn write_value(value: &Value, path: &str, out: &mut String) -> Result<(), FloatInCanonicalJson> {
    match value {
        Value::Number(number) if !(number.is_i64() || number.is_u64()) => {
            return Err(FloatInCanonicalJson {
                path: path.to_owned(),
            });
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item, &format!("{path}[{index}]"), out)?;
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", Value::String(key.clone()));
                write_value(&map[key], &format!("{path}.{key}"), out)?;
            }
            out.push('}');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_of_keys_does_not_matter() {
        let text = to_canonical(&json!({"b": [1, "x\n"], "a": {"d": null, "c": true}})).unwrap();
        assert_eq!(text, r#"{"a":{"c":true,"d":null},"b":[1,"x\n"]}"#);
    }

    #[test]
    fn floats_are_refused_by_path() {
        let error = to_canonical(&json!({"a": [{"usd": 1.5}]})).unwrap_err();
        assert!(error.to_string().contains("$.a[0].usd"), "{error}");
    }
}
