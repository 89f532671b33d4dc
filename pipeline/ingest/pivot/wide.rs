//! Owns the wide rows: series with one key become one entity, whose columns are then written
//! timestamp by timestamp.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::conversion::Conversion;
use super::histogram::{HistogramColumn, Point};
use super::intake::{Intake, WideSeries};
use super::times::{self, Times, align};
use super::{first, gpu};
use crate::ingest::aliases::{Aliases, Combine, Exporter, HistogramColumns, Part, WideKind};
use crate::ingest::prometheus::Labels;
use crate::ingest::rows::{Block, Cell, Lists, RowError, TableRows};
use crate::lake::schema::{ColumnType, TableSpec};

/// What tells the series of one entity and column apart, ranks left out.
pub(super) type Residual = String;

type Key = Vec<Option<String>>;

/// One row-giving thing of one target: its members index into the intake's wide series.
struct Entity {
    key: Key,
    target: usize,
    members: Vec<usize>,
    samples: usize,
}

/// The text columns that make an entity's key, in the order of [`key_of`].
const fn key_columns(kind: WideKind) -> &'static [&'static str] {
    match kind {
        WideKind::Gpu => &["node", "gpu", "uuid", "mig_instance"],
        WideKind::Serving => &[
            "namespace",
            "pod",
            "container",
            "engine",
            "engine_index",
            "model_name",
        ],
        WideKind::Container => &["namespace", "pod", "container"],
        WideKind::Scaler => &["namespace", "scaler_kind", "scaler_name"],
    }
}

/// Positions in a serving key.
const ENGINE: usize = 3;
const ENGINE_INDEX: usize = 4;
const MODEL_NAME: usize = 5;

fn key_of(aliases: &Aliases, exporter: &Exporter, labels: &Labels) -> Option<Key> {
    let optional = |names: &[String]| first(labels, names).map(str::to_owned);
    let or_empty = |names: &[String]| Some(optional(names).unwrap_or_default());
    match exporter.kind {
        WideKind::Gpu => gpu::key(labels, &aliases.gpu),
        WideKind::Serving => {
            let names = &aliases.serving;
            Some(vec![
                or_empty(&names.namespace),
                or_empty(&names.pod),
                optional(&names.container),
                Some(exporter.name.clone()),
                optional(&names.engine_index),
                optional(&names.model_name),
            ])
        }
        WideKind::Container => {
            let names = &aliases.container;
            let container = optional(&names.container)?;
            Some(vec![
                or_empty(&names.namespace),
                Some(optional(&names.pod)?),
                Some(container),
            ])
        }
        WideKind::Scaler => {
            let namespace = match exporter.namespace.as_slice() {
                [] => or_empty(&aliases.scaler.namespace),
                own => or_empty(own),
            };
            let name = optional(&exporter.scaler_name)?;
            Some(vec![
                namespace,
                Some(exporter.scaler_kind.clone()),
                Some(name),
            ])
        }
    }
}

/// A text column beside the key; where series disagree, the first in order of text names it.
fn attribute<'l>(aliases: &Aliases, column: &str, labels: &'l Labels) -> Option<&'l str> {
    match column {
        "mig_profile" => first(labels, &aliases.gpu.mig_profile),
        "model_name" => first(labels, &aliases.gpu.model_name),
        "node" => first(labels, &aliases.container.node),
        _ => None,
    }
}

/// Writes all rows of one wide table.
pub(super) fn write(
    kind: WideKind,
    spec: &'static TableSpec,
    aliases: &Aliases,
    cluster: &str,
    intake: &mut Intake<'_>,
    rows: &mut TableRows,
) -> Result<(), RowError> {
    let entities = entities(kind, aliases, intake);
    let intervals = intervals(aliases, intake, kind);
    for entity in &entities {
        let members: Vec<&WideSeries<'_>> = entity
            .members
            .iter()
            .map(|index| &intake.wide[*index])
            .collect();
        let columns = Columns::build(kind, aliases, &members);
        let interval = intervals.get(&entity.target).copied();
        let target = intake.targets[entity.target].name();
        let fixed = fixed_cells(
            kind, spec, aliases, cluster, &target, entity, &members, interval,
        );
        let rejected = columns.rejected;
        columns.write(aliases, kind, fixed, spec, rows)?;
        intake.stats.values_rejected += rejected;
        // They stand in rows now: both at once would not fit in memory.
        for index in &entity.members {
            intake.wide[*index].values = Arc::from([]);
        }
    }
    Ok(())
}

