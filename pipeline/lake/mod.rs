//! Owns the lake: object keys, Parquet, Delta commits, leases, publications, evidence, and the
//! read-only SQL session over them.
//!
//! It does not know where rows come from or what a detector is. `ingest` replaces windows of raw
//! tables; `detect` stages derived partitions, reads them through a session and publishes; `cli`
//! opens, checks and queries. This is the only room that names an object store, Parquet or Delta.
//!
//! Raw tables change by whole windows under their source's lease; derived and run tables change
//! only in [`Lake::publish`], under the fleet's.

pub mod bucket;
mod check;
pub mod columns;
mod commit;
mod compact;
mod connect;
mod decimals;
mod encoding;
mod error;
mod evidence;
mod files;
mod foreign;
mod info;
mod kept;
mod lease;
mod memory;
mod migrate;
mod order;
mod paths;
mod provider;
mod pruning;
mod publication;
mod retain;
pub mod schema;
mod session;
mod stats;
mod store;
mod upkeep;
mod vacuum;
mod writer;

#[cfg(test)]
mod test_rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::object_store::ObjectStore;
use datafusion::prelude::SessionContext;
use futures::future::try_join_all;

use crate::model::TimeWindow;
use crate::model::time::{date_of, parse_ms};

pub use check::{CheckReport, Fault};
pub use compact::Compacted;
pub use connect::StoreOptions;
pub use error::LakeError;
pub use files::{DataFile, PartitionKey, Staged};
pub use foreign::{ForeignRows, foreign_rows, is_parquet, parquet_bytes};
pub use info::{LakeInfo, TableInfo};
pub use kept::keep;
pub use lease::{FLEET_LEASE, LEASE_EXPIRY, LEASE_RENEWAL, Lease, LeaseInfo, source_lease};
pub use publication::{Publication, PublicationDetails};
pub use retain::{Retained, Retention};
pub use session::{
    CompleteWindows, LakeView, Pins, SessionLimits, read_only_sql, register_views, session_config,
};
pub use upkeep::{Clock, CompactReport, Keeper};
pub use vacuum::{VacuumOptions, VacuumReport};
pub use writer::conform;

use commit::Change;
use schema::{TableKind, TableSpec};
use store::LakeStore;

/// The table that lists complete windows.
const WINDOWS: &str = "ingest_windows";
/// Looks at all tables before one gives up to find the list of windows at rest.
const MAX_LOOKS: u32 = 40;

/// What a commit's log entry says of its making.
#[derive(Debug, Clone, Default)]
pub struct CommitInfo {
    pub now_ms: i64,
    pub code_version: String,
    /// Selector digest and the like, into the Delta log as they are.
    pub details: BTreeMap<String, String>,
}

/// An opened lake. Clones share the store.
#[derive(Debug, Clone)]
pub struct Lake {
    store: LakeStore,
}

impl Lake {
    /// Opens the lake at a path or URL, making it when there is none. Refuses a store without
    /// put-if-absent.
    pub async fn open(url: &str) -> Result<Self, LakeError> {
        Self::open_with(url, &StoreOptions::default()).await
    }

    /// [`Self::open`] with options for the store.
    pub async fn open_with(url: &str, options: &StoreOptions) -> Result<Self, LakeError> {
        let store = LakeStore::connect(url, options)?;
        store.probe().await?;
        Ok(Self { store })
    }

    /// Opens a lake that must exist, without writing to its store.
    pub async fn open_existing(url: &str) -> Result<Self, LakeError> {
        Self::open_existing_with(url, &StoreOptions::default()).await
    }

    /// [`Self::open_existing`] with options for the store.
    pub async fn open_existing_with(url: &str, options: &StoreOptions) -> Result<Self, LakeError> {
        let store = LakeStore::connect(url, options)?;
        store.read_format().await?;
        Ok(Self { store })
    }

    /// [`Self::open`] on a store that the caller brings: tests put their own between.
    pub async fn open_on(root: Arc<dyn ObjectStore>, url: &str) -> Result<Self, LakeError> {
        let store = LakeStore::on(root, url)?;
        store.probe().await?;
        Ok(Self { store })
    }

