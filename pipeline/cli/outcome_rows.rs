//! Owns the rows of the table `outcomes`: plain columns of what `outcomes` found out, staged for the
//! lake and shown to the detectors of the run.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use rust_decimal::{Decimal, RoundingStrategy};

use super::error::CliError;
use crate::approve::{Outcome, Realised, Sight};
use crate::lake::schema;
use crate::model::canonical::to_canonical;

const USD_SCALE: u32 = 6;

/// One row an outcome, as the table's file holds them.
pub(super) fn batch(rows: &[&Outcome]) -> Result<RecordBatch, CliError> {
    let failed =
        |why: String| CliError::Unexpected(format!("cannot build rows of `outcomes`: {why}"));
    let spec =
        schema::table("outcomes").ok_or_else(|| failed("there is no such table".to_owned()))?;
    let mut changes = Vec::new();
    for one in rows {
        changes
            .push(to_canonical(&one.changes_value()).map_err(|error| failed(error.to_string()))?);
    }
    let columns = columns(rows, changes).map_err(|error| failed(error.to_string()))?;
    RecordBatch::try_new(spec.file_schema(), columns).map_err(|error| failed(error.to_string()))
}

/// Makes what is known now the session's table `outcomes`: the one in the lake is the last run's.
pub(super) fn register(session: &SessionContext, told: &[Outcome]) -> Result<(), CliError> {
    let rows = batch(&told.iter().collect::<Vec<_>>())?;
    let clusters: StringArray = told.iter().map(|one| Some(&one.cluster)).collect();
    let mut fields = vec![Arc::new(Field::new("cluster", DataType::Utf8, false))];
    fields.extend(rows.schema_ref().fields().iter().cloned());
    let mut columns: Vec<ArrayRef> = vec![Arc::new(clusters)];
    columns.extend(rows.columns().iter().cloned());
    let schema = Arc::new(Schema::new(fields));
    let table = RecordBatch::try_new(Arc::clone(&schema), columns)
        .map_err(DataFusionError::from)
        .and_then(|rows| MemTable::try_new(schema, vec![vec![rows]]))
        .and_then(|table| {
            session.deregister_table("outcomes")?;
            session.register_table("outcomes", Arc::new(table))
        });
    table.map(|_| ()).map_err(|error| {
        CliError::Unexpected(format!("cannot show detectors the outcomes: {error}"))
    })
}

/// In the order of the table's columns.
fn columns(rows: &[&Outcome], changes: Vec<String>) -> Result<Vec<ArrayRef>, ArrowError> {
    let words = |pick: fn(&Outcome) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(|one| pick(one)).collect::<StringArray>())
    };
    let numbers = |pick: fn(&Outcome) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(|one| pick(one)).collect::<Int64Array>())
    };
    let usd = |pick: fn(&Outcome) -> Option<Decimal>| -> Result<ArrayRef, ArrowError> {
        let values: Decimal128Array = rows.iter().map(|one| pick(one).map(stored)).collect();
        Ok(Arc::new(values.with_precision_and_scale(38, 6)?))
    };
    let capped: BooleanArray = rows
        .iter()
        .map(|one| one.realised.as_ref().map(|saved| saved.capped))
        .collect();
    Ok(vec![
        words(|one| Some(&one.recommendation_id)),
        words(|one| Some(&one.manifest_sha256)),
        words(|one| Some(&one.finding_id)),
        words(|one| Some(&one.detector)),
        words(|one| Some(&one.action)),
        words(|one| Some(&one.namespace)),
        words(|one| Some(&one.workload_kind)),
        words(|one| Some(&one.workload_name)),
        numbers(|one| Some(one.exported_ms)),
        words(|one| Some(&one.state)),
        numbers(|one| Some(applied(one)?.not_before_ms)),
        numbers(|one| Some(applied(one)?.seen_ms)),
        words(|one| applied(one)?.by.as_deref()),
        numbers(|one| Some(ended(one)?.not_before_ms)),
        numbers(|one| Some(ended(one)?.seen_ms)),
        words(|one| ended(one)?.by.as_deref()),
        usd(|one| one.predicted_usd)?,
        usd(|one| one.predicted_low_usd)?,
        usd(|one| one.predicted_high_usd)?,
        numbers(|one| Some(one.band_percent)),
        usd(|one| Some(saved(one)?.monthly_usd))?,
        usd(|one| Some(saved(one)?.low_usd))?,
        usd(|one| Some(saved(one)?.high_usd))?,
        words(|one| Some(saved(one)?.baseline)),
        numbers(|one| i64::try_from(saved(one)?.days_before).ok()),
        numbers(|one| i64::try_from(saved(one)?.days_after).ok()),
        usd(|one| saved(one)?.billed_usd)?,
        Arc::new(capped),
        numbers(|one| one.predicted_latency.ttft_ms),
        numbers(|one| one.predicted_latency.itl_ms),
        numbers(|one| one.latency_before.ttft_ms),
        numbers(|one| one.latency_before.itl_ms),
        numbers(|one| one.latency_after.ttft_ms),
        numbers(|one| one.latency_after.itl_ms),
        Arc::new(StringArray::from(changes)),
    ])
}

fn applied(one: &Outcome) -> Option<&Sight> {
    one.sights()[0]
}

fn ended(one: &Outcome) -> Option<&Sight> {
    one.sights()[1]
}

fn saved(one: &Outcome) -> Option<&Realised> {
    one.realised.as_ref()
}

/// Millionths of a dollar.
fn stored(usd: Decimal) -> i128 {
    let mut usd = usd.round_dp_with_strategy(USD_SCALE, RoundingStrategy::MidpointAwayFromZero);
    usd.rescale(USD_SCALE);
    usd.mantissa()
}
