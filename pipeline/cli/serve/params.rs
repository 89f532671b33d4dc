//! Owns what the values of parameters mean: bytes, a type and a format become a value that is bound, never
//! a part of a statement's text.

use bytes::{Buf as _, Bytes};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use datafusion::arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;

use super::fault::Fault;
use super::types::{EPOCH_DAYS, EPOCH_MICROS, Kind, Scalar};

/// The type of a parameter: what the client says, else what the plan needs, else text.
pub(super) fn oid(said: u32, planned: Option<&DataType>) -> u32 {
    match said {
        // 705 is PostgreSQL's own word for an unknown type.
        0 | 705 => planned.map_or(Kind::TEXT.oid(), |data_type| Kind::of(data_type).oid()),
        said => said,
    }
}

fn scalar(oid: u32) -> Option<Scalar> {
    Some(match oid {
        16 => Scalar::Bool,
        20 => Scalar::Int8,
        21 => Scalar::Int2,
        // An oid is a number too.
        23 | 26 => Scalar::Int4,
        // text, name, bpchar, varchar, char
        25 | 19 | 1042 | 1043 | 18 => Scalar::Text,
        700 => Scalar::Float4,
        701 => Scalar::Float8,
        1082 => Scalar::Date,
        1114 => Scalar::Timestamp,
        1184 => Scalar::Timestamptz,
        1700 => Scalar::Numeric,
        _ => return None,
    })
}

/// The value of parameter `number`.
pub(super) fn value(
    number: usize,
    oid: u32,
    binary: bool,
    bytes: Option<&Bytes>,
) -> Result<ScalarValue, Fault> {
    let scalar = scalar(oid).ok_or_else(|| {
        Fault::error(
            "0A000",
            format!("parameter ${number} has a type (oid {oid}) that is not taken"),
        )
    })?;
    let Some(bytes) = bytes else {
        return Ok(null(scalar));
    };
    let wrong = || Fault::error("22P02", format!("parameter ${number} is not of its type"));
    if binary {
        of_binary(scalar, bytes).ok_or_else(wrong)
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
        of_text(scalar, text).ok_or_else(wrong)
    }
}

fn null(scalar: Scalar) -> ScalarValue {
    match scalar {
        Scalar::Bool => ScalarValue::Boolean(None),
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 => ScalarValue::Int64(None),
        Scalar::Float4 | Scalar::Float8 => ScalarValue::Float64(None),
        Scalar::Numeric => ScalarValue::Decimal128(None, 38, 10),
        Scalar::Text => ScalarValue::Utf8(None),
        Scalar::Date => ScalarValue::Date32(None),
        Scalar::Timestamp => ScalarValue::TimestampMicrosecond(None, None),
        Scalar::Timestamptz => ScalarValue::TimestampMicrosecond(None, Some("UTC".into())),
    }
}

fn of_text(scalar: Scalar, text: &str) -> Option<ScalarValue> {
    if scalar == Scalar::Text {
        return Some(ScalarValue::from(text));
    }
    let text = text.trim();
    Some(match scalar {
        Scalar::Bool => ScalarValue::from(match text.to_ascii_lowercase().as_str() {
            "t" | "true" | "1" | "on" | "yes" | "y" => true,
            "f" | "false" | "0" | "off" | "no" | "n" => false,
            _ => return None,
        }),
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 => ScalarValue::from(text.parse::<i64>().ok()?),
        Scalar::Float4 | Scalar::Float8 => ScalarValue::from(text.parse::<f64>().ok()?),
        Scalar::Numeric => numeric(text)?,
        Scalar::Text => return None,
        Scalar::Date => {
            let date: NaiveDate = text.parse().ok()?;
            let days = date.signed_duration_since(NaiveDate::default()).num_days();
            ScalarValue::Date32(Some(i32::try_from(days).ok()?))
        }
        Scalar::Timestamp => {
            ScalarValue::TimestampMicrosecond(Some(naive(text)?.and_utc().timestamp_micros()), None)
        }
        Scalar::Timestamptz => {
            ScalarValue::TimestampMicrosecond(Some(zoned(text)?), Some("UTC".into()))
        }
    })
}

fn naive(text: &str) -> Option<NaiveDateTime> {
    let formats = [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
    ];
    let times = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    times.or_else(|| text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0))
}

/// With `Z`, `+00`, `+0000` or `+00:00`; without any it is UTC, as everything here.
fn zoned(text: &str) -> Option<i64> {
    let text = match text.strip_suffix(['Z', 'z']) {
        Some(text) => format!("{}+00:00", text.trim_end()),
        None => text.to_owned(),
    };
    for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"] {
        if let Ok(time) = DateTime::parse_from_str(&text, format) {
            return Some(time.timestamp_micros());
        }
    }
    naive(&text).map(|time| time.and_utc().timestamp_micros())
}

fn numeric(text: &str) -> Option<ScalarValue> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let unsigned = digits.trim_start_matches(['-', '+']);
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut value: i128 = digits.parse().ok()?;
    let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    while scale < 0 {
        value = value.checked_mul(10)?;
        scale += 1;
    }
    let is_small = scale <= 38 && value.unsigned_abs() < 10_u128.pow(38);
    is_small.then(|| ScalarValue::Decimal128(Some(value), 38, scale as i8))
}

