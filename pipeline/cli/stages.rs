//! Owns the middle of a run: inventory, rollups and the ledger, rebuilt on what is pinned and staged
//! for publication. Nothing here is visible to any reader.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use super::error::CliError;
use super::say;
use crate::catalogue;
use crate::config::{ClusterSection, Config, UpstreamSection};
use crate::detect::QuerySet;
use crate::detect::derive::{Chain, DayRequest, derive_days};
use crate::inventory::batches::batches;
use crate::inventory::input::{FloorRule, Inputs, TeamRule, Upstream};
use crate::inventory::{self, Embedded};
use crate::lake::columns::{int, text};
use crate::lake::{
    CompleteWindows, Lake, LakeError, LakeView, Lease, PartitionKey, Pins, Publication, Staged,
    read_only_sql,
};
use crate::model::TimeWindow;
use crate::model::time::{DAY_MS, date_of};

/// What a run works on: raw tables at pinned versions, the publication before it, and what it has
/// staged so far.
pub(super) struct Workspace<'a> {
    pub lake: &'a Lake,
    pub config: &'a Config,
    pub lease: &'a Lease,
    pub raw: Pins,
    pub base: Option<Publication>,
    pub windows: CompleteWindows,
    pub staged: Vec<Staged>,
    /// Of derived partitions and of all that the run rests on, for its publication.
    pub digests: BTreeMap<String, String>,
    /// By cluster: the closed days of the last publication whose rows are others now.
    pub restated: BTreeMap<String, Vec<String>>,
    pub now_ms: i64,
}

impl<'a> Workspace<'a> {
    pub(super) async fn new(
        lake: &'a Lake,
        config: &'a Config,
        lease: &'a Lease,
        now_ms: i64,
    ) -> Result<Self, CliError> {
        let base = lake.publication(None).await?;
        let raw = lake.head().await?;
        let windows = lake.complete_windows(&raw).await?;
        Ok(Self {
            lake,
            config,
            lease,
            raw,
            base,
            windows,
            staged: Vec::new(),
            digests: BTreeMap::new(),
            restated: BTreeMap::new(),
            now_ms,
        })
    }

    /// A session over everything that the run sees now.
    pub(super) async fn session(&self) -> Result<SessionContext, CliError> {
        Ok(self.lake.read_session(&self.view()).await?)
    }

    fn view(&self) -> LakeView {
        LakeView::for_run(&self.raw, self.base.as_ref())
            .with_windows(self.windows.clone())
            .with_staged(self.staged.clone())
    }

    pub(super) async fn stage(
        &mut self,
        table: &str,
        partition: &PartitionKey,
        batches: Vec<datafusion::arrow::array::RecordBatch>,
    ) -> Result<(), CliError> {
        let staged = self.lake.stage(table, partition, batches).await?;
        self.staged.push(staged);
        Ok(())
    }

    /// The last moment that each cluster's sources hold, from the lake itself.
    pub(super) async fn data_ends(&self) -> Result<BTreeMap<String, i64>, CliError> {
        let session = self.session().await?;
        let params = vec![("from_date", ScalarValue::from("1970-01-01"))];
        let sql = include_str!("../../queries/inventory/data_end.sql");
        let rows = read_only_sql(&session, sql, params)
            .await?
            .collect()
            .await
            .map_err(|cause| LakeError::sql("find the end of the data", cause))?;
        let mut ends = BTreeMap::new();
        for batch in &rows {
            let (cluster, last) = (text(batch, "cluster")?, int(batch, "last_ms")?);
            for row in 0..batch.num_rows() {
                ends.insert(cluster.value(row).to_owned(), last.value(row));
            }
        }
        Ok(ends)
    }

    /// Folds each cluster's evidence into inventory tables over the days of the span.
    pub(super) async fn inventory(
        &mut self,
        span: TimeWindow,
        ends: &BTreeMap<String, i64>,
    ) -> Result<(), CliError> {
        let session = self.session().await?;
        for cluster in &self.config.file.clusters {
            if !ends.contains_key(&cluster.name) {
                continue;
            }
            let inputs = evidence(self.config, cluster, &session, span).await?;
            let folded = inventory::fold(&inputs, &Embedded);
            for (day_ms, day) in folded.clip_to_days(span) {
                let partition = PartitionKey::new(date_of(day_ms), cluster.name.clone());
                for (table, batch) in batches(&day)? {
                    self.stage(table, &partition, vec![batch]).await?;
                }
            }
            self.lease.renew(super::now_ms()).await?;
        }
        Ok(())
    }

