//! Owns reading of untrusted JSON: every accessor answers `None` or an empty list where a field
//! is missing or of the wrong type, and none panics. It knows no Kubernetes kind.

use serde_json::Value;

use crate::model::time::parse_ms;

static NULL: Value = Value::Null;

/// The value at a path of keys; numbers index arrays.
pub(super) fn get<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |here, key| match here {
        Value::Array(items) => key
            .parse::<usize>()
            .ok()
            .and_then(|index| items.get(index))
            .unwrap_or(&NULL),
        other => other.get(key).unwrap_or(&NULL),
    })
}

/// A non-empty string at a path.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    get(value, path).as_str().filter(|text| !text.is_empty())
}

/// An integer at a path, also one that is spelled as a string.
pub(super) fn int(value: &Value, path: &[&str]) -> Option<i64> {
    let here = get(value, path);
    here.as_i64()
        .or_else(|| here.as_str().and_then(|text| text.trim().parse().ok()))
}

/// A boolean at a path; also `"true"`.
pub(super) fn truth(value: &Value, path: &[&str]) -> bool {
    let here = get(value, path);
    here.as_bool() == Some(true) || here.as_str() == Some("true")
}

/// The items of an array at a path.
pub(super) fn items<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    get(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The instant of an RFC 3339 string at a path.
pub(super) fn time_ms(value: &Value, path: &[&str]) -> Option<i64> {
    text(value, path).and_then(parse_ms)
}

/// Thousandths of a Kubernetes quantity: `500m`, `2`, `1.5`, `4k`.
pub(super) fn quantity_milli(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return number.checked_mul(1000);
    }
    if let Some(number) = value.as_f64() {
        return milli(number * 1000.0);
    }
    let text = value.as_str()?.trim();
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor = match unit {
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        "M" => 1e9,
        _ => return None,
    };
    milli(number * factor)
}

/// Bytes of a Kubernetes quantity: `268435456Ki`, `2Ti`, `1000`.
pub(super) fn bytes(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number).filter(|number| *number >= 0);
    }
    let text = value.as_str()?.trim();
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    (0.0..9e18).contains(&bytes).then_some(bytes as i64)
}

/// A float as thousandths, if it is a sane count.
pub(super) fn milli(value: f64) -> Option<i64> {
    (value.is_finite() && (0.0..1e15).contains(&value)).then(|| value.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_types_read_as_missing() {
        let value = json!({"a": [1, {"b": "x"}], "c": 5});
        assert_eq!(text(&value, &["a", "1", "b"]), Some("x"));
        assert_eq!(text(&value, &["c", "d"]), None);
        assert!(items(&value, &["c"]).is_empty());
        assert_eq!(int(&json!("12"), &[]), Some(12));
    }

    #[test]
    fn quantities_are_thousandths() {
        assert_eq!(quantity_milli(&json!("500m")), Some(500));
        assert_eq!(quantity_milli(&json!(2)), Some(2000));
        assert_eq!(quantity_milli(&json!("1.5")), Some(1500));
        assert_eq!(quantity_milli(&json!("-1")), None);
        assert_eq!(quantity_milli(&json!("1Gi")), None);
        assert_eq!(quantity_milli(&json!({})), None);
        assert_eq!(bytes(&json!("2Ki")), Some(2048));
        assert_eq!(bytes(&json!("1.5k")), Some(1500));
        assert_eq!(bytes(&json!("1x")), None);
    }
}
