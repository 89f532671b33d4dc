//! Rows for the lake's tests: any table, any number, different for each seed.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::Float64Type;

use super::schema::{self, ColumnType};

/// 2026-11-01T00:00:00Z.
pub(crate) const DAY: i64 = 1_793_491_200_000;

/// `count` rows in which every column differs from row to row and from seed to seed.
pub(crate) fn rows(table: &str, count: i64, seed: i64) -> RecordBatch {
    let spec = schema::table(table).unwrap();
    let columns = spec
        .columns
        .iter()
        .map(|column| -> ArrayRef {
            let n = (0..count).map(|row| seed * 1000 + row);
            match column.column_type {
                ColumnType::Text => Arc::new(StringArray::from_iter_values(
                    n.map(|v| format!("{}-{v}", column.name)),
                )),
                ColumnType::Int => Arc::new(Int64Array::from_iter_values(n)),
                ColumnType::Float => {
                    Arc::new(Float64Array::from_iter_values(n.map(|v| v as f64 / 2.0)))
                }
                ColumnType::Bool => Arc::new(n.map(|v| Some(v % 2 == 0)).collect::<BooleanArray>()),
                ColumnType::Timestamp => Arc::new(
                    TimestampMicrosecondArray::from_iter_values(
                        n.map(|v| DAY * 1000 + v * 1_000_000),
                    )
                    .with_timezone("UTC"),
                ),
                ColumnType::Date => Arc::new(Date32Array::from_iter_values(n.map(|v| v as i32))),
                ColumnType::Usd => Arc::new(
                    Decimal128Array::from_iter_values(n.map(|v| i128::from(v) * 10_000))
                        .with_precision_and_scale(38, 6)
                        .unwrap(),
                ),
                ColumnType::FloatList => {
                    let lists = n.map(|v| Some(vec![Some(v as f64), None]));
                    let list = ListArray::from_iter_primitive::<Float64Type, _, _>(lists);
                    let wanted = column.column_type.arrow();
                    datafusion::arrow::compute::cast(&list, &wanted).unwrap()
                }
            }
        })
        .collect();
    RecordBatch::try_new(spec.file_schema(), columns).unwrap()
}
