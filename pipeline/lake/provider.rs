//! Owns `LakeTable`: a pinned version of a table, staged files on top, as a stock Parquet scan.
//!
//! Files come from the log and never from a listing: a folder also holds replaced files, orphans
//! and the files of dead runs. The plan is a plain `DataSourceExec` with partition values, so it
//! stays serialisable for a distributed engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Date32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, DataFusionError, Result as DfResult, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::object_store::ObjectMeta;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use tokio::sync::OnceCell;

use super::error::LakeError;
use super::files::{DataFile, PartitionKey, Staged};
use super::pruning::{FileStatistics, day_number};
use super::schema::{TableKind, TableSpec};
use super::store::LakeStore;
use super::{CompleteWindows, commit, migrate, paths};
use crate::model::TimeWindow;

/// One table as a reader sees it.
pub(crate) struct LakeTable {
    pub(crate) spec: &'static TableSpec,
    pub(crate) store: LakeStore,
    /// `None`: the table does not exist, which reads as empty.
    pub(crate) version: Option<i64>,
    pub(crate) staged: Vec<Staged>,
    /// For run tables: the run that speaks for each cluster; `None` shows all runs.
    pub(crate) runs: Option<BTreeMap<String, String>>,
    /// For raw tables: only the files of these windows; `None` shows all.
    pub(crate) windows: Option<Arc<CompleteWindows>>,
    files: OnceCell<Vec<DataFile>>,
}

impl fmt::Debug for LakeTable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LakeTable")
            .field("table", &self.spec.name)
            .field("version", &self.version)
            .field("staged", &self.staged.len())
            .finish_non_exhaustive()
    }
}

impl LakeTable {
    pub(crate) fn new(
        spec: &'static TableSpec,
        store: LakeStore,
        version: Option<i64>,
        staged: Vec<Staged>,
        runs: Option<BTreeMap<String, String>>,
        windows: Option<Arc<CompleteWindows>>,
    ) -> Self {
        Self {
            spec,
            store,
            version,
            staged,
            runs,
            windows,
            files: OnceCell::new(),
        }
    }

    /// The visible files, in the order of their paths. The log is read on first use: a query that
    /// touches one table should not pay for thirty.
    pub(crate) async fn files(&self) -> Result<&[DataFile], LakeError> {
        let files = self
            .files
            .get_or_try_init(|| async {
                let mut files = BTreeMap::new();
                if let Some(version) = self.version
                    && let Some(delta) =
                        commit::open(&self.store, self.spec.name, Some(version)).await?
                {
                    migrate::check_readable(self.spec, &delta)?;
                    files = commit::live_files(self.spec, &delta)?;
                    files.retain(|_, file| self.shows(file));
                }
                for file in self.staged.iter().flat_map(|staged| &staged.files) {
                    files.insert(file.path.clone(), file.clone());
                }
                Ok::<_, LakeError>(files.into_values().collect())
            })
            .await?;
        Ok(files)
    }

    fn shows(&self, file: &DataFile) -> bool {
        match self.spec.kind {
            TableKind::Raw => {
                let Some(windows) = &self.windows else {
                    return true;
                };
                let source = &file.partition.second;
                file.window().is_some_and(|window| {
                    if file.is_compacted() {
                        // Only complete windows are compacted, and they are taken apart again
                        // before one of them ceases to be: all are listed, or the day has gone.
                        windows
                            .range((source.clone(), TimeWindow::new(window.start_ms, i64::MIN))..)
                            .next()
                            .is_some_and(|(of, first)| {
                                of == source && first.start_ms < window.end_ms
                            })
                    } else {
                        windows.contains(&(source.clone(), window))
                    }
                })
            }
            TableKind::Derived => {
                let replaced: BTreeSet<&PartitionKey> =
                    self.staged.iter().map(|s| &s.partition).collect();
                !replaced.contains(&file.partition)
            }
            TableKind::Run => {
                let PartitionKey {
                    first: run,
                    second: cluster,
                } = &file.partition;
                // A staged run already speaks for its cluster.
                let superseded = self.staged.iter().any(|s| &s.partition.second == cluster);
                let named = self
                    .runs
                    .as_ref()
                    .is_none_or(|runs| runs.get(cluster) == Some(run));
                named && !superseded
            }
        }
    }

    fn partition_names(&self) -> [&'static str; 2] {
        self.spec.partition_columns().map(|column| column.name)
    }

    fn only_partitions(&self, filter: &Expr) -> bool {
        let names = self.partition_names();
        !filter.is_volatile()
            && filter
                .column_refs()
                .iter()
                .all(|column| names.contains(&column.name.as_str()))
    }

