//! Owns what ingest needs of a lake: the record of a window, the replacing of one, and a lease that
//! stays alive meanwhile. Implemented for the lake here, and in memory by the tests.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::scalar::ScalarValue;

use crate::lake::{CommitInfo, LEASE_RENEWAL, Lake, LakeError, LakeView, Lease, read_only_sql};
use crate::model::TimeWindow;
use crate::model::time::DAY_MS;

/// Tells the time in milliseconds since the epoch; only the command line has a real one.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What `ingest_windows` says of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWindow {
    pub window: TimeWindow,
    pub content_digest: String,
    pub samples: i64,
}

/// Where raw rows go.
pub trait RawSink: Sync {
    /// The complete windows of a source that touch `span`.
    fn stored(
        &self,
        source: &str,
        span: TimeWindow,
    ) -> impl Future<Output = Result<Vec<StoredWindow>, LakeError>> + Send;

    /// Replaces one window of one table; no batches empty it.
    fn replace(
        &self,
        table: &'static str,
        source: &str,
        window: TimeWindow,
        batches: Vec<RecordBatch>,
        details: &[(&str, &str)],
    ) -> impl Future<Output = Result<(), LakeError>> + Send;

    /// Keeps the right to write alive; called at least once a minute while a window is read.
    fn keep_alive(&self) -> impl Future<Output = Result<(), LakeError>> + Send;
}

/// A lake under its source's lease.
pub struct LakeSink<'a> {
    lake: &'a Lake,
    lease: &'a Lease,
    clock: Clock,
    renewed_ms: AtomicI64,
}

impl<'a> LakeSink<'a> {
    /// `lease` is the source's: `lake::source_lease(name)`, just acquired.
    #[must_use]
    pub fn new(lake: &'a Lake, lease: &'a Lease, clock: Clock) -> Self {
        let renewed_ms = AtomicI64::new(clock());
        Self {
            lake,
            lease,
            clock,
            renewed_ms,
        }
    }
}

impl RawSink for LakeSink<'_> {
    async fn stored(&self, source: &str, span: TimeWindow) -> Result<Vec<StoredWindow>, LakeError> {
        let session = self
            .lake
            .read_session(&LakeView::pinned(self.lake.head().await?))
            .await?;
        let sql = include_str!("../../queries/ingest/stored_windows.sql");
        let text = |value: String| ScalarValue::Utf8(Some(value));
        let params = vec![
            ("source", text(source.to_owned())),
            (
                "from_date",
                text(crate::model::time::date_of(span.start_ms)),
            ),
            (
                "to_date",
                text(crate::model::time::date_of(
                    span.end_ms.max(span.start_ms + 1) - 1,
                )),
            ),
        ];
        let batches = read_only_sql(&session, sql, params)
            .await?
            .collect()
            .await
            .map_err(|e| LakeError::sql("read ingest_windows", e))?;
        let mut windows = Vec::new();
        for batch in &batches {
            let int = |column: usize| batch.column(column).as_primitive::<Int64Type>();
            let digests = batch.column(3).as_string_opt::<i32>();
            for row in 0..batch.num_rows() {
                windows.push(StoredWindow {
                    window: TimeWindow::new(int(0).value(row), int(1).value(row)),
                    samples: int(2).value(row),
                    content_digest: digests
                        .filter(|d| d.is_valid(row))
                        .map_or_else(String::new, |d| d.value(row).to_owned()),
                });
            }
        }
        windows.retain(|w| w.window.intersect(&span).is_some());
        Ok(windows)
    }

    async fn replace(
        &self,
        table: &'static str,
        source: &str,
        window: TimeWindow,
        batches: Vec<RecordBatch>,
        details: &[(&str, &str)],
    ) -> Result<(), LakeError> {
        self.keep_alive().await?;
        let info = CommitInfo {
            now_ms: (self.clock)(),
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            details: details
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        self.lake
            .replace_window(self.lease, table, source, window, batches, info)
            .await?;
        Ok(())
    }

    async fn keep_alive(&self) -> Result<(), LakeError> {
        let now_ms = (self.clock)();
        let due_ms = i64::try_from(LEASE_RENEWAL.as_millis()).unwrap_or(DAY_MS);
        if now_ms - self.renewed_ms.load(Ordering::Relaxed) >= due_ms {
            self.lease.renew(now_ms).await?;
            self.renewed_ms.store(now_ms, Ordering::Relaxed);
        }
        Ok(())
    }
}