/// The cells that all rows of an entity share, one a column.
#[expect(clippy::too_many_arguments, reason = "each is one source of a cell")]
fn fixed_cells<'c>(
    kind: WideKind,
    spec: &TableSpec,
    aliases: &Aliases,
    cluster: &'c str,
    target: &'c str,
    entity: &'c Entity,
    members: &[&'c WideSeries<'_>],
    interval: Option<i64>,
) -> Vec<Cell<'c>> {
    let of_column = |name: &str, column_type| {
        if let Some(at) = key_columns(kind).iter().position(|key| *key == name) {
            return Cell::text(entity.key[at].as_deref());
        }
        match (name, column_type) {
            ("cluster", _) => Cell::Text(cluster),
            ("target", _) => Cell::Text(target),
            ("scrape_interval_ms", _) => interval.map_or(Cell::Null, Cell::Int),
            (_, ColumnType::Text) => Cell::text(
                members
                    .iter()
                    .filter_map(|s| attribute(aliases, name, &s.labels))
                    .min(),
            ),
            _ => Cell::Null,
        }
    };
    spec.columns
        .iter()
        .map(|c| of_column(c.name, c.column_type))
        .collect()
}

/// Groups the wide series of one kind into entities, sorted by key and target.
fn entities(kind: WideKind, aliases: &Aliases, intake: &mut Intake<'_>) -> Vec<Entity> {
    let mut keyed: Vec<(usize, Key)> = Vec::new();
    let mut rejected = 0;
    for (index, series) in intake.wide.iter().enumerate() {
        let exporter = &aliases.exporters[series.alias.exporter];
        if exporter.kind != kind || !intake.confirmed(series.target, exporter) {
            continue;
        }
        match key_of(aliases, exporter, &series.labels) {
            Some(key) => keyed.push((index, key)),
            // Totals of a pod are no container: dropping them is no loss.
            None => rejected += u64::from(kind != WideKind::Container),
        }
    }
    intake.stats.series_rejected += rejected;
    if kind == WideKind::Serving {
        adopt(&mut keyed, intake, MODEL_NAME);
        adopt(&mut keyed, intake, ENGINE_INDEX);
        drop_fallbacks(&mut keyed, aliases, intake);
    }
    let mut grouped: BTreeMap<(Key, String), Entity> = BTreeMap::new();
    for (index, key) in keyed {
        let series = &intake.wide[index];
        let target = intake.targets[series.target].name();
        let entity = grouped
            .entry((key.clone(), target))
            .or_insert_with(|| Entity {
                key,
                target: series.target,
                members: Vec::new(),
                samples: 0,
            });
        entity.members.push(index);
        entity.samples += series.times.len();
    }
    let (entities, duplicates) = one_job_an_instance(grouped.into_values().collect(), intake);
    intake.stats.series_duplicate += duplicates;
    entities
}

/// Series that do not say which model (or engine) they mean take the only one of their target.
fn adopt(keyed: &mut [(usize, Key)], intake: &Intake<'_>, part: usize) {
    let mut said: HashMap<(usize, Option<String>), BTreeSet<String>> = HashMap::new();
    for (index, key) in keyed.iter() {
        let group = (intake.wide[*index].target, key[ENGINE].clone());
        said.entry(group).or_default().extend(key[part].clone());
    }
    for (index, key) in keyed.iter_mut().filter(|(_, key)| key[part].is_none()) {
        let group = (intake.wide[*index].target, key[ENGINE].clone());
        if let Some(only) = said.get(&group).filter(|set| set.len() == 1) {
            key[part] = only.first().cloned();
        }
    }
}

/// A pod whose engine speaks for itself needs no runtime that counts the same requests again.
fn drop_fallbacks(keyed: &mut Vec<(usize, Key)>, aliases: &Aliases, intake: &Intake<'_>) {
    let is_fallback = |index: usize| {
        let exporter = intake.wide[index].alias.exporter;
        aliases.exporters[exporter].fallback
    };
    // Without a pod label the target stands for the pod.
    let place = |index: usize, key: &Key| match key[1].as_deref() {
        Some("") | None => (None, None, Some(intake.wide[index].target)),
        Some(pod) => (key[0].clone(), Some(pod.to_owned()), None),
    };
    let own: BTreeSet<_> = keyed
        .iter()
        .filter(|(index, _)| !is_fallback(*index))
        .map(|(index, key)| place(*index, key))
        .collect();
    keyed.retain(|(index, key)| !is_fallback(*index) || !own.contains(&place(*index, key)));
}