    /// [`Self::open_existing`] on a store that the caller brings.
    pub async fn open_existing_on(
        root: Arc<dyn ObjectStore>,
        url: &str,
    ) -> Result<Self, LakeError> {
        let store = LakeStore::on(root, url)?;
        store.read_format().await?;
        Ok(Self { store })
    }

    /// Where the audit log lies.
    #[must_use]
    pub fn audit_log(&self) -> bucket::Bucket {
        bucket::Bucket::within(&self.store, paths::AUDIT_LOG)
    }

    /// Proves that the store has put-if-absent, for whoever is to write to an existing lake.
    pub async fn prove_writable(&self) -> Result<(), LakeError> {
        self.store.probe().await
    }

    /// Adds the columns that tables of an older version lack, under the fleet's lease, which is only
    /// taken where there is something to add; says which. A lake that cannot be brought up to date
    /// is refused, and unchanged. To be called before a lake is written to.
    pub async fn migrate(
        &self,
        holder: &str,
        now_ms: i64,
        wait: Duration,
    ) -> Result<Vec<String>, LakeError> {
        if migrate::lacking(&self.store).await?.is_empty() {
            return Ok(Vec::new());
        }
        let lease = self
            .acquire_lease(FLEET_LEASE, holder, now_ms, wait)
            .await?;
        let work = async {
            let mut added = Vec::new();
            for (spec, columns) in migrate::lacking(&self.store).await? {
                migrate::add_columns(&self.store, spec, &lease).await?;
                added.extend(columns.iter().map(|name| format!("{}.{name}", spec.name)));
            }
            Ok(added)
        };
        let done = work.await;
        let released = lease.release(now_ms).await;
        let added = done?;
        released?;
        Ok(added)
    }

    /// How many commits by this lake and its clones met another writer's and were made again.
    #[must_use]
    pub fn commits_repeated(&self) -> u64 {
        self.store.conflicts.load(Ordering::Relaxed)
    }

    /// The lake's folder as a URL ending in `/`.
    pub fn url(&self) -> &str {
        self.store.url.as_str()
    }

    /// Takes a lease ([`FLEET_LEASE`] or [`source_lease`]), waiting at most `wait` for it; then
    /// [`LakeError::LeaseHeld`]. The holder renews it every [`LEASE_RENEWAL`].
    pub async fn acquire_lease(
        &self,
        name: &str,
        holder: &str,
        now_ms: i64,
        wait: Duration,
    ) -> Result<Lease, LakeError> {
        lease::acquire(&self.store, name, holder, now_ms, wait).await
    }

    /// Replaces one window of one source in a raw table, as one commit; equal rows commit
    /// nothing. Batches have the file schema, rows in any order. The window lies in one UTC day,
    /// and replaces every window that it contains. Returns the table's version.
    ///
    /// `ingest_windows` is to be written last, and emptied for the window before its other tables
    /// are replaced: a window counts as complete only while it is listed there.
    pub async fn replace_window(
        &self,
        lease: &Lease,
        table: &str,
        source: &str,
        window: TimeWindow,
        batches: Vec<RecordBatch>,
        info: CommitInfo,
    ) -> Result<i64, LakeError> {
        let spec = spec_of(table)?;
        let misfit = |reason: String| LakeError::Rows {
            table: table.to_owned(),
            reason,
        };
        if spec.kind != TableKind::Raw {
            return Err(misfit("only raw tables are written by windows".to_owned()));
        }
        if window.is_empty() || !TimeWindow::day_of(window.start_ms).contains(window.end_ms - 1) {
            return Err(misfit(format!(
                "the window {} is not part of one UTC day",
                window.key()
            )));
        }
        let needed = source_lease(source);
        if lease.name() != needed {
            return Err(LakeError::WrongLease {
                held: lease.name().to_owned(),
                needed,
            });
        }
        let key = PartitionKey::new(window.date(), source);
        let files = self.write_files(spec, &key, Some(window), &batches).await?;
        drop(batches);
        if files.is_empty() && commit::open(&self.store, table, None).await?.is_none() {
            return Ok(0);
        }
        let crosses = AtomicBool::new(false);
        let plan = |live: &commit::LiveFiles| {
            crosses.store(false, Ordering::Relaxed);
            let mut replaced = Vec::new();
            for file in live.values().filter(|file| file.partition == key) {
                let other = file.window().unwrap_or(window);
                match other.intersect(&window) {
                    None => {}
                    Some(both) if both == other => replaced.push(file),
                    Some(_) if file.is_compacted() => {
                        crosses.store(true, Ordering::Relaxed);
                        return Ok(Change::default());
                    }
                    Some(_) => {
                        return Err(LakeError::WindowOverlap {
                            table: table.to_owned(),
                            source_name: source.to_owned(),
                            window: window.key(),
                            existing: other.key(),
                        });
                    }
                }
            }
            Ok(Change::between(replaced.into_iter(), files.iter()))
        };
        let version = commit::commit(&self.store, spec, lease, &info, &plan).await?;
        if !crosses.load(Ordering::Relaxed) {
            return Ok(version);
        }
        // The window lies in a file with others: its day is taken apart first.
        compact::split(&self.store, lease, &key, &info).await?;
        commit::commit(&self.store, spec, lease, &info, &plan).await
    }

