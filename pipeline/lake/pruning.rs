//! Owns file pruning: which files of a version can hold rows that a query asks for, told from
//! their partition values and statistics alone.
//!
//! A nightly run must not open a quarter's footers to read a day.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int64Array, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DataFusionError, Result as DfResult, ScalarValue};
use serde_json::Value;

use crate::model::time::{DAY_MS, parse_ms};

use super::files::DataFile;
use super::schema::{ColumnType, TableKind, TableSpec};

/// Days since the epoch of a partition's date.
pub(crate) fn day_number(date: &str) -> DfResult<i32> {
    parse_ms(date)
        .and_then(|ms| i32::try_from(ms.div_euclid(DAY_MS)).ok())
        .ok_or_else(|| DataFusionError::Plan(format!("{date:?} is no date in the log")))
}

/// The log's statistics of some files, as `DataFusion` asks for them.
pub(crate) struct FileStatistics<'a> {
    spec: &'a TableSpec,
    files: &'a [DataFile],
    stats: Vec<Value>,
}

impl<'a> FileStatistics<'a> {
    pub(crate) fn new(spec: &'a TableSpec, files: &'a [DataFile]) -> Self {
        let stats = files
            .iter()
            .map(|file| serde_json::from_str(&file.stats).unwrap_or(Value::Null))
            .collect();
        Self { spec, files, stats }
    }

    /// The bound of every file, `NULL` where the log has none.
    fn bounds(&self, which: &str, column: &Column) -> Option<ArrayRef> {
        let name = column.name();
        let [first, second] = self.spec.partition_columns();
        if name == second.name {
            let values = self.files.iter().map(|file| &file.partition.second);
            return Some(Arc::new(StringArray::from_iter_values(values)));
        }
        if name == first.name {
            let values = self.files.iter().map(|file| &file.partition.first);
            return Some(if self.spec.kind == TableKind::Run {
                Arc::new(StringArray::from_iter_values(values))
            } else {
                Arc::new(values.map(|d| day_number(d).ok()).collect::<Date32Array>())
            });
        }
        let stored = self.spec.columns.iter().find(|c| c.name == name)?;
        let bounds = self.stats.iter().map(|stats| &stats[which][name]);
        match stored.column_type {
            ColumnType::Int => Some(Arc::new(bounds.map(Value::as_i64).collect::<Int64Array>())),
            ColumnType::Text => Some(Arc::new(bounds.map(Value::as_str).collect::<StringArray>())),
            ColumnType::Timestamp => {
                let micros = bounds.map(|bound| Some(parse_ms(bound.as_str()?)? * 1000));
                Some(Arc::new(
                    micros
                        .collect::<TimestampMicrosecondArray>()
                        .with_timezone("UTC"),
                ))
            }
            _ => None,
        }
    }
}

impl PruningStatistics for FileStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds("minValues", column)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds("maxValues", column)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let is_partition = self
            .spec
            .partition_columns()
            .iter()
            .any(|c| c.name == column.name());
        let counts = self.stats.iter().map(|stats| {
            if is_partition {
                Some(0)
            } else {
                stats["nullCount"][column.name()].as_u64()
            }
        });
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.files.iter().map(|file| file.rows);
        Some(Arc::new(UInt64Array::from_iter_values(rows)))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
