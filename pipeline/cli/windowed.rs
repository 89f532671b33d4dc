//! Owns the questions that commands ask of a publication over a window: its days bound as parameters,
//! and the ledger's days gathered once for all that add them up.

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use super::error::CliError;
use crate::lake::{LakeError, read_only_sql};
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, date_of};

pub(super) const WEEK_MS: i64 = 7 * DAY_MS;
/// What the report's trend looks back on.
pub(super) const TREND_WEEKS: i64 = 13;

/// Rows of a query with the window's days bound; one empty batch with the columns where there are none.
pub(super) async fn window_rows(
    session: &SessionContext,
    sql: &str,
    window: TimeWindow,
    shown_end_ms: i64,
) -> Result<Vec<RecordBatch>, CliError> {
    let day = |ms: i64| ScalarValue::from(date_of(ms));
    let weeks_ms = window.start_ms.min(window.end_ms - TREND_WEEKS * WEEK_MS);
    let all = [
        ("from_date", day(window.start_ms)),
        ("to_date", day(window.end_ms)),
        ("shown_date", day(shown_end_ms)),
        ("weeks_date", day(weeks_ms)),
        ("weeks_start_ms", ScalarValue::Int64(Some(weeks_ms))),
        ("last_week_date", day(window.end_ms - WEEK_MS)),
        ("week_before_date", day(window.end_ms - 2 * WEEK_MS)),
        ("window_start_ms", ScalarValue::Int64(Some(window.start_ms))),
        ("window_end_ms", ScalarValue::Int64(Some(window.end_ms))),
    ];
    let used: Vec<(&str, ScalarValue)> = all
        .into_iter()
        .filter(|(name, _)| sql.contains(&format!("${name}")))
        .collect();
    let begun = Instant::now();
    let rows = read_only_sql(session, sql, used).await?;
    let schema = Arc::clone(rows.schema().inner());
    let mut batches = rows
        .collect()
        .await
        .map_err(|cause| LakeError::sql("read rows for the report", cause))?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    tracing::debug!(
        milliseconds = begun.elapsed().as_millis(),
        "asked: {}",
        sql.trim_start_matches("-- ")
            .lines()
            .next()
            .unwrap_or_default()
    );
    Ok(batches)
}

/// Gathers the ledger's days and gives them to the session as the table `report_days`.
pub(super) async fn gather_days(
    session: &SessionContext,
    window: TimeWindow,
    shown_end_ms: i64,
) -> Result<(), CliError> {
    let sql = include_str!("../../queries/report/report_days.sql");
    let batches = window_rows(session, sql, window, shown_end_ms).await?;
    let failed = |cause| CliError::from(LakeError::sql("gather the ledger's days", cause));
    let table = MemTable::try_new(batches[0].schema(), vec![batches]).map_err(failed)?;
    session
        .register_table("report_days", Arc::new(table))
        .map_err(failed)?;
    Ok(())
}
