//! Owns running a case: on `DataFusion` here, on `DuckDB` in one child process for all cases.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Field, Float64Type, Int32Type, Int64Type, Schema, TimeUnit,
    TimestampMicrosecondType, UInt64Type,
};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use idleproof::detect::query;
use idleproof::lake;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cases::Case;
use crate::tables;

/// One result: column names, and rows in the order in which the engine returned them.
#[derive(Debug, Deserialize)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// Results by the name under which a case expects them.
pub(crate) type Results = BTreeMap<String, Rows>;

/// What an engine made of a case.
pub(crate) type Outcome = Result<Results, String>;

/// Runs a case on `DataFusion`, as the product does.
pub(crate) fn datafusion(case: &Case) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let config = lake::session_config(lake::SessionLimits::default());
        let context = SessionContext::new_with_config(config);
        for given in &case.tables {
            register(&context, &given.name, &[tables::batch(given)?])?;
        }
        let mut results = Results::new();
        for step in &case.steps {
            let batches = query::run(&context, &step.query, &step.params)
                .await
                .map_err(|e| e.to_string())?;
            for name in &step.register {
                register(&context, name, &batches)?;
            }
            results.insert(step.result.clone(), rows(&batches)?);
        }
        Ok(results)
    })
}

fn register(context: &SessionContext, name: &str, batches: &[RecordBatch]) -> Result<(), String> {
    let first = batches.first().ok_or("a result has no batch")?;
    // Batches of one result may differ in nullability, which a table does not allow.
    let fields: Vec<Field> = first
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let batches: Result<Vec<RecordBatch>, _> = batches
        .iter()
        .map(|batch| RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec()))
        .collect();
    let batches = batches.map_err(|e| format!("`{name}`: {e}"))?;
    let table = MemTable::try_new(schema, vec![batches]).map_err(|e| e.to_string())?;
    context.deregister_table(name).map_err(|e| e.to_string())?;
    context
        .register_table(name, Arc::new(table))
        .map_err(|e| e.to_string())?;
    Ok(())
}

fn rows(batches: &[RecordBatch]) -> Result<Rows, String> {
    let schema = batches.first().ok_or("a result has no batch")?.schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells: Result<Vec<Value>, String> = batch
                .columns()
                .iter()
                .map(|column| cell(column.as_ref(), row))
                .collect();
            rows.push(cells?);
        }
    }
    Ok(Rows { columns, rows })
}

fn cell(array: &dyn Array, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Utf8View => json!(array.as_string_view().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::UInt64 => json!(array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Decimal128(..) => {
            json!(array.as_primitive::<Decimal128Type>().value_as_string(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            json!(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let items: Result<Vec<Value>, String> = (0..items.len())
                .map(|index| cell(items.as_ref(), index))
                .collect();
            Value::Array(items?)
        }
        DataType::Date32 => {
            let days = array
                .as_primitive::<datafusion::arrow::datatypes::Date32Type>()
                .value_as_date(row)
                .ok_or("a date is out of range")?;
            json!(days.to_string())
        }
        other => {
            return Err(format!(
                "a result has a column of type {other}, which no test reads"
            ));
        }
    })
}

/// Why `DuckDB` cannot be run here, if it cannot.
pub(crate) fn duckdb_missing() -> Option<String> {
    match Command::new("python3")
        .args(["-c", "import duckdb"])
        .output()
    {
        Err(error) => Some(format!("python3 does not start: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(_) => Some("python3 has no package `duckdb` (see tests/requirements.txt)".to_owned()),
    }
}

/// Runs all cases on `DuckDB`.
pub(crate) fn duckdb(cases: &[Case]) -> Result<Vec<Outcome>, String> {
    #[derive(Deserialize)]
    struct Answers {
        cases: Vec<Answer>,
    }
    #[derive(Deserialize)]
    struct Answer {
        results: Option<Results>,
        error: Option<String>,
    }

    let input: Result<Vec<Value>, String> = cases.iter().map(document).collect();
    let input = serde_json::to_vec(&input?).map_err(|e| e.to_string())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/duckdb_peer.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("python3 does not start: {e}"))?;
    // The peer reads all of its input before it writes any output: no deadlock.
    let written = child
        .stdin
        .take()
        .ok_or("python3 has no stdin")?
        .write_all(&input);
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(format!(
            "the DuckDB peer failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    written.map_err(|e| e.to_string())?;
    let answers: Answers = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    if answers.cases.len() != cases.len() {
        return Err("the DuckDB peer did not answer every case".to_owned());
    }
    let outcome = |answer: Answer| match (answer.results, answer.error) {
        (Some(results), None) => Ok(results),
        (_, why) => Err(format!("DuckDB: {}", why.unwrap_or_default())),
    };
    Ok(answers.cases.into_iter().map(outcome).collect())
}

fn document(case: &Case) -> Result<Value, String> {
    let mut given = Vec::new();
    for table in &case.tables {
        let rows: Result<Vec<Vec<Value>>, _> = table
            .rows
            .iter()
            .map(|row| row.iter().map(json_of).collect())
            .collect();
        let columns: Vec<(&str, &str)> = table
            .columns
            .iter()
            .map(|(c, kind)| (c.as_str(), tables::type_name(*kind)))
            .collect();
        let rows = rows.map_err(|e| format!("`{}`: {e}", table.name))?;
        given.push(json!({"name": table.name, "columns": columns, "rows": rows}));
    }
    let mut steps = Vec::new();
    for step in &case.steps {
        let mut params = serde_json::Map::new();
        for (name, value) in &step.params.0 {
            let value = match value {
                ScalarValue::Int64(Some(v)) => json!(v),
                ScalarValue::Float64(Some(v)) => json!(v),
                ScalarValue::Utf8(Some(v)) => json!(v),
                other => return Err(format!("parameter `{name}` cannot be {other:?}")),
            };
            params.insert(name.clone(), value);
        }
        steps.push(json!({
            "result": step.result, "register": step.register,
            "sql": step.query.sql, "params": params,
        }));
    }
    Ok(json!({"tables": given, "steps": steps}))
}

/// A given cell as JSON, which has no word for infinity: Python's `float` reads these.
fn json_of(value: &serde_yaml_ng::Value) -> Result<Value, serde_json::Error> {
    match value {
        serde_yaml_ng::Value::Number(number) => match number.as_f64() {
            Some(float) if !float.is_finite() => Ok(json!(float.to_string())),
            _ => serde_json::to_value(value),
        },
        serde_yaml_ng::Value::Sequence(items) => items.iter().map(json_of).collect(),
        other => serde_json::to_value(other),
    }
}
