//! Owns upkeep: what keeps a lake small and quick without changing what its readers see. Each step
//! runs under the lease of whom it could disturb, renewed meanwhile, and can be killed anywhere.
//!
//! How files are put together, what may go and what is too old are the business of
//! [`super::compact`], [`super::vacuum`] and [`super::retain`]. Called by `cli`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::compact::Compacted;
use super::error::LakeError;
use super::files::PartitionKey;
use super::lease::{FLEET_LEASE, LEASE_RENEWAL, Lease, source_lease};
use super::retain::{self, Retained, Retention};
use super::vacuum::{self, VacuumOptions, VacuumReport};
use super::{CommitInfo, Lake, compact};

/// Tells the time in milliseconds since the epoch; only the command line has a real one.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Who keeps a lake up, and how long it waits for others.
#[derive(Clone)]
pub struct Keeper<'a> {
    pub lake: &'a Lake,
    pub holder: String,
    /// For each lease.
    pub wait: Duration,
    pub clock: Clock,
    pub code_version: String,
}

impl fmt::Debug for Keeper<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keeper")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// What compaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Days of sources that were rewritten.
    pub days: usize,
    pub total: Compacted,
    /// Sources that another writer held: their turn comes with the next run.
    pub held: BTreeSet<String>,
}

impl Keeper<'_> {
    /// Rewrites every source's day before `before_ms` that lies in more files than it needs. The
    /// rows stay as they are, to the bit. Sources that someone else writes to are left for later.
    pub async fn compact(&self, before_ms: i64) -> Result<CompactReport, LakeError> {
        let store = &self.lake.store;
        let mut by_source: BTreeMap<String, Vec<PartitionKey>> = BTreeMap::new();
        for day in compact::fragmented(store, before_ms).await? {
            by_source.entry(day.second.clone()).or_default().push(day);
        }
        let mut report = CompactReport::default();
        for (source, days) in by_source {
            let info = self.info("compact");
            let work = async |lease: &Lease| {
                let mut done = Vec::new();
                for day in &days {
                    done.push(compact::compact(store, lease, day, &info).await?);
                }
                Ok(done)
            };
            match self.under(&source_lease(&source), work).await {
                Ok(done) => {
                    for day in done {
                        report.days += usize::from(day.files_before > 0);
                        report.total.add(day);
                    }
                }
                Err(LakeError::LeaseHeld { .. }) => {
                    report.held.insert(source);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// Takes days out of tables that are older than is wanted. Raw tables lose theirs in their
    /// newest version, derived ones through a publication of their own. Earlier publications show
    /// what they showed.
    pub async fn retain(&self, wanted: &Retention) -> Result<Retained, LakeError> {
        let store = &self.lake.store;
        let Some(newest_day_ms) = retain::newest_day(store).await? else {
            return Ok(Retained::default());
        };
        let newest_day_ms = newest_day_ms.min((self.clock)());
        let mut report = Retained::default();
        if let Some(cut) = wanted.raw_cut(newest_day_ms) {
            for source in retain::sources_before(store, &cut).await? {
                let info = self.info("retention");
                let work =
                    async |lease: &Lease| retain::raw(store, lease, &source, &cut, &info).await;
                report.raw_files += self.under(&source_lease(&source), work).await?;
            }
        }
        if let Some(cut) = wanted.derived_cut(newest_day_ms)
            && !retain::derived_before(store, &cut).await?.is_empty()
        {
            let now_ms = (self.clock)();
            let work = async |lease: &Lease| {
                retain::derived(self.lake, lease, &cut, now_ms, &self.code_version).await
            };
            report.derived_partitions = self.under(FLEET_LEASE, work).await?;
        }
        Ok(report)
    }

    /// Deletes what no kept publication and no newest version needs, once it is old enough.
    pub async fn vacuum(&self, options: &VacuumOptions) -> Result<VacuumReport, LakeError> {
        let store = &self.lake.store;
        let now_ms = (self.clock)();
        let mut report = VacuumReport::default();
        let gone = vacuum::expired_publications(store, options).await?;
        report.publications = gone.clone();
        if !options.dry_run && !gone.is_empty() {
            let work = async |lease: &Lease| {
                lease.check_held().await?;
                vacuum::delete_publications(store, &gone).await
            };
            self.under(FLEET_LEASE, work).await?;
        }
        let plan = vacuum::plan(store, options, now_ms).await?;
        report.unknown = plan.unknown.clone();
        for (lease_name, candidates) in &plan.by_lease {
            if options.dry_run {
                report.add(candidates);
                continue;
            }
            let work = async |lease: &Lease| vacuum::delete(store, lease, candidates).await;
            match self.under(lease_name, work).await {
                Ok(deleted) => report.add(&deleted),
                Err(LakeError::LeaseHeld { name, .. }) => {
                    report.held.insert(name);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    fn info(&self, purpose: &str) -> CommitInfo {
        CommitInfo {
            now_ms: (self.clock)(),
            code_version: self.code_version.clone(),
            details: BTreeMap::from([("purpose".to_owned(), purpose.to_owned())]),
        }
    }

    /// Works under a lease that is renewed meanwhile and given back at the end, come what may.
    async fn under<T>(
        &self,
        name: &str,
        work: impl AsyncFnOnce(&Lease) -> Result<T, LakeError>,
    ) -> Result<T, LakeError> {
        let lease = self
            .lake
            .acquire_lease(name, &self.holder, (self.clock)(), self.wait)
            .await?;
        let result = {
            let mut work = pin!(work(&lease));
            loop {
                match tokio::time::timeout(LEASE_RENEWAL, work.as_mut()).await {
                    Ok(done) => break done,
                    Err(_) => {
                        if let Err(lost) = lease.renew((self.clock)()).await {
                            break Err(lost);
                        }
                    }
                }
            }
        };
        let released = lease.release((self.clock)()).await;
        let done = result?;
        released?;
        Ok(done)
    }
}
