//! Owns which PostgreSQL type a column has, and how its values are written: as text and in binary. Values
//! that PostgreSQL has no type for are text.

use bytes::{BufMut as _, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

/// Days and microseconds from 1970 to 2000, where PostgreSQL's clock begins.
pub(super) const EPOCH_DAYS: i32 = 10_957;
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Date,
    Timestamp,
    Timestamptz,
}

/// The type of a column: a scalar or an array of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub scalar: Scalar,
    pub is_array: bool,
}

impl Kind {
    pub(super) const TEXT: Self = Self {
        scalar: Scalar::Text,
        is_array: false,
    };

    pub(super) fn of(data_type: &DataType) -> Self {
        let item = match data_type {
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _) => Some(field.data_type()),
            _ => None,
        };
        match item {
            // An array of arrays has one length a dimension in PostgreSQL; a list of lists has not.
            Some(item) if item.is_nested() => Self::TEXT,
            Some(item) => Self {
                scalar: scalar(item),
                is_array: true,
            },
            None => Self {
                scalar: scalar(data_type),
                is_array: false,
            },
        }
    }

    pub(super) fn oid(self) -> u32 {
        let (one, many) = oids(self.scalar);
        if self.is_array { many } else { one }
    }

    /// Bytes of a value in binary; -1 where it varies.
    pub(super) fn size(self) -> i16 {
        match self.scalar {
            _ if self.is_array => -1,
            Scalar::Bool => 1,
            Scalar::Int2 => 2,
            Scalar::Int4 | Scalar::Float4 | Scalar::Date => 4,
            Scalar::Int8 | Scalar::Float8 | Scalar::Timestamp | Scalar::Timestamptz => 8,
            Scalar::Numeric | Scalar::Text => -1,
        }
    }
}

fn oids(scalar: Scalar) -> (u32, u32) {
    match scalar {
        Scalar::Bool => (16, 1000),
        Scalar::Int8 => (20, 1016),
        Scalar::Int2 => (21, 1005),
        Scalar::Int4 => (23, 1007),
        Scalar::Text => (25, 1009),
        Scalar::Float4 => (700, 1021),
        Scalar::Float8 => (701, 1022),
        Scalar::Date => (1082, 1182),
        Scalar::Timestamp => (1114, 1115),
        Scalar::Timestamptz => (1184, 1185),
        Scalar::Numeric => (1700, 1231),
    }
}

fn scalar(data_type: &DataType) -> Scalar {
    match data_type {
        DataType::Boolean => Scalar::Bool,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => Scalar::Int2,
        DataType::UInt16 | DataType::Int32 => Scalar::Int4,
        DataType::UInt32 | DataType::Int64 => Scalar::Int8,
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..) => Scalar::Numeric,
        DataType::Float16 | DataType::Float32 => Scalar::Float4,
        DataType::Float64 => Scalar::Float8,
        DataType::Date32 => Scalar::Date,
        DataType::Timestamp(_, None) | DataType::Date64 => Scalar::Timestamp,
        DataType::Timestamp(_, Some(_)) => Scalar::Timestamptz,
        DataType::Dictionary(_, value) => scalar(value),
        _ => Scalar::Text,
    }
}

/// The one Arrow type that values of a scalar are written from.
fn plain_type(scalar: Scalar, from: &DataType) -> DataType {
    match scalar {
        Scalar::Bool => DataType::Boolean,
        Scalar::Int2 => DataType::Int16,
        Scalar::Int4 => DataType::Int32,
        Scalar::Int8 => DataType::Int64,
        Scalar::Float4 => DataType::Float32,
        Scalar::Float8 => DataType::Float64,
        Scalar::Numeric => match from {
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
            _ => DataType::Decimal128(20, 0),
        },
        Scalar::Text => DataType::Utf8,
        Scalar::Date => DataType::Date32,
        Scalar::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Scalar::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

/// A batch whose columns are ready to be written.
#[derive(Debug)]
pub(super) struct Ready {
    columns: Vec<(Kind, ArrayRef)>,
    pub rows: usize,
}

impl Ready {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let columns = batch.columns().iter().map(|column| {
            let kind = Kind::of(column.data_type());
            Ok::<_, ArrowError>((kind, ready(kind, column)?))
        });
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            rows: batch.num_rows(),
        })
    }

    /// Writes a row's fields, each with its length; `binary` says it of each column.
    pub(super) fn write(&self, row: usize, binary: impl Fn(usize) -> bool, out: &mut BytesMut) {
        for (index, (kind, column)) in self.columns.iter().enumerate() {
            write_field(*kind, column, row, binary(index), out);
        }
    }
}

