//! Owns the per-file statistics that the Delta log carries: row count, and smallest, largest and
//! NULL count of the table's key columns.
//!
//! Other engines skip files by them, so a bound may be too wide and never too narrow.

use datafusion::arrow::array::{Array, AsArray, DictionaryArray};
use datafusion::arrow::compute::{max, max_string, min, min_string};
use datafusion::arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use serde_json::{Map, Value, json};

use crate::model::time::format_ms;

use super::schema::{ColumnType, TableSpec};

/// More columns than these are not worth their bytes in every log entry.
const MAX_COLUMNS: usize = 6;
/// A longer text has no bounds: cutting the largest one would make it too small.
const MAX_TEXT_BYTES: usize = 64;

/// The columns that have statistics: keys, times first, as `delta.dataSkippingStatsColumns`.
pub(crate) fn columns(spec: &TableSpec) -> Vec<&'static str> {
    let of = |wanted: &[ColumnType]| {
        spec.sort
            .iter()
            .copied()
            .filter(|name| {
                spec.columns
                    .iter()
                    .any(|c| c.name == *name && wanted.contains(&c.column_type))
            })
            .collect::<Vec<_>>()
    };
    let mut names = of(&[ColumnType::Timestamp, ColumnType::Int]);
    names.extend(of(&[ColumnType::Text]));
    names.truncate(MAX_COLUMNS);
    names
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Bounds {
    Int(i64, i64),
    /// Microseconds.
    Time(i64, i64),
    Text(String, String),
}

#[derive(Debug)]
struct ColumnStats {
    name: &'static str,
    /// Whether the file has it: one of an older version of the table may not.
    seen: bool,
    nulls: usize,
    bounds: Option<Bounds>,
}

/// Gathers statistics batch by batch.
#[derive(Debug)]
pub(crate) struct Collector {
    columns: Vec<ColumnStats>,
}

impl Collector {
    pub(crate) fn new(spec: &TableSpec) -> Self {
        let columns = columns(spec)
            .into_iter()
            .map(|name| ColumnStats {
                name,
                seen: false,
                nulls: 0,
                bounds: None,
            })
            .collect();
        Self { columns }
    }

    /// Adds some rows of a column; one that has no statistics is passed over.
    pub(crate) fn add(&mut self, name: &str, values: &dyn Array) {
        if let Some(column) = self.columns.iter_mut().find(|c| c.name == name) {
            column.seen = true;
            column.nulls += values.null_count();
            column.bounds = widen(column.bounds.take(), bounds(values));
        }
    }

    /// Adds what another collector of the same table gathered.
    pub(crate) fn merge(&mut self, other: Self) {
        for (column, more) in self.columns.iter_mut().zip(other.columns) {
            column.seen |= more.seen;
            column.nulls += more.nulls;
            column.bounds = widen(column.bounds.take(), more.bounds);
        }
    }

    pub(crate) fn finish(self, rows: u64) -> String {
        let (mut low, mut high, mut nulls) = (Map::new(), Map::new(), Map::new());
        for column in self.columns.into_iter().filter(|column| column.seen) {
            nulls.insert(column.name.to_owned(), json!(column.nulls));
            if let Some((least, most)) = column.bounds.and_then(to_json) {
                low.insert(column.name.to_owned(), least);
                high.insert(column.name.to_owned(), most);
            }
        }
        json!({"numRecords": rows, "minValues": low, "maxValues": high, "nullCount": nulls})
            .to_string()
    }
}

fn bounds(values: &dyn Array) -> Option<Bounds> {
    if let Some(ints) = values.as_primitive_opt::<Int64Type>() {
        return Some(Bounds::Int(min(ints)?, max(ints)?));
    }
    if let Some(times) = values.as_primitive_opt::<TimestampMicrosecondType>() {
        return Some(Bounds::Time(min(times)?, max(times)?));
    }
    if let Some(labels) = values.as_dictionary_opt::<Int32Type>() {
        return label_bounds(labels);
    }
    let texts = values.as_string_opt::<i32>()?;
    Some(Bounds::Text(
        min_string(texts)?.to_owned(),
        max_string(texts)?.to_owned(),
    ))
}

/// Of the texts that rows have: a dictionary may hold others.
fn label_bounds(labels: &DictionaryArray<Int32Type>) -> Option<Bounds> {
    let texts = labels.values().as_string_opt::<i32>()?;
    let mut used = vec![false; texts.len()];
    for key in labels.keys().iter().flatten() {
        if let Some(mark) = used.get_mut(key as usize) {
            *mark = true;
        }
    }
    let held = || {
        (0..texts.len())
            .filter(|at| used[*at])
            .map(|at| texts.value(at))
    };
    Some(Bounds::Text(
        held().min()?.to_owned(),
        held().max()?.to_owned(),
    ))
}

fn widen(known: Option<Bounds>, more: Option<Bounds>) -> Option<Bounds> {
    match (known, more) {
        (Some(Bounds::Int(a, b)), Some(Bounds::Int(c, d))) => Some(Bounds::Int(a.min(c), b.max(d))),
        (Some(Bounds::Time(a, b)), Some(Bounds::Time(c, d))) => {
            Some(Bounds::Time(a.min(c), b.max(d)))
        }
        (Some(Bounds::Text(a, b)), Some(Bounds::Text(c, d))) => {
            Some(Bounds::Text(a.min(c), b.max(d)))
        }
        (known, None) => known,
        (_, more) => more,
    }
}

fn to_json(bounds: Bounds) -> Option<(Value, Value)> {
    match bounds {
        Bounds::Int(low, high) => Some((json!(low), json!(high))),
        // Delta's times have milliseconds: the upper bound rounds up.
        Bounds::Time(low, high) => {
            let high_ms = high.div_euclid(1000) + i64::from(high.rem_euclid(1000) != 0);
            Some((
                json!(format_ms(low.div_euclid(1000))),
                json!(format_ms(high_ms)),
            ))
        }
        Bounds::Text(low, high) => (low.len() <= MAX_TEXT_BYTES && high.len() <= MAX_TEXT_BYTES)
            .then(|| (json!(low), json!(high))),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{StringArray, TimestampMicrosecondArray};

    use super::*;
    use crate::lake::schema;

    #[test]
    fn bounds_hold_the_rows_and_round_outwards() {
        let spec = schema::table("gpu_samples").unwrap();
        assert_eq!(columns(spec)[..2], ["ts", "cluster"]);
        let ts = TimestampMicrosecondArray::from(vec![1_000_001, 2_500_001]).with_timezone("UTC");
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        let mut collector = Collector::new(spec);
        collector.add("ts", &ts);
        let labels: DictionaryArray<Int32Type> = ["d", "c", "b"].into_iter().collect();
        collector.add("cluster", &labels.slice(1, 1));
        let mut more = Collector::new(spec);
        more.add("cluster", &StringArray::from(vec![None, Some("b")]));
        more.add("node", &StringArray::from(vec!["a", &long]));
        collector.merge(more);
        let stats: Value = serde_json::from_str(&collector.finish(2)).unwrap();
        assert_eq!(stats["numRecords"], 2);
        assert_eq!(stats["minValues"]["ts"], "1970-01-01T00:00:01Z");
        assert_eq!(stats["maxValues"]["ts"], "1970-01-01T00:00:02.501Z");
        assert_eq!(stats["minValues"]["cluster"], "b");
        assert_eq!(stats["maxValues"]["cluster"], "c");
        assert_eq!(stats["nullCount"]["cluster"], 1);
        assert_eq!(stats["maxValues"]["node"], Value::Null);
    }
}
