//! Owns Delta: creating tables, reading the files of a version, and committing changes to them.
//!
//! Every commit is made against the snapshot that its plan was computed from, and nothing else:
//! when another writer was faster the plan is computed again, under a lease that is checked
//! again. The crate's own conflict resolution is not used, as it refuses every replace that runs
//! beside another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake_core::kernel::{
    Action, ArrayType, DataType, DecimalType, PrimitiveType, StructField, Transaction,
};
use deltalake_core::logstore::{
    LogStoreFactory, LogStoreRef, ObjectStoreRef, StorageConfig, default_logstore,
    logstore_factories,
};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use futures::TryStreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::connect::REMOTE_SCHEMES;
use super::error::LakeError;
use super::files::DataFile;
use super::lease::Lease;
use super::schema::{ColumnType, TableSpec};
use super::store::LakeStore;
use super::{CommitInfo, migrate, paths, stats};

/// More conflicts than any number of sources makes by chance.
const MAX_ATTEMPTS: u32 = 60;
/// A store that fails this often is out of order, and not merely slow to answer.
const MAX_STORE_ERRORS: u32 = 3;
/// Versions and the files they name are kept this long, whatever other engines run on the table:
/// publications pin versions.
const RETENTION: &str = "interval 400 days";
const COMMITS_PER_CHECKPOINT: &str = "20";

/// The live files of a version, by path.
pub(crate) type LiveFiles = BTreeMap<String, DataFile>;

/// What a commit adds and removes.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) add: Vec<DataFile>,
    pub(crate) remove: Vec<DataFile>,
    /// The same rows in other files.
    pub(crate) rearranged: bool,
}