/// One endpoint scraped by two jobs gives every row twice: the job with more samples stays.
fn one_job_an_instance(entities: Vec<Entity>, intake: &Intake<'_>) -> (Vec<Entity>, u64) {
    let job = |e: &Entity| intake.targets[e.target].job.clone();
    let place = |e: &Entity| (e.key.clone(), intake.targets[e.target].instance.clone());
    let mut best: BTreeMap<(Key, String), (usize, std::cmp::Reverse<String>)> = BTreeMap::new();
    for entity in &entities {
        let candidate = (entity.samples, std::cmp::Reverse(job(entity)));
        let known = best
            .entry(place(entity))
            .or_insert_with(|| candidate.clone());
        if *known < candidate {
            *known = candidate;
        }
    }
    let before: usize = entities.iter().map(|e| e.members.len()).sum();
    let kept: Vec<Entity> = entities
        .into_iter()
        .filter(|e| best.get(&place(e)).is_none_or(|(_, name)| name.0 == job(e)))
        .collect();
    let after: usize = kept.iter().map(|e| e.members.len()).sum();
    (kept, (before - after) as u64)
}

/// The lower median of the sample spacing of each target, by target; none below two scrapes.
///
/// cAdvisor stamps each container on its own, so there the spacing is within one series.
pub(super) fn intervals(
    aliases: &Aliases,
    intake: &Intake<'_>,
    kind: WideKind,
) -> HashMap<usize, i64> {
    let mut lists: HashMap<usize, Vec<&Times>> = HashMap::new();
    for series in &intake.wide {
        if aliases.exporters[series.alias.exporter].kind == kind {
            lists.entry(series.target).or_default().push(&series.times);
        }
    }
    lists
        .into_iter()
        .filter_map(|(target, lists)| {
            let spacings = if kind == WideKind::Container {
                lists
                    .into_iter()
                    .flat_map(|list| times::spacings(list))
                    .collect()
            } else {
                let all = times::union(lists.into_iter());
                times::spacings(&all).collect()
            };
            Some((target, times::lower_median(spacings)?))
        })
        .collect()
}

/// The columns of one entity, as long as its timestamps; NaN where there is no value.
struct Columns {
    times: Times,
    floats: BTreeMap<usize, Vec<f64>>,
    histograms: BTreeMap<usize, HistogramColumn>,
    rejected: u64,
}

/// The series of one column or histogram by rank, best name first.
type ByRank<'s, 'a> = BTreeMap<usize, Vec<(&'s WideSeries<'a>, Residual)>>;

