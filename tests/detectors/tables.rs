//! Owns the types of given rows: the lake's tables by their schema, what a run makes of them by
//! the list below, anything else by its values.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Float64Builder, Int64Array, ListBuilder,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{Field, Schema};
use idleproof::lake::schema::{self, ColumnType};
use serde_yaml_ng::Value;

use ColumnType::{Bool, Date, Float, FloatList, Int, Text, Timestamp, Usd};

/// One table of a case.
pub(crate) struct Given {
    pub(crate) name: String,
    pub(crate) columns: Vec<(String, ColumnType)>,
    /// Cells in the order of `columns`; `Null` where a row does not say.
    pub(crate) rows: Vec<Vec<Value>>,
}

/// A table's name, the table whose columns it begins with, and its own columns.
type Table = (
    &'static str,
    Option<&'static str>,
    &'static [(&'static str, ColumnType)],
);

/// What a run registers beside the lake's tables, beyond the columns of a table it starts from.
const DERIVED: &[Table] = &[
    (
        "workload_facts",
        Some("workloads"),
        &[
            ("price_key", Text),
            ("first_ms", Int),
            ("last_ms", Int),
            ("existed_ms", Int),
            ("alive_at_end", Int),
        ],
    ),
    ("candidates", Some("placements"), &[("rank", Int)]),
    (
        "demand",
        None,
        &[
            ("cluster", Text),
            ("namespace", Text),
            ("workload_kind", Text),
            ("workload_name", Text),
            ("days_seen", Int),
            ("buckets", Int),
            ("known_ms", Int),
            ("replica_ms", Int),
            ("requests", Int),
            ("prompt_tokens", Int),
            ("prefix_hit_tokens", Int),
            ("output_tokens", Int),
            ("isl_tokens", Int),
            ("isl_net_tokens", Int),
            ("osl_tokens", Int),
            ("peak_requests_5m", Int),
            ("peak_prompt_net_tokens_5m", Int),
            ("peak_output_tokens_5m", Int),
            ("peak_lower_bound", Bool),
            ("queue_max", Int),
            ("running_max", Int),
            ("preemptions", Int),
        ],
    ),
    (
        "scaler_demand",
        None,
        &[
            ("cluster", Text),
            ("namespace", Text),
            ("workload_kind", Text),
            ("workload_name", Text),
            ("hour_ms", Int),
            ("scaler", Text),
            ("queue", Text),
            ("known_ms", Int),
            ("asked_ms", Int),
            ("value_milli_max", Int),
            ("needed_replicas", Int),
            ("is_told", Int),
        ],
    ),
    // Views that reports read: the columns that a case gives, in the views' types.
    (
        "v_ledger",
        None,
        &[
            ("date", Date),
            ("cluster", Text),
            ("hour", Timestamp),
            ("namespace", Text),
            ("workload_kind", Text),
            ("workload_name", Text),
            ("effective_cost_usd", Usd),
            ("final", Bool),
        ],
    ),
    (
        "v_workload_hours",
        None,
        &[
            ("cluster", Text),
            ("namespace", Text),
            ("workload_kind", Text),
            ("workload_name", Text),
            ("hour", Timestamp),
            ("prompt_tokens", Int),
            ("output_tokens", Int),
            ("replica_hours", Float),
        ],
    ),
    // The ledger by day, as a report gathers it.
    (
        "report_days",
        None,
        &[
            ("date", Date),
            ("cluster", Text),
            ("namespace", Text),
            ("workload_kind", Text),
            ("workload_name", Text),
            ("gpu_product", Text),
            ("class", Text),
            ("final", Bool),
            ("unpriced", Bool),
            ("ms", Int),
            ("cost_usd", Usd),
        ],
    ),
    (
        "claimable",
        None,
        &[
            ("cluster", Text),
            ("namespace", Text),
            ("workload_kind", Text),
            ("workload_name", Text),
            ("instance_type", Text),
            ("gpu_product", Text),
            ("price_key", Text),
            ("hour_ms", Int),
            ("class", Text),
            ("ms", Int),
        ],
    ),
];

/// Whether a table of that name has a declared shape.
pub(crate) fn known(name: &str) -> bool {
    declared(name).is_some()
}

fn declared(name: &str) -> Option<Vec<(String, ColumnType)>> {
    let of_lake = |name: &str| {
        schema::table(name).map(|spec| {
            spec.partition_columns()
                .iter()
                .chain(spec.columns)
                .map(|column| (column.name.to_owned(), column.column_type))
                .collect::<Vec<_>>()
        })
    };
    let Some((_, base, more)) = DERIVED.iter().find(|(known, ..)| *known == name) else {
        return of_lake(name);
    };
    let mut columns = base.and_then(of_lake).unwrap_or_default();
    columns.retain(|(column, _)| column != "date" && column != "run_id");
    columns.extend(
        more.iter()
            .map(|(column, kind)| ((*column).to_owned(), *kind)),
    );
    Some(columns)
}