    /// Rebuilds rollups and the ledger of every day whose content changed.
    pub(super) async fn derive(
        &mut self,
        queries: &Arc<QuerySet>,
        span: TimeWindow,
        ends: &BTreeMap<String, i64>,
    ) -> Result<(), CliError> {
        let session = self.session().await?;
        let catalogue_digest = catalogue::digest();
        let at_once = std::thread::available_parallelism().map_or(1, NonZero::get);
        for cluster in &self.config.file.clusters {
            let Some(data_end_ms) = ends.get(&cluster.name).copied() else {
                continue;
            };
            let (mut rebuilt, mut kept) = (0, 0);
            let published = self.published_files(queries, &cluster.name).await?;
            let mut restated: Vec<String> = Vec::new();
            let days: Vec<TimeWindow> = span.days().collect();
            for chunk in days.chunks(at_once) {
                let name = cluster.name.clone();
                let key = move |day: &TimeWindow| format!("derive/{name}/{}", day.date());
                let previous = |day: &TimeWindow| {
                    self.base
                        .as_ref()
                        .and_then(|base| base.digests.get(&key(day)))
                        .cloned()
                };
                let asked: Vec<(TimeWindow, Option<String>)> =
                    chunk.iter().map(|day| (*day, previous(day))).collect();
                let request = DayRequest {
                    cluster: &cluster.name,
                    day: chunk[0],
                    data_end_ms,
                    catalogue_digest: &catalogue_digest,
                };
                let results = derive_days(&session, queries, &request, asked.clone()).await?;
                for ((day, previous), derived) in asked.into_iter().zip(results) {
                    let digest = match derived {
                        None => {
                            kept += 1;
                            previous.unwrap_or_default()
                        }
                        Some(derived) => {
                            rebuilt += 1;
                            let partition = PartitionKey::new(day.date(), cluster.name.clone());
                            let before = self.staged.len();
                            for (table, batches) in derived.tables {
                                self.stage(table, &partition, batches).await?;
                            }
                            let files = self.staged.iter().skip(before).flat_map(files_of);
                            let known = published.get(&day.date());
                            if known.is_some_and(|known| *known != files.collect()) {
                                restated.push(day.date());
                            }
                            derived.digest
                        }
                    };
                    self.digests.insert(key(&day), digest);
                }
                self.lease.renew(super::now_ms()).await?;
            }
            say(&format!(
                "{}: {rebuilt} days rebuilt, {kept} unchanged",
                cluster.name
            ));
            if !restated.is_empty() {
                say(&format!(
                    "{}: restated {} that the last publication had otherwise: {}",
                    cluster.name,
                    if restated.len() == 1 { "a day" } else { "days" },
                    restated.join(", ")
                ));
                self.restated.insert(cluster.name.clone(), restated);
            }
        }
        Ok(())
    }

    /// By day, what the last publication has of the derived rows of a cluster: files are named by
    /// what they hold. Days that were not closed then are not among them, since they could only
    /// change.
    async fn published_files(
        &self,
        queries: &QuerySet,
        cluster: &str,
    ) -> Result<BTreeMap<String, BTreeSet<(String, String)>>, CliError> {
        let mut days: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
        let Some(base) = &self.base else {
            return Ok(days);
        };
        let closed = base.window().days();
        let closed = closed.filter(|day| {
            let key = format!("derive/{cluster}/{}", day.date());
            base.digests.contains_key(&key)
        });
        days.extend(closed.map(|day| (day.date(), BTreeSet::new())));
        for spec in Chain::new(queries).outputs() {
            let table = spec.name;
            let Some(version) = base.tables.get(table) else {
                continue;
            };
            for file in self.lake.files(table, *version).await? {
                let day = days.get_mut(&file.partition.first);
                if let Some(day) = day.filter(|_| file.partition.second == cluster) {
                    day.insert((table.to_owned(), file.path));
                }
            }
        }
        Ok(days)
    }
}

fn files_of(staged: &Staged) -> impl Iterator<Item = (String, String)> {
    let files = staged.files.iter();
    files.map(|file| (staged.table.clone(), file.path.clone()))
}

/// What the fold of one cluster over a span rests on: the lake's evidence and the configuration's rules.
pub(super) async fn evidence(
    config: &Config,
    cluster: &ClusterSection,
    session: &SessionContext,
    span: TimeWindow,
) -> Result<Inputs, CliError> {
    let mut inputs = Inputs::empty(&cluster.name, span);
    inputs.provider.clone_from(&cluster.provider);
    inputs.region.clone_from(&cluster.region);
    if cluster.min_replicas > 1 {
        inputs.floors.push(FloorRule {
            min_replicas: i64::from(cluster.min_replicas),
            ..FloorRule::default()
        });
    }
    let order = &config.file.team.order;
    if !order.is_empty() {
        inputs.team_order = order.iter().filter_map(|w| TeamRule::parse(w)).collect();
    }
    let own = config.file.upstreams.iter();
    inputs.upstreams = own
        .filter(|section| section.cluster == cluster.name)
        .filter_map(UpstreamSection::ends)
        .map(|[caller, serves]| Upstream { caller, serves })
        .collect();
    // What held at the span's start began before it.
    let around = TimeWindow::new(span.start_ms - DAY_MS, span.end_ms);
    Ok(inventory::read(session, inputs, around).await?)
}

#[cfg(test)]
mod tests;