fn of_binary(scalar: Scalar, bytes: &[u8]) -> Option<ScalarValue> {
    fn exact<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }
    let micros = || i64::from_be_bytes(exact(bytes)?).checked_add(EPOCH_MICROS);
    Some(match scalar {
        Scalar::Bool => ScalarValue::from(u8::from_be_bytes(exact(bytes)?) != 0),
        Scalar::Int2 => ScalarValue::from(i64::from(i16::from_be_bytes(exact(bytes)?))),
        Scalar::Int4 => ScalarValue::from(i64::from(i32::from_be_bytes(exact(bytes)?))),
        Scalar::Int8 => ScalarValue::from(i64::from_be_bytes(exact(bytes)?)),
        Scalar::Float4 => ScalarValue::from(f64::from(f32::from_be_bytes(exact(bytes)?))),
        Scalar::Float8 => ScalarValue::from(f64::from_be_bytes(exact(bytes)?)),
        Scalar::Numeric => numeric_of_binary(bytes)?,
        Scalar::Text => ScalarValue::from(std::str::from_utf8(bytes).ok()?),
        Scalar::Date => {
            let days = i32::from_be_bytes(exact(bytes)?).checked_add(EPOCH_DAYS)?;
            ScalarValue::Date32(Some(days))
        }
        Scalar::Timestamp => ScalarValue::TimestampMicrosecond(Some(micros()?), None),
        Scalar::Timestamptz => {
            ScalarValue::TimestampMicrosecond(Some(micros()?), Some("UTC".into()))
        }
    })
}

fn numeric_of_binary(mut bytes: &[u8]) -> Option<ScalarValue> {
    if bytes.len() < 8 {
        return None;
    }
    let count = usize::try_from(bytes.get_i16()).ok()?;
    let weight = i32::from(bytes.get_i16());
    let sign = bytes.get_u16();
    let scale = usize::try_from(bytes.get_i16()).ok()?;
    if bytes.len() != count * 2 || !matches!(sign, 0 | 0x4000) || scale > 38 || count > 20 {
        return None;
    }
    let groups: Vec<i32> = (0..count).map(|_| i32::from(bytes.get_i16())).collect();
    if groups.iter().any(|group| !(0..10_000).contains(group)) || !(-20..20).contains(&weight) {
        return None;
    }
    let group = |place: i32| {
        let index = usize::try_from(weight - place).ok();
        index
            .and_then(|index| groups.get(index))
            .copied()
            .unwrap_or(0)
    };
    let whole: Vec<String> = (0..=weight.max(0))
        .rev()
        .map(|place| format!("{:04}", group(place)))
        .collect();
    let needed = i32::try_from(scale.div_ceil(4)).ok()?;
    let fraction: Vec<String> = (1..=needed)
        .map(|place| format!("{:04}", group(-place)))
        .collect();
    let sign = if sign == 0 { "" } else { "-" };
    numeric(&format!(
        "{sign}{}.{}",
        whole.concat(),
        &fraction.concat()[..scale]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(oid: u32, text: &str) -> Option<ScalarValue> {
        value(
            1,
            oid,
            false,
            Some(&Bytes::copy_from_slice(text.as_bytes())),
        )
        .ok()
    }

    fn binary(oid: u32, bytes: &[u8]) -> Option<ScalarValue> {
        value(1, oid, true, Some(&Bytes::copy_from_slice(bytes))).ok()
    }

    #[test]
    fn text_is_read_by_its_type() {
        assert_eq!(text(20, "-7"), Some(ScalarValue::Int64(Some(-7))));
        assert_eq!(text(25, " x "), Some(ScalarValue::from(" x ")));
        assert_eq!(text(16, "off"), Some(ScalarValue::from(false)));
        assert_eq!(
            text(1700, "12.50"),
            Some(ScalarValue::Decimal128(Some(1250), 38, 2))
        );
        assert_eq!(
            text(1700, "-1E2"),
            Some(ScalarValue::Decimal128(Some(-100), 38, 0))
        );
        assert_eq!(
            text(1082, "1970-01-11"),
            Some(ScalarValue::Date32(Some(10)))
        );
        let utc = |micros| {
            Some(ScalarValue::TimestampMicrosecond(
                Some(micros),
                Some("UTC".into()),
            ))
        };
        for time in [
            "1970-01-01 00:00:01+00",
            "1970-01-01T01:00:01+01:00",
            "1970-01-01 00:00:01Z",
            "1970-01-01 00:00:01",
        ] {
            assert_eq!(text(1184, time), utc(1_000_000), "{time}");
        }
        for (oid, wrong) in [
            (20, "1; drop"),
            (1700, "1.2.3"),
            (1700, "-"),
            (701, "x"),
            (1082, "today"),
        ] {
            assert_eq!(text(oid, wrong), None, "{wrong}");
        }
        assert_eq!(value(1, 20, false, None).unwrap(), ScalarValue::Int64(None));
        assert!(value(1, 3802, false, None).is_err());
    }

    #[test]
    fn binary_is_held_to_its_length() {
        assert_eq!(
            binary(23, &7_i32.to_be_bytes()),
            Some(ScalarValue::Int64(Some(7)))
        );
        assert_eq!(binary(23, &[0; 8]), None);
        assert_eq!(
            binary(1082, &0_i32.to_be_bytes()),
            Some(ScalarValue::Date32(Some(EPOCH_DAYS)))
        );
        // -12.5: groups 12 and 5000, weight 0, scale 1.
        let bytes = [2_i16, 0, 0x4000, 1, 12, 5000]
            .map(i16::to_be_bytes)
            .concat();
        assert_eq!(
            binary(1700, &bytes),
            Some(ScalarValue::Decimal128(Some(-125), 38, 1))
        );
        // 0.0005: one group behind the point.
        let bytes = [1_i16, -1, 0, 4, 5].map(i16::to_be_bytes).concat();
        assert_eq!(
            binary(1700, &bytes),
            Some(ScalarValue::Decimal128(Some(5), 38, 4))
        );
        assert_eq!(binary(1700, &bytes[..9]), None);
    }
}