fn ready(kind: Kind, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if kind.is_array {
        let item = match column.data_type() {
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _) => field.data_type().clone(),
            other => other.clone(),
        };
        let plain = plain_type(kind.scalar, &item);
        let list = DataType::List(Field::new("item", plain, true).into());
        return cast(column, &list);
    }
    if column.data_type() == &DataType::Null {
        return Ok(new_null_array(&DataType::Utf8, column.len()));
    }
    let plain = plain_type(kind.scalar, column.data_type());
    let is_text = matches!(
        column.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..)
    );
    if kind.scalar != Scalar::Text || is_text {
        return cast(column, &plain);
    }
    // What has no type over there is text as `idleproof sql` prints it.
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let texts = (0..column.len())
        .map(|row| (!column.is_null(row)).then(|| formatter.value(row).to_string()));
    let texts: datafusion::arrow::array::StringArray = texts.collect();
    Ok(std::sync::Arc::new(texts))
}

fn write_field(kind: Kind, column: &ArrayRef, row: usize, binary: bool, out: &mut BytesMut) {
    if column.is_null(row) {
        out.put_i32(-1);
        return;
    }
    let at = out.len();
    out.put_i32(0);
    if kind.is_array {
        let items = column.as_list::<i32>().value(row);
        if binary {
            write_array_binary(kind.scalar, &items, out);
        } else {
            write_array_text(kind.scalar, &items, out);
        }
    } else if binary {
        write_binary(kind.scalar, column, row, out);
    } else {
        out.put_slice(text_of(kind.scalar, column, row).as_bytes());
    }
    let length = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn text_of(scalar: Scalar, column: &ArrayRef, row: usize) -> String {
    match scalar {
        Scalar::Bool => if column.as_boolean().value(row) {
            "t"
        } else {
            "f"
        }
        .to_owned(),
        Scalar::Int2 => column.as_primitive::<Int16Type>().value(row).to_string(),
        Scalar::Int4 => column.as_primitive::<Int32Type>().value(row).to_string(),
        Scalar::Int8 => column.as_primitive::<Int64Type>().value(row).to_string(),
        Scalar::Float4 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            float(f64::from(value), value.to_string())
        }
        Scalar::Float8 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            float(value, value.to_string())
        }
        Scalar::Numeric => column.as_primitive::<Decimal128Type>().value_as_string(row),
        Scalar::Text => column.as_string::<i32>().value(row).to_owned(),
        Scalar::Date => {
            let value = column.as_primitive::<Date32Type>().value_as_date(row);
            value.map_or_else(String::new, |date| date.format("%Y-%m-%d").to_string())
        }
        Scalar::Timestamp | Scalar::Timestamptz => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            let zone = if scalar == Scalar::Timestamptz {
                "+00"
            } else {
                ""
            };
            let time = chrono::DateTime::from_timestamp_micros(micros);
            time.map_or_else(String::new, |time| {
                let fraction = match time.timestamp_subsec_micros() {
                    0 => String::new(),
                    micros => format!(".{micros:06}").trim_end_matches('0').to_owned(),
                };
                format!("{}{fraction}{zone}", time.format("%Y-%m-%d %H:%M:%S"))
            })
        }
    }
}

fn float(value: f64, text: String) -> String {
    if value.is_infinite() {
        let sign = if value < 0.0 { "-" } else { "" };
        format!("{sign}Infinity")
    } else {
        text
    }
}

