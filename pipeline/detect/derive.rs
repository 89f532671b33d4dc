//! Owns the daily rebuild of rollups and the ledger: one cluster and one UTC day at a time.
//!
//! It reads a session that the lake opened, stages nothing and publishes nothing: `run` hands the
//! rows it returns to the lake, and keeps the digest by which the next run skips the day. Which
//! SQL runs is [`Chain`]'s business, what a class means is the SQL's.

mod chain;
mod digest;
mod parts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use crate::detect::query::{self, Params, Query, QueryError, QuerySet};
use crate::lake::schema::{TableKind, TableSpec};
use crate::lake::{LakeError, conform, read_only_sql};
use crate::model::TimeWindow;

pub use chain::Chain;
use chain::output;
pub use digest::day_digest;
use parts::{Part, SCRAPES_PER_PART};

/// The longest run threshold in use: what a day reads on both sides.
pub const MARGIN_MS: i64 = 6 * 3_600_000;
/// Samples before the span that an increase, a held gauge or a median in it may need.
const LOOKBACK_MS: i64 = 30 * 60_000;

/// Why a day could not be derived.
#[derive(Debug, thiserror::Error)]
pub enum DeriveError {
    #[error("cannot derive {cluster} {day}: {cause}")]
    Query {
        cluster: String,
        day: String,
        cause: Box<QueryError>,
    },
    #[error("cannot derive {table} of {cluster} {day}: {cause}")]
    Lake {
        table: String,
        cluster: String,
        day: String,
        cause: Box<LakeError>,
    },
    #[error("cannot {action} of {cluster} {day}: {cause}; free memory or report it")]
    Session {
        action: String,
        cluster: String,
        day: String,
        cause: Box<DataFusionError>,
    },
}

/// What is derived: whose day, and how far the sources reach.
#[derive(Debug, Clone, Copy)]
pub struct DayRequest<'a> {
    pub cluster: &'a str,
    /// One UTC day.
    pub day: TimeWindow,
    /// The last complete moment of the cluster's sources: nothing exists after it yet.
    pub data_end_ms: i64,
    /// Digest of the catalogue that the inventory was built with.
    pub catalogue_digest: &'a str,
}

impl DayRequest<'_> {
    /// Every margin is in: the day's rows can no longer change by waiting.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.day.end_ms + MARGIN_MS <= self.data_end_ms
    }

    /// The day with its margins, which is all that its numbers may depend on.
    #[must_use]
    pub const fn span(&self) -> TimeWindow {
        TimeWindow::new(self.day.start_ms - MARGIN_MS, self.day.end_ms + MARGIN_MS)
    }

    /// How far the sources reach as far as the day can tell.
    const fn reach_ms(&self) -> i64 {
        let span_end_ms = self.day.end_ms + MARGIN_MS;
        if self.data_end_ms < span_end_ms {
            self.data_end_ms
        } else {
            span_end_ms
        }
    }

    fn params(&self) -> Params {
        Params::default()
            .with_text("cluster", self.cluster)
            .with_int("day_start_ms", self.day.start_ms)
            .with_int("day_end_ms", self.day.end_ms)
            .with_int("margin_ms", MARGIN_MS)
            .with_int("data_end_ms", self.reach_ms())
    }

    fn day_text(&self) -> String {
        chrono::DateTime::from_timestamp_millis(self.day.start_ms).map_or_else(
            || self.day.start_ms.to_string(),
            |t| t.format("%Y-%m-%d").to_string(),
        )
    }

    fn query_error(&self, cause: QueryError) -> DeriveError {
        DeriveError::Query {
            cluster: self.cluster.to_owned(),
            day: self.day_text(),
            cause: Box::new(cause),
        }
    }

    fn lake_error(&self, table: &str, cause: LakeError) -> DeriveError {
        DeriveError::Lake {
            table: table.to_owned(),
            cluster: self.cluster.to_owned(),
            day: self.day_text(),
            cause: Box::new(cause),
        }
    }

    fn session_error(&self, action: impl Into<String>, cause: DataFusionError) -> DeriveError {
        DeriveError::Session {
            action: action.into(),
            cluster: self.cluster.to_owned(),
            day: self.day_text(),
            cause: Box::new(cause),
        }
    }
}

/// A day's derived rows by table, in the tables' file schemas, and the digest of what made them.
#[derive(Debug)]
pub struct Derived {
    pub digest: String,
    pub tables: BTreeMap<&'static str, Vec<RecordBatch>>,
}