impl Change {
    /// From what is live to what should be, within the given part of the table.
    pub(crate) fn between<'a>(
        live: impl Iterator<Item = &'a DataFile>,
        wanted: impl Iterator<Item = &'a DataFile>,
    ) -> Self {
        let live: BTreeMap<&str, &DataFile> = live.map(|f| (f.path.as_str(), f)).collect();
        let wanted: BTreeMap<&str, &DataFile> = wanted.map(|f| (f.path.as_str(), f)).collect();
        let only_in = |one: &BTreeMap<&str, &DataFile>, other: &BTreeMap<&str, &DataFile>| {
            one.iter()
                .filter(|(path, _)| !other.contains_key(*path))
                .map(|(_, file)| (*file).clone())
                .collect()
        };
        Self {
            add: only_in(&wanted, &live),
            remove: only_in(&live, &wanted),
            rearranged: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

/// Commits go through our own store by put-if-absent, whatever its scheme. The crate knows that
/// for `file` and `memory` only, and leaves the rest to packages that bring stores of their own.
#[derive(Debug)]
struct PutIfAbsent;

impl LogStoreFactory for PutIfAbsent {
    fn with_options(
        &self,
        prefixed_store: ObjectStoreRef,
        root_store: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> Result<LogStoreRef, DeltaTableError> {
        Ok(default_logstore(
            prefixed_store,
            root_store,
            location,
            options,
        ))
    }
}

static REMOTE_LOGS: LazyLock<()> = LazyLock::new(|| {
    for scheme in REMOTE_SCHEMES {
        if let Ok(url) = Url::parse(&format!("{scheme}://")) {
            logstore_factories().insert(url, Arc::new(PutIfAbsent));
        }
    }
});

fn builder(store: &LakeStore, table: &str) -> Result<DeltaTableBuilder, LakeError> {
    LazyLock::force(&REMOTE_LOGS);
    let open = |e| LakeError::delta("open", table, e);
    let folder = format!("{}/", paths::table_root(table));
    let url = store
        .url
        .join(&folder)
        .map_err(|e| open(DeltaTableError::Generic(e.to_string())))?;
    Ok(DeltaTableBuilder::from_url(url.clone())
        .map_err(open)?
        .with_storage_backend(store.root.clone(), url))
}

/// The table at a version, or its newest; `None` when nobody has written to it.
pub(crate) async fn open(
    store: &LakeStore,
    table: &str,
    version: Option<i64>,
) -> Result<Option<DeltaTable>, LakeError> {
    let error = |e| LakeError::delta("open", table, e);
    let mut delta = builder(store, table)?.build().map_err(error)?;
    if !delta.verify_deltatable_existence().await.map_err(error)? {
        return Ok(None);
    }
    match version {
        Some(version) => delta.load_version(version as u64).await.map_err(error)?,
        None => delta.load().await.map_err(error)?,
    }
    Ok(Some(delta))
}

pub(crate) fn version_of(delta: &DeltaTable) -> i64 {
    delta.version().unwrap_or_default() as i64
}

/// Reads on to a later version.
pub(crate) async fn advance(
    spec: &TableSpec,
    delta: &mut DeltaTable,
    version: i64,
) -> Result<(), LakeError> {
    delta
        .update_incremental(Some(version as u64))
        .await
        .map_err(|e| LakeError::delta("read", spec.name, e))
}

/// The files that commits took out of the table since then, as its log remembers them.
pub(crate) async fn removed_since(
    spec: &TableSpec,
    delta: &DeltaTable,
    since_ms: i64,
) -> Result<BTreeSet<String>, LakeError> {
    let read = |e| LakeError::delta("read", spec.name, e);
    let log = delta.log_store();
    let mut tombstones = delta.snapshot().map_err(read)?.all_tombstones(log.as_ref());
    let mut removed = BTreeSet::new();
    while let Some(tombstone) = tombstones.try_next().await.map_err(read)? {
        if tombstone
            .deletion_timestamp()
            .is_none_or(|ms| ms > since_ms)
        {
            removed.insert(tombstone.path().into_owned());
        }
    }
    Ok(removed)
}

/// The files of an opened table.
pub(crate) fn live_files(spec: &TableSpec, delta: &DeltaTable) -> Result<LiveFiles, LakeError> {
    let snapshot = delta
        .snapshot()
        .map_err(|e| LakeError::delta("read", spec.name, e))?;
    let data = snapshot
        .snapshot()
        .try_log_data()
        .map_err(|e| LakeError::delta("read", spec.name, e))?;
    let mut files = LiveFiles::new();
    for view in data.iter() {
        let file = DataFile::from_log(spec, &view).ok_or_else(|| LakeError::Corrupt {
            key: format!("{}/{}", paths::table_root(spec.name), view.path()),
            reason: "its log entry lacks partition values or a row count".to_owned(),
        })?;
        files.insert(file.path.clone(), file);
    }
    Ok(files)
}

async fn open_or_create(store: &LakeStore, spec: &TableSpec) -> Result<DeltaTable, LakeError> {
    if let Some(delta) = open(store, spec.name, None).await? {
        return Ok(delta);
    }
    match create(store, spec).await {
        Ok(delta) => Ok(delta),
        // Another writer may have created it in between; if not, the error stands.
        Err(error) => open(store, spec.name, None).await?.ok_or(error),
    }
}

async fn create(store: &LakeStore, spec: &TableSpec) -> Result<DeltaTable, LakeError> {
    let log_store = builder(store, spec.name)?
        .build_storage()
        .map_err(|e| LakeError::delta("create", spec.name, e))?;
    let partitions = spec.partition_columns();
    let columns = partitions.iter().chain(spec.columns).map(|column| {
        StructField::new(column.name, delta_type(column.column_type), column.nullable)
    });
    let configuration = [
        (
            "delta.dataSkippingStatsColumns",
            stats::columns(spec).join(","),
        ),
        ("delta.logRetentionDuration", RETENTION.to_owned()),
        ("delta.deletedFileRetentionDuration", RETENTION.to_owned()),
        (
            "delta.checkpointInterval",
            COMMITS_PER_CHECKPOINT.to_owned(),
        ),
        ("delta.enableExpiredLogCleanup", "false".to_owned()),
    ];
    CreateBuilder::new()
        .with_log_store(log_store)
        .with_table_name(spec.name)
        .with_columns(columns)
        .with_partition_columns(partitions.iter().map(|column| column.name))
        .with_configuration(configuration.map(|(key, value)| (key, Some(value))))
        .with_save_mode(SaveMode::ErrorIfExists)
        .with_commit_properties(
            CommitProperties::default()
                .with_max_retries(0)
                .with_cleanup_expired_logs(Some(false)),
        )
        .await
        .map_err(|e| LakeError::delta("create", spec.name, e))
}

pub(crate) fn delta_type(column: ColumnType) -> DataType {
    DataType::Primitive(match column {
        ColumnType::Text => PrimitiveType::String,
        ColumnType::Int => PrimitiveType::Long,
        ColumnType::Float => PrimitiveType::Double,
        ColumnType::Bool => PrimitiveType::Boolean,
        ColumnType::Timestamp => PrimitiveType::Timestamp,
        ColumnType::Date => PrimitiveType::Date,
        // 38 digits, 6 of them after the point: always a valid pair.
        ColumnType::Usd => match DecimalType::try_new(38, 6) {
            Ok(decimal) => PrimitiveType::Decimal(decimal),
            Err(_) => PrimitiveType::String,
        },
        ColumnType::FloatList => {
            let element = DataType::Primitive(PrimitiveType::Double);
            return DataType::Array(Box::new(ArrayType::new(element, true)));
        }
    })
}

/// Commits what `plan` makes of the live files, as one version; nothing when nothing changes.
///
/// `plan` runs again on the new files whenever another writer committed in between.
pub(crate) async fn commit<F>(
    store: &LakeStore,
    spec: &TableSpec,
    lease: &Lease,
    info: &CommitInfo,
    plan: F,
) -> Result<i64, LakeError>
where
    F: Fn(&LiveFiles) -> Result<Change, LakeError>,
{
    let app_id = format!("{}/{}", spec.name, lease.name());
    let mut store_errors = 0;
    for attempt in 0..MAX_ATTEMPTS {
        let delta = open_or_create(store, spec).await?;
        migrate::check_writable(spec, &delta)?;
        let change = plan(&live_files(spec, &delta)?)?;
        if change.is_empty() {
            return Ok(version_of(&delta));
        }
        check_lease(spec, &delta, &app_id, lease).await?;
        match try_commit(spec, &delta, &app_id, lease, info, &change).await {
            Ok(version) => return Ok(version),
            Err(e) if is_conflict(&e) && store_errors < MAX_STORE_ERRORS => {
                store_errors += u32::from(is_store_error(&e));
                store.conflicts.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(table = spec.name, attempt, cause = %e, "commit conflict");
                tokio::time::sleep(pause(&app_id, attempt)).await;
            }
            Err(e) => return Err(LakeError::delta("commit to", spec.name, e)),
        }
    }
    Err(LakeError::Contended {
        table: spec.name.to_owned(),
        attempts: MAX_ATTEMPTS,
    })
}

/// The holder's word is checked against the lease, and the lease's number against the table:
/// Delta itself accepts a lower application version.
async fn check_lease(
    spec: &TableSpec,
    delta: &DeltaTable,
    app_id: &str,
    lease: &Lease,
) -> Result<(), LakeError> {
    let read = |e| LakeError::delta("read", spec.name, e);
    let committed = delta
        .snapshot()
        .map_err(read)?
        .transaction_version(delta.log_store().as_ref(), app_id)
        .await
        .map_err(read)?;
    if committed.is_some_and(|version| version > lease.number() as i64) {
        return Err(lease.lost());
    }
    lease.check_held().await
}

async fn try_commit(
    spec: &TableSpec,
    delta: &DeltaTable,
    app_id: &str,
    lease: &Lease,
    info: &CommitInfo,
    change: &Change,
) -> Result<i64, DeltaTableError> {
    let removes = change
        .remove
        .iter()
        .map(|file| Action::Remove(file.remove(spec, info.now_ms, !change.rearranged)));
    let adds = change
        .add
        .iter()
        .map(|file| Action::Add(file.add(spec, info.now_ms, !change.rearranged)));
    let mut metadata: Vec<(String, Value)> = info
        .details
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    metadata.push(("codeVersion".to_owned(), json!(info.code_version)));
    let properties = CommitProperties::default()
        // Conflicts are resolved by computing the plan again, never by the crate.
        .with_max_retries(0)
        .with_cleanup_expired_logs(Some(false))
        .with_metadata(metadata)
        .with_application_transaction(Transaction::new_with_last_update(
            app_id,
            lease.number() as i64,
            Some(info.now_ms),
        ));
    let operation = DeltaOperation::Write {
        mode: SaveMode::Append,
        partition_by: Some(
            spec.partition_columns()
                .iter()
                .map(|column| column.name.to_owned())
                .collect(),
        ),
        predicate: None,
    };
    let finalized = CommitBuilder::from(properties)
        .with_actions(removes.chain(adds).collect())
        .build(Some(delta.snapshot()?), delta.log_store(), operation)
        .await?;
    Ok(finalized.version() as i64)
}

/// A store's error counts too: the answer may be lost and the commit made, which the next look at
/// the log shows.
pub(crate) fn is_conflict(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::VersionAlreadyExists(_) => true,
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::VersionAlreadyExists(_)
                | TransactionError::CommitConflict(_)
                | TransactionError::MaxCommitAttempts(_)
                | TransactionError::ObjectStore { .. }
        ),
        other => is_store_error(other),
    }
}

fn is_store_error(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::ObjectStore { .. }
            | DeltaTableError::Transaction {
                source: TransactionError::ObjectStore { .. }
            }
    )
}

/// Rivals differ in their application id, so a digest of it spreads them without a random source.
fn pause(app_id: &str, attempt: u32) -> Duration {
    let digest = Sha256::digest(format!("{app_id}/{attempt}"));
    let spread = u64::from(u16::from_be_bytes([digest[0], digest[1]]));
    let limit_ms = u64::from(attempt.min(10) + 1) * 25;
    Duration::from_millis(5 + spread % limit_ms)
}
