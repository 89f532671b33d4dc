//! Owns the read-only SQL session over a view of the lake.
//!
//! It registers every table of the schema under its bare name, so a table that nobody has
//! written reads as empty and never as missing.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::Arc;

use datafusion::common::ParamValues;
use datafusion::config::Dialect;
use datafusion::datasource::ViewTable;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use url::Url;

use crate::model::TimeWindow;

use super::error::LakeError;
use super::files::Staged;
use super::memory::SharedPool;
use super::provider::{LakeTable, store_url};
use super::publication::Publication;
use super::schema::{TABLES, TableKind};
use super::store::LakeStore;

/// A table's pinned version, for each table that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    pub tables: BTreeMap<String, i64>,
}

/// `(source, window)` of every window that `ingest_windows` lists.
pub type CompleteWindows = BTreeSet<(String, TimeWindow)>;

/// What a session shows: pinned versions, staged files on top, and whose rows.
#[derive(Debug, Clone, Default)]
pub struct LakeView {
    pub pins: Pins,
    pub staged: Vec<Staged>,
    /// In run tables, only the rows of the run that speaks for each cluster; `None` shows all.
    pub runs: Option<BTreeMap<String, String>>,
    /// In raw tables, only the rows of these windows; `None` shows all.
    pub windows: Option<Arc<CompleteWindows>>,
}

impl LakeView {
    /// Pinned versions as they are: of [`super::Lake::head`], for ingest and repair.
    #[must_use]
    pub fn pinned(pins: Pins) -> Self {
        Self {
            pins,
            ..Self::default()
        }
    }

    /// What a publication shows.
    #[must_use]
    pub fn published(publication: &Publication) -> Self {
        Self {
            pins: publication.pins(),
            runs: Some(publication.runs.clone()),
            ..Self::default()
        }
    }

    /// What a run sees while it works: raw tables as pinned by it, everything else as published
    /// by its base, or nothing where there is none.
    #[must_use]
    pub fn for_run(raw: &Pins, base: Option<&Publication>) -> Self {
        let is_raw = |name: &str| {
            TABLES
                .iter()
                .any(|spec| spec.name == name && spec.kind == TableKind::Raw)
        };
        let mut pins = base.map_or_else(Pins::default, Publication::pins);
        pins.tables.retain(|name, _| !is_raw(name));
        let fresh = raw.tables.iter().filter(|(name, _)| is_raw(name));
        pins.tables
            .extend(fresh.map(|(name, version)| (name.clone(), *version)));
        Self {
            pins,
            runs: Some(base.map_or_else(BTreeMap::new, |b| b.runs.clone())),
            ..Self::default()
        }
    }

    #[must_use]
    pub fn with_staged(mut self, staged: Vec<Staged>) -> Self {
        self.staged = staged;
        self
    }

    #[must_use]
    pub fn with_windows(mut self, windows: CompleteWindows) -> Self {
        self.windows = Some(Arc::new(windows));
        self
    }
}

/// How much a session may take.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    pub memory_bytes: usize,
    pub target_partitions: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            // Leaves a command below its 1 GiB: what decodes and renders is not in the pool.
            memory_bytes: 640 << 20,
            target_partitions: std::thread::available_parallelism().map_or(1, NonZero::get),
        }
    }
}

/// The settings under which all SQL of the project runs; tests over given rows take them too.
#[must_use]
pub fn session_config(limits: SessionLimits) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_target_partitions(limits.target_partitions);
    let options = config.options_mut();
    // The default dialect takes `, cluster` for a trailing comma before CLUSTER BY.
    options.sql_parser.dialect = Dialect::PostgreSQL;
    // Tables hold Utf8; results that come back as views would need a cast to be stored again.
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    config
}

/// A session that reaches the lake's store and knows no table.
pub(crate) fn bare(store: &LakeStore, limits: SessionLimits) -> Result<SessionContext, LakeError> {
    let config = session_config(limits);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(SharedPool::new(limits.memory_bytes)))
        .build_arc()
        .map_err(|e| LakeError::sql("open a session", e))?;
    let url = store_url(store);
    let url = Url::parse(&url).map_err(|e| LakeError::BadUrl {
        url,
        reason: e.to_string(),
    })?;
    runtime.register_object_store(&url, Arc::clone(&store.root));
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

pub(crate) fn open(
    store: &LakeStore,
    view: &LakeView,
    limits: SessionLimits,
) -> Result<SessionContext, LakeError> {
    let context = bare(store, limits)?;
    for spec in TABLES {
        let table = LakeTable::new(
            spec,
            store.clone(),
            view.pins.tables.get(spec.name).copied(),
            view.staged
                .iter()
                .filter(|staged| staged.table == spec.name)
                .cloned()
                .collect(),
            view.runs.clone(),
            // The list of windows is what says which windows are complete.
            view.windows
                .clone()
                .filter(|_| spec.name != "ingest_windows"),
        );
        context
            .register_table(spec.name, Arc::new(table))
            .map_err(|e| LakeError::sql(format!("register the table {}", spec.name), e))?;
    }
    Ok(context)
}

/// Plans one query that can neither define, change nor set anything.
pub async fn read_only_sql(
    context: &SessionContext,
    sql: &str,
    params: impl Into<ParamValues>,
) -> Result<DataFrame, LakeError> {
    let options = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    let error = |e| LakeError::sql("run the query", e);
    let frame = context
        .sql_with_options(sql, options)
        .await
        .map_err(error)?;
    frame.with_param_values(params).map_err(error)
}

/// Registers views in their given order, in which later ones may use earlier ones.
pub async fn register_views<N: AsRef<str>, S: AsRef<str>>(
    context: &SessionContext,
    views: &[(N, S)],
) -> Result<(), LakeError> {
    for (name, sql) in views {
        let (name, sql) = (name.as_ref(), sql.as_ref());
        let error = |e| LakeError::sql(format!("define the view {name}"), e);
        let plan = read_only_plan(context, sql).await.map_err(error)?;
        let view = ViewTable::new(plan, Some(sql.to_owned()));
        context
            .register_table(name, Arc::new(view))
            .map_err(error)?;
    }
    Ok(())
}

async fn read_only_plan(
    context: &SessionContext,
    sql: &str,
) -> datafusion::error::Result<datafusion::logical_expr::LogicalPlan> {
    let plan = context.state().create_logical_plan(sql).await?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)?;
    Ok(plan)
}