/// A table of given rows.
pub(crate) fn table(name: &str, rows: &[BTreeMap<String, Value>]) -> Result<Given, String> {
    let columns = declared(name).map_or_else(|| inferred(rows), Ok)?;
    for row in rows {
        if let Some(stray) = row
            .keys()
            .find(|key| !columns.iter().any(|(c, _)| c == *key))
        {
            return Err(format!("table `{name}` has no column `{stray}`"));
        }
    }
    let cells = |row: &BTreeMap<String, Value>| {
        columns
            .iter()
            .map(|(c, _)| row.get(c).cloned().unwrap_or(Value::Null))
            .collect()
    };
    Ok(Given {
        name: name.to_owned(),
        rows: rows.iter().map(cells).collect(),
        columns,
    })
}

fn inferred(rows: &[BTreeMap<String, Value>]) -> Result<Vec<(String, ColumnType)>, String> {
    let mut columns: BTreeMap<String, ColumnType> = BTreeMap::new();
    for (column, value) in rows.iter().flatten() {
        let kind = match value {
            Value::Bool(_) => Bool,
            Value::Number(n) if n.is_f64() => Float,
            Value::Number(_) => Int,
            Value::String(_) => Text,
            Value::Null => continue,
            other => return Err(format!("`{column}` cannot hold {other:?}")),
        };
        let seen = *columns.entry(column.clone()).or_insert(kind);
        if kind == Float && seen == Int {
            columns.insert(column.clone(), Float);
        } else if seen != kind && !(seen == Float && kind == Int) {
            return Err(format!("`{column}` holds values of two types"));
        }
    }
    Ok(columns.into_iter().collect())
}

/// The name that `duckdb_peer.py` maps to its own type.
pub(crate) fn type_name(kind: ColumnType) -> &'static str {
    match kind {
        Text => "text",
        Int => "int",
        Float => "float",
        Bool => "bool",
        Timestamp => "timestamp",
        Date => "date",
        Usd => "usd",
        FloatList => "float_list",
    }
}

/// The table as Arrow, every column nullable.
pub(crate) fn batch(given: &Given) -> Result<RecordBatch, String> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (index, (name, kind)) in given.columns.iter().enumerate() {
        let cells: Vec<&Value> = given.rows.iter().map(|row| &row[index]).collect();
        let array = array(*kind, &cells)
            .ok_or_else(|| format!("`{}.{name}` has a value that is no {kind:?}", given.name))?;
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|e| e.to_string())
}

/// `None` where a value does not fit the type.
fn array(kind: ColumnType, cells: &[&Value]) -> Option<ArrayRef> {
    fn each<T>(cells: &[&Value], f: impl Fn(&Value) -> Option<T>) -> Option<Vec<Option<T>>> {
        cells
            .iter()
            .map(|v| {
                if v.is_null() {
                    Some(None)
                } else {
                    f(v).map(Some)
                }
            })
            .collect()
    }
    Some(match kind {
        Text => Arc::new(StringArray::from(each(cells, |v| {
            v.as_str().map(str::to_owned)
        })?)) as ArrayRef,
        Int => Arc::new(Int64Array::from(each(cells, Value::as_i64)?)),
        Float => Arc::new(Float64Array::from(each(cells, Value::as_f64)?)),
        Bool => Arc::new(BooleanArray::from(each(cells, Value::as_bool)?)),
        Timestamp => {
            let micros = each(cells, |v| {
                let time = chrono::DateTime::parse_from_rfc3339(v.as_str()?).ok()?;
                Some(time.timestamp_micros())
            })?;
            Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
        }
        Date => {
            let days = each(cells, |v| {
                let day: chrono::NaiveDate = v.as_str()?.parse().ok()?;
                let since = day.signed_duration_since(chrono::NaiveDate::default());
                i32::try_from(since.num_days()).ok()
            })?;
            Arc::new(datafusion::arrow::array::Date32Array::from(days))
        }
        Usd => {
            let micros = each(cells, |v| {
                let value: rust_decimal::Decimal = v.as_str()?.parse().ok()?;
                let scaled = value.checked_mul(rust_decimal::Decimal::from(1_000_000))?;
                scaled.is_integer().then(|| scaled.trunc().mantissa())
            })?;
            Arc::new(
                Decimal128Array::from(micros)
                    .with_precision_and_scale(38, 6)
                    .ok()?,
            )
        }
        FloatList => {
            let mut builder = ListBuilder::new(Float64Builder::new()).with_field(Field::new(
                "element",
                Float.arrow(),
                true,
            ));
            for cell in cells {
                if let Value::Sequence(items) = cell {
                    for item in items {
                        builder.values().append_value(item.as_f64()?);
                    }
                    builder.append(true);
                } else if cell.is_null() {
                    builder.append(false);
                } else {
                    return None;
                }
            }
            Arc::new(builder.finish())
        }
    })
}