/// Derives one day, or returns `None` where `previous` says that its content has not changed.
///
/// `session` shows the run's pinned raw tables and the inventory that the run has staged. A large day is
/// cut into parts ([`parts`]), so that what it takes of memory does not grow with the fleet's raw rows.
pub async fn derive_day(
    session: &SessionContext,
    queries: &QuerySet,
    request: &DayRequest<'_>,
    previous: Option<&str>,
) -> Result<Option<Derived>, DeriveError> {
    derive_in_parts(session, queries, request, previous, SCRAPES_PER_PART).await
}

async fn derive_in_parts(
    session: &SessionContext,
    queries: &QuerySet,
    request: &DayRequest<'_>,
    previous: Option<&str>,
    scrapes_per_part: i64,
) -> Result<Option<Derived>, DeriveError> {
    let chain = Chain::new(queries);
    let digest = day_digest(session, &chain, request).await?;
    if previous == Some(digest.as_str()) {
        return Ok(None);
    }
    let context = day_session(session, &chain, request).await?;
    let mut tables = Tables::new();
    for (by, group) in chain.groups() {
        let parts = match by {
            Some(by) => parts::plan(&context, by, scrapes_per_part)
                .await
                .map_err(|e| request.session_error("cut the day", e))?,
            None => Vec::new(),
        };
        if parts.is_empty() {
            for place in group {
                let step = chain.steps()[place];
                let batches = run_step(&context, step, request).await?;
                keep(&mut tables, step, &batches, request)?;
                register(&context, step, batches, request)?;
                let_go(&context, &chain, place, request)?;
            }
        } else {
            run_parts(&context, &chain, &group, &parts, request, &mut tables).await?;
        }
    }
    Ok(Some(Derived { digest, tables }))
}

type Tables = BTreeMap<&'static str, Vec<RecordBatch>>;

/// Runs a group's steps part by part, and shows what later steps read as one table each.
async fn run_parts(
    context: &SessionContext,
    chain: &Chain<'_>,
    group: &Range<usize>,
    parts: &[Part],
    request: &DayRequest<'_>,
    tables: &mut Tables,
) -> Result<(), DeriveError> {
    let read = chain.read_by(group);
    let mut wanted: BTreeMap<usize, Vec<RecordBatch>> = BTreeMap::new();
    for part in parts {
        let inner = parts::session(context, &read, part)
            .await
            .map_err(|e| request.session_error("show a part of the day", e))?;
        for place in group.clone() {
            let step = chain.steps()[place];
            let batches = run_step(&inner, step, request).await?;
            keep(tables, step, &batches, request)?;
            if chain.read_after(group, &step.name) {
                wanted.entry(place).or_default().extend(batches.clone());
            }
            register(&inner, step, batches, request)?;
            let_go(&inner, chain, place, request)?;
        }
    }
    for (place, batches) in wanted {
        register(context, chain.steps()[place], batches, request)?;
    }
    for place in group.clone() {
        let_go(context, chain, place, request)?;
    }
    Ok(())
}

/// Samples and spans are large: what no later step reads is let go at once.
fn let_go(
    context: &SessionContext,
    chain: &Chain<'_>,
    place: usize,
    request: &DayRequest<'_>,
) -> Result<(), DeriveError> {
    for spent in chain.spent_after(place) {
        context
            .deregister_table(spent)
            .map_err(|e| request.session_error(format!("drop {spent}"), e))?;
    }
    Ok(())
}

/// Adds a step's rows to the table that it fills, if it fills one.
fn keep(
    tables: &mut Tables,
    step: &Query,
    batches: &[RecordBatch],
    request: &DayRequest<'_>,
) -> Result<(), DeriveError> {
    let Some(spec) = output(&step.name) else {
        return Ok(());
    };
    let kept = tables.entry(spec.name).or_default();
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        let fitted = conform(spec, batch).map_err(|e| request.lake_error(spec.name, e))?;
        kept.push(fitted);
    }
    Ok(())
}

async fn run_step(
    context: &SessionContext,
    step: &Query,
    request: &DayRequest<'_>,
) -> Result<Vec<RecordBatch>, DeriveError> {
    query::run(context, step, &request.params())
        .await
        .map_err(|e| request.query_error(e))
}

/// Shows a step's rows under its name.
fn register(
    context: &SessionContext,
    step: &Query,
    batches: Vec<RecordBatch>,
    request: &DayRequest<'_>,
) -> Result<(), DeriveError> {
    let error = |e| request.session_error(format!("keep {}", step.name), e);
    let Some(first) = batches.first() else {
        return Ok(());
    };
    let table = MemTable::try_new(first.schema(), vec![batches]).map_err(error)?;
    context
        .register_table(step.name.as_str(), Arc::new(table))
        .map_err(error)?;
    Ok(())
}

