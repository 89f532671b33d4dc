//! Owns the digest of the content that a day's partitions are made from.
//!
//! It names windows by what they hold, never by files or versions, so compaction and a rerun of
//! the same window change nothing. Called by `derive`; the caller keeps the digests.

use std::fmt::Write as _;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::prelude::SessionContext;

use crate::lake::read_only_sql;
use crate::lake::schema::{TableKind, TableSpec};
use crate::model::canonical::sha256_hex;

use super::{Chain, DayRequest, DeriveError, LOOKBACK_MS, bounds, filter};

/// SHA-256 over everything that the day's rows depend on.
pub async fn day_digest(
    session: &SessionContext,
    chain: &Chain<'_>,
    request: &DayRequest<'_>,
) -> Result<String, DeriveError> {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "cluster {}\nday {} {}\nreach {}\ncatalogue {}",
        request.cluster,
        request.day.start_ms,
        request.day.end_ms,
        request.reach_ms(),
        request.catalogue_digest
    );
    for step in chain.steps() {
        let _ = writeln!(text, "query {} {}", step.name, step.sha256());
    }
    windows(session, request, &mut text).await?;
    for spec in chain.inputs().filter(|spec| spec.kind != TableKind::Raw) {
        inventory(session, spec, request, &mut text).await?;
    }
    Ok(sha256_hex(text.as_bytes()))
}

/// The windows of the raw tables that touch the span: whose, how much and what.
async fn windows(
    session: &SessionContext,
    request: &DayRequest<'_>,
    text: &mut String,
) -> Result<(), DeriveError> {
    let span = request.span();
    let ts = |ms: i64| ScalarValue::TimestampMicrosecond(Some(ms * 1000), Some("UTC".into()));
    let sql = include_str!("../../../queries/lake/window_contents.sql");
    let params = vec![
        ("cluster", ScalarValue::from(request.cluster)),
        ("from_ts", ts(span.start_ms - LOOKBACK_MS)),
        ("to_ts", ts(span.end_ms + LOOKBACK_MS)),
    ];
    hash_rows(session, "ingest_windows", sql, params, request, text).await
}

/// Inventory rows as the day sees them: clipped to the span, in the order of their key.
async fn inventory(
    session: &SessionContext,
    spec: &TableSpec,
    request: &DayRequest<'_>,
    text: &mut String,
) -> Result<(), DeriveError> {
    let columns: Vec<String> = spec
        .columns
        .iter()
        .map(|column| match column.name {
            "valid_from_ms" => "GREATEST(valid_from_ms, $from_ms) AS valid_from_ms".to_owned(),
            "valid_to_ms" => "LEAST(valid_to_ms, $to_ms) AS valid_to_ms".to_owned(),
            name => name.to_owned(),
        })
        .collect();
    let order: Vec<String> = (1..=columns.len()).map(|n| n.to_string()).collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {} ORDER BY {}",
        columns.join(", "),
        spec.name,
        filter(spec),
        order.join(", ")
    );
    hash_rows(session, spec.name, &sql, bounds(request), request, text).await
}

async fn hash_rows(
    session: &SessionContext,
    name: &str,
    sql: &str,
    params: Vec<(&'static str, ScalarValue)>,
    request: &DayRequest<'_>,
    text: &mut String,
) -> Result<(), DeriveError> {
    let batches = read_only_sql(session, sql, params)
        .await
        .map_err(|e| request.lake_error(name, e))?
        .collect()
        .await
        .map_err(|e| request.session_error(format!("read {name}"), e))?;
    let mut rows = String::new();
    let mut count = 0;
    for batch in &batches {
        count += batch.num_rows();
        append(batch, &mut rows)
            .map_err(|e| request.session_error(format!("digest {name}"), e.into()))?;
    }
    let _ = writeln!(text, "{name} {count} {}", sha256_hex(rows.as_bytes()));
    Ok(())
}

/// Values with their lengths, so that no two rows can spell the same.
fn append(
    batch: &RecordBatch,
    out: &mut String,
) -> Result<(), datafusion::arrow::error::ArrowError> {
    let options = FormatOptions::default();
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        for (column, formatter) in batch.columns().iter().zip(&columns) {
            if column.is_null(row) {
                out.push_str("-;");
            } else {
                let value = formatter.value(row).to_string();
                let _ = write!(out, "{}:{value};", value.len());
            }
        }
        out.push('\n');
    }
    Ok(())
}