impl Columns {
    fn build(kind: WideKind, aliases: &Aliases, members: &[&WideSeries<'_>]) -> Self {
        let times = times::union(members.iter().map(|s| &s.times));
        let mut values: BTreeMap<usize, (Combine, ByRank<'_, '_>)> = BTreeMap::new();
        let mut parts: BTreeMap<usize, ByRank<'_, '_>> = BTreeMap::new();
        for series in members {
            let exporter = &aliases.exporters[series.alias.exporter];
            let residual = residual(&series.labels, exporter);
            let by_rank = match series.alias.part {
                Part::Value { column, combine } => {
                    &mut values.entry(column).or_insert((combine, ByRank::new())).1
                }
                Part::Bucket(h) | Part::Sum(h) | Part::Count(h) | Part::Native(h) => {
                    parts.entry(h).or_default()
                }
            };
            by_rank
                .entry(series.alias.rank)
                .or_default()
                .push((series, residual));
        }
        let mut rejected = 0;
        let mut floats = BTreeMap::new();
        for (column, (how, by_rank)) in values {
            let mut best: Option<Vec<f64>> = None;
            for group in by_rank.into_values() {
                let told = combine(
                    &group,
                    &times,
                    how,
                    |series| Conversion::of(aliases, series),
                    &mut rejected,
                );
                match &mut best {
                    None => best = Some(told),
                    Some(best) => {
                        for (known, other) in best.iter_mut().zip(told) {
                            if known.is_nan() {
                                *known = other;
                            }
                        }
                    }
                }
            }
            floats.insert(column, best.unwrap_or_default());
        }
        let histograms = parts
            .into_iter()
            .filter_map(|(h, by_rank)| {
                let at = aliases.histograms(kind).get(h)?.bounds;
                Some((at, HistogramColumn::build(by_rank, &times)))
            })
            .collect();
        Self {
            times,
            floats,
            histograms,
            rejected,
        }
    }

    fn write(
        &self,
        aliases: &Aliases,
        kind: WideKind,
        fixed: Vec<Cell<'_>>,
        spec: &'static TableSpec,
        rows: &mut TableRows,
    ) -> Result<(), RowError> {
        let mut blocks: Vec<Block<'_>> = fixed.into_iter().map(Block::Same).collect();
        if let Some(ts) = spec.columns.iter().position(|c| c.name == "ts") {
            blocks[ts] = Block::Times(&self.times);
        }
        for (column, values) in &self.floats {
            blocks[*column] = Block::Floats(values);
        }
        let told: Vec<ToldColumn> = aliases
            .histograms(kind)
            .iter()
            .filter_map(|columns| {
                let histogram = self.histograms.get(&columns.bounds)?;
                Some(ToldColumn::build(histogram, *columns, self.times.len()))
            })
            .collect();
        for column in told.iter().filter(|column| !column.bounds.is_blank()) {
            blocks[column.at.bounds] = Block::Lists(&column.bounds);
            blocks[column.at.counts] = Block::Lists(&column.counts);
            blocks[column.at.sum] = Block::Floats(&column.sums);
        }
        rows.push_blocks(self.times.len(), &blocks)
    }
}

/// A histogram's three columns, row by row.
struct ToldColumn {
    at: HistogramColumns,
    bounds: Lists,
    counts: Lists,
    sums: Vec<f64>,
}

impl ToldColumn {
    fn build(histogram: &HistogramColumn, at: HistogramColumns, rows: usize) -> Self {
        let mut column = Self {
            at,
            bounds: Lists::default(),
            counts: Lists::default(),
            sums: Vec::with_capacity(rows),
        };
        let mut point = Point::default();
        for row in 0..rows {
            let has = histogram.at(row, &mut point);
            column.bounds.push(has.then_some(&point.bounds));
            column.counts.push(has.then_some(&point.counts));
            let sum = point.sum.filter(|_| has);
            column.sums.push(sum.unwrap_or(f64::NAN));
        }
        column
    }
}

/// What is left of the labels once ranks, bounds and the target are taken away.
fn residual(labels: &Labels, exporter: &Exporter) -> Residual {
    let mut out = String::new();
    for (name, value) in labels.iter() {
        let known = matches!(name, "__name__" | "le" | "job" | "instance");
        if !known && !exporter.rank_labels.iter().any(|rank| rank == name) {
            out.push_str(name);
            out.push('\u{1}');
            out.push_str(value);
            out.push('\u{2}');
        }
    }
    out
}

/// One value a timestamp: the largest among the ranks of one series, then sum or maximum.
pub(super) fn combine<'e>(
    series: &[(&WideSeries<'_>, Residual)],
    all: &Times,
    how: Combine,
    conversion: impl Fn(&WideSeries<'_>) -> Conversion<'e>,
    rejected: &mut u64,
) -> Vec<f64> {
    let mut groups: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (one, residual) in series {
        let conversion = conversion(one);
        let mut told = |raw: f64| {
            let value = conversion.value(raw);
            *rejected += u64::from(value.is_nan());
            value
        };
        // Most series are alone in their column, and have all of its timestamps.
        let whole = Arc::ptr_eq(all, &one.times) && one.values.len() == all.len();
        if whole && !groups.contains_key(residual.as_str()) {
            groups.insert(residual, one.values.iter().map(|raw| told(*raw)).collect());
            continue;
        }
        let group = groups
            .entry(residual)
            .or_insert_with(|| vec![f64::NAN; all.len()]);
        align(all, &one.times, |to, from| {
            let Some(raw) = one.values.get(from) else {
                return;
            };
            // `max` ignores NaN on either side.
            group[to] = group[to].max(told(*raw));
        });
    }
    let mut groups = groups.into_values();
    let mut total = groups.next().unwrap_or_else(|| vec![f64::NAN; all.len()]);
    for group in groups {
        for (sum, value) in total.iter_mut().zip(group) {
            *sum = match how {
                Combine::Max => sum.max(value),
                Combine::Sum if sum.is_nan() => value,
                Combine::Sum if value.is_nan() => *sum,
                Combine::Sum => *sum + value,
            };
        }
    }
    total
}