/// Derives several days of a cluster at once, each on a task of its own; results in their order.
///
/// Planning is most of a small day's work and runs on one core, so the caller hands over as many
/// days as it has cores.
pub async fn derive_days(
    session: &SessionContext,
    queries: &Arc<QuerySet>,
    common: &DayRequest<'_>,
    days: Vec<(TimeWindow, Option<String>)>,
) -> Result<Vec<Option<Derived>>, DeriveError> {
    let tasks: Vec<_> = days
        .into_iter()
        .map(|(day, previous)| {
            let (session, queries) = (session.clone(), Arc::clone(queries));
            let cluster = common.cluster.to_owned();
            let catalogue_digest = common.catalogue_digest.to_owned();
            let data_end_ms = common.data_end_ms;
            tokio::spawn(async move {
                let request = DayRequest {
                    cluster: &cluster,
                    day,
                    data_end_ms,
                    catalogue_digest: &catalogue_digest,
                };
                derive_day(&session, &queries, &request, previous.as_deref()).await
            })
        })
        .collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        let joined = task.await.map_err(|e| {
            common.session_error("finish a task", DataFusionError::External(Box::new(e)))
        })?;
        results.push(joined?);
    }
    Ok(results)
}

/// A session of the day's own: inputs cut to the cluster and the span, results beside them.
async fn day_session(
    session: &SessionContext,
    chain: &Chain<'_>,
    request: &DayRequest<'_>,
) -> Result<SessionContext, DeriveError> {
    let mut config = session.copied_config();
    // The plans are deep and already lean: a second pass of all rules finds nothing and costs
    // as much as the first.
    config.options_mut().optimizer.max_passes = 1;
    let context = SessionContext::new_with_config_rt(config, session.runtime_env());
    for spec in chain.inputs() {
        let name = spec.name;
        let frame = read_only_sql(
            session,
            &format!("SELECT * FROM {name} WHERE {}", filter(spec)),
            bounds(request),
        )
        .await
        .map_err(|e| request.lake_error(name, e))?;
        let action = || format!("read {name}");
        // Raw tables stay scans, so that each step reads only the columns it names; the
        // inventory is small and read by many steps.
        let provider = if spec.kind == TableKind::Raw {
            frame.into_view()
        } else {
            let schema = Arc::new(frame.schema().as_arrow().clone());
            let batches = frame
                .collect()
                .await
                .map_err(|e| request.session_error(action(), e))?;
            Arc::new(
                MemTable::try_new(schema, vec![batches])
                    .map_err(|e| request.session_error(action(), e))?,
            )
        };
        context
            .register_table(name, provider)
            .map_err(|e| request.session_error(action(), e))?;
    }
    Ok(context)
}

/// The rows of an input that a day may read. Dates prune whole partitions.
fn filter(spec: &TableSpec) -> &'static str {
    // A series has no moment: it counts where any of its samples may.
    if spec.columns.iter().any(|column| column.name == "last_ts") {
        "cluster = $cluster AND date >= $from_date AND date <= $to_date \
         AND last_ts >= $from_ts AND first_ts < $to_ts"
    } else if spec.kind == TableKind::Raw {
        "cluster = $cluster AND date >= $from_date AND date <= $to_date \
         AND ts >= $from_ts AND ts < $to_ts"
    } else {
        "cluster = $cluster AND date >= $from_date AND date <= $to_date \
         AND valid_to_ms > $from_ms AND valid_from_ms < $to_ms"
    }
}

fn bounds(request: &DayRequest<'_>) -> Vec<(&'static str, ScalarValue)> {
    let span = request.span();
    let (from_ms, to_ms) = (span.start_ms - LOOKBACK_MS, span.end_ms + LOOKBACK_MS);
    let date = |ms: i64| ScalarValue::Date32(i32::try_from(ms.div_euclid(86_400_000)).ok());
    let ts = |ms: i64| ScalarValue::TimestampMicrosecond(Some(ms * 1000), Some("UTC".into()));
    vec![
        ("cluster", ScalarValue::from(request.cluster)),
        ("from_date", date(from_ms)),
        ("to_date", date(to_ms)),
        ("from_ts", ts(from_ms)),
        ("to_ts", ts(to_ms)),
        ("from_ms", ScalarValue::from(span.start_ms)),
        ("to_ms", ScalarValue::from(span.end_ms)),
    ]
}