    /// Leaves out the files whose statistics exclude them, then those whose partition values do
    /// not satisfy every filter on partition columns alone: of these no row is filtered later.
    fn prune(
        &self,
        state: &dyn Session,
        files: &[DataFile],
        filters: &[Expr],
    ) -> DfResult<Vec<DataFile>> {
        let Some(all) = conjunction(filters.to_vec()) else {
            return Ok(files.to_vec());
        };
        let schema = DFSchema::try_from(self.schema())?;
        let expr = state.create_physical_expr(all, &schema)?;
        let may_match = PruningPredicateBuilder::new()
            .with_file_schema(self.schema())
            .try_build(expr)?
            .prune(&FileStatistics::new(self.spec, files))?;
        let files: Vec<DataFile> = files
            .iter()
            .zip(may_match)
            .filter(|(_, keep)| *keep)
            .map(|(file, _)| file.clone())
            .collect();

        let exact = filters
            .iter()
            .filter(|filter| self.only_partitions(filter))
            .cloned()
            .collect::<Vec<_>>();
        let Some(filter) = conjunction(exact) else {
            return Ok(files);
        };
        let batch = partition_batch(self.spec, &files)?;
        let schema = DFSchema::try_from(batch.schema())?;
        let expr = state.create_physical_expr(filter, &schema)?;
        let kept = expr.evaluate(&batch)?.into_array(files.len())?;
        let kept = kept
            .as_boolean_opt()
            .ok_or_else(|| DataFusionError::Plan("a filter is not a condition".to_owned()))?;
        Ok(files
            .into_iter()
            .zip(kept)
            .filter(|(_, keep)| *keep == Some(true))
            .map(|(file, _)| file)
            .collect())
    }

    async fn plan_scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let wanted: Vec<usize> = projection
            .cloned()
            .unwrap_or_else(|| (0..schema.fields().len()).collect());
        let files = self
            .files()
            .await
            .map_err(|e| DataFusionError::External(Box::new(e)))?;
        let files = self.prune(state, files, filters)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(schema.project(&wanted)?))));
        }

        // A scan has the partition columns last, the lake's tables have them first.
        let stored = self.spec.columns.len();
        let partitions: Vec<FieldRef> = schema.fields().iter().take(2).cloned().collect();
        let scan_schema = TableSchema::builder(self.spec.file_schema())
            .with_table_partition_cols(partitions)
            .build();
        let indices = wanted
            .iter()
            .map(|&index| if index < 2 { stored + index } else { index - 2 })
            .collect();

        let mut options = state.default_table_options().parquet;
        options.global.pruning = true;
        let mut source =
            ParquetSource::new(scan_schema.clone()).with_table_parquet_options(options);
        let inexact: Vec<Expr> = filters
            .iter()
            .filter(|filter| !self.only_partitions(filter))
            .cloned()
            .collect();
        let exact = inexact.is_empty();
        if let Some(filter) = conjunction(inexact) {
            let df_schema = DFSchema::try_from(Arc::clone(scan_schema.table_schema()))?;
            source = source.with_predicate(state.create_physical_expr(filter, &df_schema)?);
        }

        let rows: u64 = files.iter().map(|file| file.rows).sum();
        let mut statistics = Statistics::new_unknown(scan_schema.table_schema());
        statistics.num_rows = Precision::Inexact(rows as usize);
        let files = files
            .iter()
            .map(|file| self.partitioned_file(file))
            .collect::<DfResult<Vec<_>>>()?;
        let groups = FileGroup::new(files).split_files(state.config().target_partitions().max(1));
        let url = ObjectStoreUrl::parse(store_url(&self.store))?;
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(indices))?
            .with_limit(limit.filter(|_| exact))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn partitioned_file(&self, file: &DataFile) -> DfResult<PartitionedFile> {
        let key = format!("{}/{}", paths::table_root(self.spec.name), file.path);
        let meta = ObjectMeta {
            location: self.store.path(&key),
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: file.size_bytes,
            e_tag: None,
            version: None,
        };
        let mut partitioned = PartitionedFile::new_from_meta(meta);
        partitioned.partition_values = vec![
            first_value(self.spec, &file.partition)?,
            ScalarValue::Utf8(Some(file.partition.second.clone())),
        ];
        Ok(partitioned)
    }
}

/// The store's URL without a path, under which a session finds it.
pub(crate) fn store_url(store: &LakeStore) -> String {
    store.url[..url::Position::BeforePath].to_owned()
}

fn first_value(spec: &TableSpec, partition: &PartitionKey) -> DfResult<ScalarValue> {
    Ok(if spec.kind == TableKind::Run {
        ScalarValue::Utf8(Some(partition.first.clone()))
    } else {
        ScalarValue::Date32(Some(day_number(&partition.first)?))
    })
}

/// One row a file: its partition values, on which filters are evaluated.
fn partition_batch(spec: &TableSpec, files: &[DataFile]) -> DfResult<RecordBatch> {
    let first: ArrayRef = if spec.kind == TableKind::Run {
        Arc::new(StringArray::from_iter_values(
            files.iter().map(|file| &file.partition.first),
        ))
    } else {
        let days = files
            .iter()
            .map(|file| day_number(&file.partition.first))
            .collect::<DfResult<Vec<_>>>()?;
        Arc::new(Date32Array::from(days))
    };
    let second: ArrayRef = Arc::new(StringArray::from_iter_values(
        files.iter().map(|file| &file.partition.second),
    ));
    let schema = Arc::new(spec.table_schema().project(&[0, 1])?);
    Ok(RecordBatch::try_new(schema, vec![first, second])?)
}

pub(super) type ScanFuture<'a> =
    Pin<Box<dyn Future<Output = DfResult<Arc<dyn ExecutionPlan>>> + Send + 'a>>;

impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        self.spec.table_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| {
                if self.only_partitions(filter) {
                    TableProviderFilterPushDown::Exact
                } else {
                    TableProviderFilterPushDown::Inexact
                }
            })
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
        Box::pin(self.plan_scan(state, projection, filters, limit))
    }
}
