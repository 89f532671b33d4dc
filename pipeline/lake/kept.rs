//! Owns tables kept in memory for the length of a run: one window of a table that dozens of queries
//! read, decoded once.
//!
//! A kept table answers only what it can answer whole: a scan whose filters hold the window's column
//! within the window. Everything else goes to the lake, so keeping changes no answer. What does not
//! fit the given bytes is not kept. Called by `detect` before its queries.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion::datasource::{MemTable, TableType};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::prelude::{SessionContext, col, lit};
use futures::StreamExt as _;

use super::LakeError;
use super::provider::ScanFuture;
use crate::model::TimeWindow;

/// A table, and one window of it in memory.
struct KeptTable {
    whole: Arc<dyn TableProvider>,
    kept: MemTable,
    column: &'static str,
    window: TimeWindow,
    /// What it takes of the session's memory for as long as it stands.
    _reservation: MemoryReservation,
}

impl fmt::Debug for KeptTable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("KeptTable")
            .field("whole", &self.whole)
            .field("column", &self.column)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl KeptTable {
    /// Whether the filters let through nothing but the window.
    fn holds(&self, filters: &[Expr]) -> bool {
        let mut bounds = (false, false);
        for filter in filters {
            bound(filter, self.column, self.window, &mut bounds);
        }
        bounds == (true, true)
    }
}

/// Marks which ends of the window a condition keeps to.
fn bound(condition: &Expr, column: &str, window: TimeWindow, bounds: &mut (bool, bool)) {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
        return;
    };
    if *op == Operator::And {
        bound(left, column, window, bounds);
        bound(right, column, window, bounds);
        return;
    }
    let (name, op, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(name), Expr::Literal(ScalarValue::Int64(Some(value)), _)) => {
            (name, *op, *value)
        }
        (Expr::Literal(ScalarValue::Int64(Some(value)), _), Expr::Column(name)) => {
            let Some(op) = op.swap() else { return };
            (name, op, *value)
        }
        _ => return,
    };
    if name.name != column {
        return;
    }
    match op {
        Operator::Gt | Operator::GtEq if value >= window.start_ms => bounds.0 = true,
        Operator::Lt if value <= window.end_ms => bounds.1 = true,
        Operator::LtEq if value < window.end_ms => bounds.1 = true,
        _ => {}
    }
}

impl TableProvider for KeptTable {
    fn schema(&self) -> SchemaRef {
        self.whole.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        // Rows in memory are filtered by the plan above: what the lake says it does exactly, a part of
        // a day for one, is done again there.
        Ok(filters
            .iter()
            .map(|_| TableProviderFilterPushDown::Inexact)
            .collect())
    }

    fn scan<'a, 'b, 'c, 'd, 'out>(
        &'a self,
        state: &'b dyn Session,
        projection: Option<&'c Vec<usize>>,
        filters: &'d [Expr],
        limit: Option<usize>,
    ) -> ScanFuture<'out>
    where
        'a: 'out,
        'b: 'out,
        'c: 'out,
        'd: 'out,
        Self: 'out,
    {
        if self.holds(filters) {
            self.kept.scan(state, projection, &[], None)
        } else {
            self.whole.scan(state, projection, filters, limit)
        }
    }
}

/// The batches of one part; fewer as soon as all parts together are more than may be kept.
async fn gather(
    mut part: SendableRecordBatchStream,
    taken: Arc<AtomicUsize>,
    bytes: usize,
) -> DfResult<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    while let Some(batch) = part.next().await {
        let batch = batch?;
        let size = batch.get_array_memory_size();
        if taken.fetch_add(size, Ordering::Relaxed) + size > bytes {
            batches.clear();
            break;
        }
        batches.push(batch);
    }
    Ok(batches)
}

/// Keeps a window of a table in memory, in as many parts as a scan has, where it fits `bytes`. Says how many
/// bytes it takes; zero where it is not kept.
///
/// # Errors
///
/// If the table cannot be read.
pub async fn keep(
    session: &SessionContext,
    table: &str,
    column: &'static str,
    window: TimeWindow,
    bytes: usize,
) -> Result<usize, LakeError> {
    let failed = |cause| LakeError::sql(format!("keep the table {table} in memory"), cause);
    let whole = session.table_provider(table).await.map_err(failed)?;
    let rows = session.read_table(Arc::clone(&whole)).map_err(failed)?;
    let wanted = col(column)
        .gt_eq(lit(window.start_ms))
        .and(col(column).lt(lit(window.end_ms)));
    let rows = rows.filter(wanted).map_err(failed)?;
    let schema = Arc::clone(rows.schema().inner());
    let parts = rows.execute_stream_partitioned().await.map_err(failed)?;
    let reservation =
        MemoryConsumer::new(format!("kept {table}")).register(&session.runtime_env().memory_pool);
    let taken = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = parts
        .into_iter()
        .map(|part| SpawnedTask::spawn(gather(part, Arc::clone(&taken), bytes)))
        .collect();
    let mut kept: Vec<Vec<RecordBatch>> = Vec::with_capacity(tasks.len());
    for task in tasks {
        let part = task.join_unwind().await;
        let part = part.map_err(|e| failed(DataFusionError::External(Box::new(e))))?;
        kept.push(part.map_err(failed)?);
    }
    let taken = taken.load(Ordering::Relaxed);
    if taken > bytes || reservation.try_grow(taken).is_err() {
        return Ok(0);
    }
    let table_of = KeptTable {
        kept: MemTable::try_new(schema, kept).map_err(failed)?,
        whole,
        column,
        window,
        _reservation: reservation,
    };
    session.deregister_table(table).map_err(failed)?;
    session
        .register_table(table, Arc::new(table_of))
        .map_err(failed)?;
    Ok(taken)
}
