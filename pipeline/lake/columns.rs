//! Owns typed access to the columns of a query's result: by name, cast to one Arrow type.
//!
//! Engines hand back strings in several layouts; readers want one. Called by every room that turns
//! rows into structs.

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, Decimal128Array, Float64Array, Int64Array,
    RecordBatch, StringArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};

/// A column that a query was to return and did not, or in a type that cannot be read as wanted.
#[derive(Debug, thiserror::Error)]
#[error(
    "a query's result has no usable column `{name}`: {why}; the query and its reader are of different versions"
)]
pub struct ColumnError {
    name: String,
    why: String,
}

fn column(batch: &RecordBatch, name: &str, to: &DataType) -> Result<ArrayRef, ColumnError> {
    let array = batch.column_by_name(name).ok_or_else(|| ColumnError {
        name: name.to_owned(),
        why: "it is missing".to_owned(),
    })?;
    cast(array, to).map_err(|error| ColumnError {
        name: name.to_owned(),
        why: error.to_string(),
    })
}

/// A text column.
pub fn text(batch: &RecordBatch, name: &str) -> Result<StringArray, ColumnError> {
    Ok(column(batch, name, &DataType::Utf8)?
        .as_string::<i32>()
        .clone())
}

/// An integer column.
pub fn int(batch: &RecordBatch, name: &str) -> Result<Int64Array, ColumnError> {
    Ok(column(batch, name, &DataType::Int64)?
        .as_primitive::<Int64Type>()
        .clone())
}

/// A float column.
pub fn float(batch: &RecordBatch, name: &str) -> Result<Float64Array, ColumnError> {
    Ok(column(batch, name, &DataType::Float64)?
        .as_primitive::<Float64Type>()
        .clone())
}

/// A boolean column.
pub fn boolean(batch: &RecordBatch, name: &str) -> Result<BooleanArray, ColumnError> {
    Ok(column(batch, name, &DataType::Boolean)?
        .as_boolean()
        .clone())
}

/// A dollar column: six decimals.
pub fn usd(batch: &RecordBatch, name: &str) -> Result<Decimal128Array, ColumnError> {
    Ok(column(batch, name, &DataType::Decimal128(38, 6))?
        .as_primitive::<Decimal128Type>()
        .clone())
}

/// The value of a row, or `None` where it is null.
#[must_use]
pub fn text_at(array: &StringArray, row: usize) -> Option<String> {
    (!array.is_null(row)).then(|| array.value(row).to_owned())
}

/// The value of a row, or `None` where it is null.
#[must_use]
pub fn int_at(array: &Int64Array, row: usize) -> Option<i64> {
    (!array.is_null(row)).then(|| array.value(row))
}

/// The value of a row, or `None` where it is null.
#[must_use]
pub fn usd_at(array: &Decimal128Array, row: usize) -> Option<rust_decimal::Decimal> {
    (!array.is_null(row))
        .then(|| rust_decimal::Decimal::try_from_i128_with_scale(array.value(row), 6).ok())
        .flatten()
}