    /// The newest publication, or the given one; `None` when nothing was published yet.
    pub async fn publication(&self, as_of: Option<u64>) -> Result<Option<Publication>, LakeError> {
        publication::read(&self.store, as_of).await
    }

    /// The newest version of every table that exists. The windows that these versions list are
    /// whole in all of them: a window leaves the list before its rows are replaced and comes back
    /// after, so nothing was amiss with those that the list held all the while.
    pub async fn head(&self) -> Result<Pins, LakeError> {
        for _ in 0..MAX_LOOKS {
            let list = self.list_of_windows().await?;
            let versions = schema::TABLES
                .iter()
                .map(async |spec| Ok::<_, LakeError>((spec.name, self.version(spec.name).await?)));
            let mut pins = Pins::default();
            for (table, version) in try_join_all(versions).await? {
                pins.tables.extend(version.map(|v| (table.to_owned(), v)));
            }
            // What came to the list meanwhile is not in it yet; what left it spoils the look.
            let Some((version, files)) = list else {
                pins.tables.remove(WINDOWS);
                return Ok(pins);
            };
            let now = self.list_of_windows().await?.unwrap_or_default().1;
            if files.is_subset(&now) {
                pins.tables.insert(WINDOWS.to_owned(), version);
                return Ok(pins);
            }
        }
        Err(LakeError::Unsteady {
            attempts: MAX_LOOKS,
        })
    }

    /// The newest version of one table, for whoever reads no other.
    pub async fn head_of(&self, table: &str) -> Result<Pins, LakeError> {
        let version = self.version(table).await?;
        Ok(Pins {
            tables: version.map(|v| (table.to_owned(), v)).into_iter().collect(),
        })
    }

    async fn version(&self, table: &str) -> Result<Option<i64>, LakeError> {
        let delta = commit::open(&self.store, table, None).await?;
        Ok(delta.as_ref().map(commit::version_of))
    }

    async fn list_of_windows(&self) -> Result<Option<(i64, BTreeSet<String>)>, LakeError> {
        let Some(delta) = commit::open(&self.store, WINDOWS, None).await? else {
            return Ok(None);
        };
        let files = commit::live_files(spec_of(WINDOWS)?, &delta)?;
        Ok(Some((
            commit::version_of(&delta),
            files.into_keys().collect(),
        )))
    }

    /// What the lake holds, table by table.
    pub async fn info(&self) -> Result<LakeInfo, LakeError> {
        info::info(&self.store).await
    }

    /// Writes rows of a derived or run table that no reader sees before they are published. No
    /// rows stage an empty partition. Batches may be SQL results: see [`conform`].
    pub async fn stage(
        &self,
        table: &str,
        partition: &PartitionKey,
        batches: Vec<RecordBatch>,
    ) -> Result<Staged, LakeError> {
        let spec = spec_of(table)?;
        if spec.kind == TableKind::Raw {
            return Err(LakeError::Rows {
                table: table.to_owned(),
                reason: "raw tables are written by windows and not staged".to_owned(),
            });
        }
        let is_date = || parse_ms(&partition.first).map(date_of).as_ref() == Some(&partition.first);
        if spec.kind == TableKind::Derived && !is_date() {
            return Err(LakeError::Rows {
                table: table.to_owned(),
                reason: format!("{:?} is not a date like 2026-11-01", partition.first),
            });
        }
        let files = self.write_files(spec, partition, None, &batches).await?;
        Ok(Staged {
            table: table.to_owned(),
            partition: partition.clone(),
            files,
        })
    }

