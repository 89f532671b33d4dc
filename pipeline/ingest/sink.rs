//! Owns what ingest needs of a lake: the record of a window, the replacing of one, and a lease that
//! stays alive meanwhile. Implemented for the lake here, and in memory by the tests.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::scalar::ScalarValue;

use super::kubernetes::{KnownDay, KnownObject};
use crate::lake::columns::{int, text, text_at};
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
    /// Of the selectors and their meaning; another one reads anew.
    pub selector_digest: String,
    pub samples: i64,
    /// Until when the source held anything when the window was read.
    pub source_end_ms: Option<i64>,
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

/// What the ingest of a live cluster asks of the lake besides.
pub trait ObjectSink: RawSink {
    /// What the complete windows of a source hold of a day.
    fn known_day(
        &self,
        source: &str,
        day: TimeWindow,
    ) -> impl Future<Output = Result<KnownDay, LakeError>> + Send;

    /// The uid of kube-system by which a cluster is known, once any snapshot of it was kept.
    fn cluster_uid(
        &self,
        cluster: &str,
    ) -> impl Future<Output = Result<Option<String>, LakeError>> + Send;
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
        stored_windows(self.lake, source, span).await
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

impl LakeSink<'_> {
    /// The rows of a query over complete windows: what a killed ingest left is not among them.
    async fn rows(
        &self,
        sql: &'static str,
        params: Vec<(&str, ScalarValue)>,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let head = self.lake.head().await?;
        let windows = self.lake.complete_windows(&head).await?;
        let view = LakeView::pinned(head).with_windows(windows);
        let session = self.lake.read_session(&view).await?;
        read_only_sql(&session, sql, params)
            .await?
            .collect()
            .await
            .map_err(|e| LakeError::sql("read the snapshots before this one", e))
    }
}

impl ObjectSink for LakeSink<'_> {
    async fn known_day(&self, source: &str, day: TimeWindow) -> Result<KnownDay, LakeError> {
        let params = || {
            vec![
                ("source", ScalarValue::from(source)),
                ("date", ScalarValue::from(day.date())),
            ]
        };
        let column = |e: crate::lake::columns::ColumnError| LakeError::Rows {
            table: "objects".to_owned(),
            reason: e.to_string(),
        };
        let mut known = KnownDay::default();
        let sql = include_str!("../../queries/ingest/known_listings.sql");
        for batch in self.rows(sql, params()).await? {
            let (kind, state) = (
                text(&batch, "kind").map_err(column)?,
                text(&batch, "state").map_err(column)?,
            );
            let ts_ms = int(&batch, "ts_ms").map_err(column)?;
            for row in 0..batch.num_rows() {
                known.add_listing(kind.value(row), ts_ms.value(row), state.value(row));
            }
        }
        let sql = include_str!("../../queries/ingest/known_objects.sql");
        for batch in self.rows(sql, params()).await? {
            let column_of = |name| text(&batch, name).map_err(column);
            let (api, kind) = (column_of("api_version")?, column_of("kind")?);
            let (namespace, name) = (column_of("namespace")?, column_of("name")?);
            let (uid, version) = (column_of("uid")?, column_of("resource_version")?);
            let seen_to_ms = int(&batch, "seen_to_ms").map_err(column)?;
            for row in 0..batch.num_rows() {
                known.add_object(KnownObject {
                    api_version: api.value(row).to_owned(),
                    kind: kind.value(row).to_owned(),
                    namespace: text_at(&namespace, row),
                    name: name.value(row).to_owned(),
                    uid: text_at(&uid, row),
                    resource_version: text_at(&version, row),
                    seen_to_ms: seen_to_ms.value(row),
                });
            }
        }
        Ok(known)
    }

    async fn cluster_uid(&self, cluster: &str) -> Result<Option<String>, LakeError> {
        let params = vec![("cluster", ScalarValue::from(cluster))];
        let sql = include_str!("../../queries/ingest/cluster_uid.sql");
        for batch in self.rows(sql, params).await? {
            let uid = batch.column(0).as_string_opt::<i32>();
            if let Some(uid) = uid.filter(|uid| !uid.is_empty()) {
                return Ok(text_at(uid, 0));
            }
        }
        Ok(None)
    }
}

/// The complete windows of a source that touch `span`, as the lake's newest version lists them.
pub async fn stored_windows(
    lake: &Lake,
    source: &str,
    span: TimeWindow,
) -> Result<Vec<StoredWindow>, LakeError> {
    let session = lake
        .read_session(&LakeView::pinned(lake.head_of("ingest_windows").await?))
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
        let text = |column: usize, row: usize| {
            batch
                .column(column)
                .as_string_opt::<i32>()
                .filter(|texts| texts.is_valid(row))
                .map_or_else(String::new, |texts| texts.value(row).to_owned())
        };
        for row in 0..batch.num_rows() {
            windows.push(StoredWindow {
                window: TimeWindow::new(int(0).value(row), int(1).value(row)),
                samples: int(2).value(row),
                content_digest: text(3, row),
                selector_digest: text(4, row),
                source_end_ms: int(5).is_valid(row).then(|| int(5).value(row)),
            });
        }
    }
    windows.retain(|w| w.window.intersect(&span).is_some());
    Ok(windows)
}