fn write_binary(scalar: Scalar, column: &ArrayRef, row: usize, out: &mut BytesMut) {
    match scalar {
        Scalar::Bool => out.put_u8(u8::from(column.as_boolean().value(row))),
        Scalar::Int2 => out.put_i16(column.as_primitive::<Int16Type>().value(row)),
        Scalar::Int4 => out.put_i32(column.as_primitive::<Int32Type>().value(row)),
        Scalar::Int8 => out.put_i64(column.as_primitive::<Int64Type>().value(row)),
        Scalar::Float4 => out.put_f32(column.as_primitive::<Float32Type>().value(row)),
        Scalar::Float8 => out.put_f64(column.as_primitive::<Float64Type>().value(row)),
        Scalar::Numeric => write_numeric(&text_of(scalar, column, row), out),
        Scalar::Text => out.put_slice(column.as_string::<i32>().value(row).as_bytes()),
        Scalar::Date => {
            let days = column.as_primitive::<Date32Type>().value(row);
            out.put_i32(days.saturating_sub(EPOCH_DAYS));
        }
        Scalar::Timestamp | Scalar::Timestamptz => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            out.put_i64(micros.saturating_sub(EPOCH_MICROS));
        }
    }
}

/// A decimal as PostgreSQL sends it: groups of four digits, the weight of the first, a sign, the scale.
fn write_numeric(text: &str, out: &mut BytesMut) {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (0x4000, digits),
        None => (0, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = fraction.len();
    let whole = whole.trim_start_matches('0');
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let fraction = format!("{fraction}{}", "0".repeat((4 - scale % 4) % 4));
    let all = format!("{whole}{fraction}");
    let mut groups: Vec<i16> = all
        .as_bytes()
        .chunks(4)
        .map(|group| {
            group
                .iter()
                .fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0'))
        })
        .collect();
    let mut weight = (whole.len() / 4) as i16 - 1;
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_i16(groups.len() as i16);
    out.put_i16(weight);
    out.put_u16(if groups.is_empty() { 0 } else { sign });
    out.put_i16(scale as i16);
    for group in groups {
        out.put_i16(group);
    }
}

fn write_array_text(scalar: Scalar, items: &ArrayRef, out: &mut BytesMut) {
    out.put_u8(b'{');
    for row in 0..items.len() {
        if row > 0 {
            out.put_u8(b',');
        }
        if items.is_null(row) {
            out.put_slice(b"NULL");
            continue;
        }
        let text = text_of(scalar, items, row);
        let is_bare = !text.is_empty()
            && !text.eq_ignore_ascii_case("null")
            && text
                .chars()
                .all(|c| c.is_alphanumeric() || "_-.:+".contains(c));
        if is_bare {
            out.put_slice(text.as_bytes());
        } else {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            out.put_slice(format!("\"{quoted}\"").as_bytes());
        }
    }
    out.put_u8(b'}');
}

fn write_array_binary(scalar: Scalar, items: &ArrayRef, out: &mut BytesMut) {
    out.put_i32(i32::from(!items.is_empty()));
    out.put_i32(i32::from(items.null_count() > 0));
    out.put_u32(oids(scalar).0);
    if items.is_empty() {
        return;
    }
    out.put_i32(i32::try_from(items.len()).unwrap_or(i32::MAX));
    out.put_i32(1);
    let kind = Kind {
        scalar,
        is_array: false,
    };
    for row in 0..items.len() {
        write_field(kind, items, row, true, out);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, StringArray,
        TimestampMicrosecondArray, TimestampSecondArray, UInt64Array,
    };

    use super::*;

    fn fields(array: ArrayRef, binary: bool) -> Vec<Option<Vec<u8>>> {
        let batch = RecordBatch::try_from_iter([("c", array)]).unwrap();
        let ready = Ready::of(&batch).unwrap();
        (0..ready.rows)
            .map(|row| {
                let mut out = BytesMut::new();
                ready.write(row, |_| binary, &mut out);
                let length = i32::from_be_bytes(out[..4].try_into().unwrap());
                (length >= 0).then(|| {
                    assert_eq!(out.len(), 4 + length as usize);
                    out[4..].to_vec()
                })
            })
            .collect()
    }

    fn texts(array: ArrayRef) -> Vec<String> {
        let text = |field: Option<Vec<u8>>| {
            field.map_or("NULL".to_owned(), |bytes| String::from_utf8(bytes).unwrap())
        };
        fields(array, false).into_iter().map(text).collect()
    }

    #[test]
    fn text_is_what_postgresql_reads() {
        assert_eq!(
            texts(Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ["t", "NULL"]
        );
        let floats = vec![0.1, -1e300, f64::NAN, f64::NEG_INFINITY];
        let floats = texts(Arc::new(Float64Array::from(floats)));
        assert_eq!(
            [&floats[0], &floats[2], &floats[3]],
            ["0.1", "NaN", "-Infinity"]
        );
        assert_eq!(floats[1].parse::<f64>().unwrap(), -1e300);
        let money = Decimal128Array::from(vec![1_500_000, -2]).with_precision_and_scale(38, 6);
        assert_eq!(texts(Arc::new(money.unwrap())), ["1.500000", "-0.000002"]);
        assert_eq!(
            texts(Arc::new(UInt64Array::from(vec![u64::MAX]))),
            ["18446744073709551615"]
        );
        let times = TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("UTC");
        assert_eq!(texts(Arc::new(times)), ["1970-01-01 00:00:01.5+00"]);
        assert_eq!(
            texts(Arc::new(TimestampSecondArray::from(vec![86_400]))),
            ["1970-01-02 00:00:00"]
        );
    }

    #[test]
    fn lists_are_arrays_and_their_items_are_quoted() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), None]),
            Some(vec![]),
            None,
        ]);
        let kind = Kind::of(list.data_type());
        assert_eq!((kind.oid(), kind.size()), (1016, -1));
        assert_eq!(texts(Arc::new(list.clone())), ["{1,NULL}", "{}", "NULL"]);
        let binary = fields(Arc::new(list), true);
        let words = [1_i32, 1, 20, 2, 1, 8].map(i32::to_be_bytes).concat();
        let expected = [
            words.as_slice(),
            &1_i64.to_be_bytes(),
            &(-1_i32).to_be_bytes(),
        ]
        .concat();
        assert_eq!(binary[0].as_deref(), Some(expected.as_slice()));
        assert_eq!(binary[1].as_ref().map(Vec::len), Some(12));
        let texts_of = StringArray::from(vec!["plain", "", "a,b", "say \"x\\\"", "null"]);
        let mut out = BytesMut::new();
        write_array_text(Scalar::Text, &(Arc::new(texts_of) as ArrayRef), &mut out);
        assert_eq!(out, r#"{plain,"","a,b","say \"x\\\"","null"}"#);
    }

    #[test]
    fn numbers_and_times_in_binary_are_postgresqls() {
        let money = Decimal128Array::from(vec![123_456_789, -5, 0, 10_000_000])
            .with_precision_and_scale(38, 4)
            .unwrap();
        let words = |words: &[i16]| {
            Some(
                words
                    .iter()
                    .flat_map(|word| word.to_be_bytes())
                    .collect::<Vec<u8>>(),
            )
        };
        assert_eq!(
            fields(Arc::new(money), true),
            [
                words(&[3, 1, 0, 4, 1, 2345, 6789]),
                words(&[1, -1, 0x4000, 4, 5]),
                words(&[0, 0, 0, 4]),
                words(&[1, 0, 0, 4, 1000]),
            ]
        );
        let time = TimestampMicrosecondArray::from(vec![EPOCH_MICROS + 7]).with_timezone("UTC");
        let bytes = 7_i64.to_be_bytes().to_vec();
        assert_eq!(fields(Arc::new(time), true), [Some(bytes)]);
        let one = fields(Arc::new(Int64Array::from(vec![Some(1), None])), true);
        assert_eq!(one, [Some(1_i64.to_be_bytes().to_vec()), None]);
    }
}