    /// A read-only session: every table by its bare name, as the view shows it.
    pub async fn read_session(&self, view: &LakeView) -> Result<SessionContext, LakeError> {
        self.read_session_within(view, SessionLimits::default())
            .await
    }

    /// [`Self::read_session`] with memory and parallelism of its own.
    #[expect(
        clippy::unused_async,
        reason = "no caller should change when a session comes to read the log"
    )]
    pub async fn read_session_within(
        &self,
        view: &LakeView,
        limits: SessionLimits,
    ) -> Result<SessionContext, LakeError> {
        session::open(&self.store, view, limits)
    }

    /// The windows that `ingest_windows` lists at the pinned version, by source.
    pub async fn complete_windows(&self, pins: &Pins) -> Result<CompleteWindows, LakeError> {
        let session = self.read_session(&LakeView::pinned(pins.clone())).await?;
        let sql = include_str!("../../queries/lake/complete_windows.sql");
        let no_params: Vec<datafusion::common::ScalarValue> = Vec::new();
        let batches = read_only_sql(&session, sql, no_params)
            .await?
            .collect()
            .await
            .map_err(|e| LakeError::sql("read ingest_windows", e))?;
        let mut windows = CompleteWindows::new();
        for batch in &batches {
            let sources = batch.column(0).as_string::<i32>();
            let starts = batch.column(1).as_primitive::<TimestampMicrosecondType>();
            let ends = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            for row in 0..batch.num_rows() {
                let window = TimeWindow::new(
                    starts.value(row).div_euclid(1000),
                    ends.value(row).div_euclid(1000),
                );
                windows.insert((sources.value(row).to_owned(), window));
            }
        }
        Ok(windows)
    }

    /// Makes a run visible: the derived tables become what `base` published with the staged
    /// partitions replaced, the run tables gain the staged rows, and publication `base + 1` pins
    /// them beside the raw versions that the run read. Readers see all of it or nothing.
    pub async fn publish(
        &self,
        lease: &Lease,
        base: Option<&Publication>,
        pins_raw: &Pins,
        staged: Vec<Staged>,
        details: PublicationDetails,
    ) -> Result<Publication, LakeError> {
        publication::check_base(&self.store, lease, base).await?;
        let pins =
            publication::commit_tables(&self.store, lease, base, pins_raw, &staged, &details)
                .await?;
        lease.check_held().await?;
        publication::put(&self.store, base, pins, details).await
    }

    /// Keeps a copy of bytes under their digest.
    pub async fn put_evidence(&self, bytes: &[u8]) -> Result<String, LakeError> {
        evidence::put(&self.store, bytes).await
    }

    /// The bytes of that digest, checked against it.
    pub async fn get_evidence(&self, sha256: &str) -> Result<Bytes, LakeError> {
        evidence::get(&self.store, sha256).await
    }

    /// Reads every file that readers could see and finds what is not as it was written.
    pub async fn check(&self) -> Result<CheckReport, LakeError> {
        check::check(&self.store).await
    }

    /// The live files of a table at a version, in the order of their paths.
    pub async fn files(&self, table: &str, version: i64) -> Result<Vec<DataFile>, LakeError> {
        let spec = spec_of(table)?;
        Ok(
            match commit::open(&self.store, table, Some(version)).await? {
                Some(delta) => commit::live_files(spec, &delta)?.into_values().collect(),
                None => Vec::new(),
            },
        )
    }

    async fn write_files(
        &self,
        spec: &'static TableSpec,
        partition: &PartitionKey,
        window: Option<TimeWindow>,
        batches: &[RecordBatch],
    ) -> Result<Vec<DataFile>, LakeError> {
        let path = |content: &str| paths::data_file(spec, partition, window, content);
        compact::write(&self.store, spec, partition, batches, path).await
    }
}

pub(crate) fn spec_of(table: &str) -> Result<&'static TableSpec, LakeError> {
    schema::table(table).ok_or_else(|| LakeError::UnknownTable {
        table: table.to_owned(),
    })
}
