//! Owns retention: which days are older than is wanted, and taking them out of the tables.
//!
//! Ages count from the newest day that the lake holds, so that a wrong clock or a lake of last
//! year's data loses nothing. It deletes no object: that is [`super::vacuum`]'s business, once no
//! kept publication needs it. Called by [`super::upkeep`].

use std::collections::BTreeSet;

use super::commit::{self, Change};
use super::compact::raw_tables;
use super::error::LakeError;
use super::files::{PartitionKey, Staged};
use super::lease::Lease;
use super::publication::PublicationDetails;
use super::schema::{TABLES, TableKind, TableSpec};
use super::store::LakeStore;
use super::{CommitInfo, Lake, publication};
use crate::model::time::{DAY_MS, date_of, parse_ms};

/// How many days tables keep, their newest one among them; `None` keeps all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    pub raw_days: Option<u32>,
    pub derived_days: Option<u32>,
}

/// What retention took out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    pub raw_files: usize,
    pub derived_partitions: usize,
}

impl Retention {
    /// The first date that raw tables keep.
    pub(crate) fn raw_cut(&self, newest_day_ms: i64) -> Option<String> {
        cut(self.raw_days, newest_day_ms)
    }

    pub(crate) fn derived_cut(&self, newest_day_ms: i64) -> Option<String> {
        cut(self.derived_days, newest_day_ms)
    }
}

fn cut(days: Option<u32>, newest_day_ms: i64) -> Option<String> {
    let days = i64::from(days?.max(1));
    let newest = newest_day_ms.div_euclid(DAY_MS) * DAY_MS;
    Some(date_of(newest - (days - 1) * DAY_MS))
}

/// The newest day that `ingest_windows` has rows of.
pub(crate) async fn newest_day(store: &LakeStore) -> Result<Option<i64>, LakeError> {
    let Some(delta) = commit::open(store, "ingest_windows", None).await? else {
        return Ok(None);
    };
    let Some(spec) = super::schema::table("ingest_windows") else {
        return Ok(None);
    };
    let files = commit::live_files(spec, &delta)?;
    Ok(files
        .values()
        .filter_map(|file| parse_ms(&file.partition.first))
        .max())
}

/// The sources that have raw rows before a date.
pub(crate) async fn sources_before(
    store: &LakeStore,
    cut: &str,
) -> Result<BTreeSet<String>, LakeError> {
    let mut sources = BTreeSet::new();
    for spec in raw_tables() {
        if let Some(delta) = commit::open(store, spec.name, None).await? {
            let files = commit::live_files(spec, &delta)?;
            let old = files.values().filter(|f| f.partition.first.as_str() < cut);
            sources.extend(old.map(|file| file.partition.second.clone()));
        }
    }
    Ok(sources)
}

/// Takes a source's days before a date out of every raw table, and out of the list of windows
/// first; how many files that were.
pub(crate) async fn raw(
    store: &LakeStore,
    lease: &Lease,
    source: &str,
    cut: &str,
    info: &CommitInfo,
) -> Result<usize, LakeError> {
    let (list, rest): (Vec<&TableSpec>, Vec<&TableSpec>) =
        raw_tables().partition(|spec| spec.name == "ingest_windows");
    let mut removed = 0;
    for spec in list.into_iter().chain(rest) {
        let Some(delta) = commit::open(store, spec.name, None).await? else {
            continue;
        };
        let is_old =
            |partition: &PartitionKey| partition.second == source && partition.first.as_str() < cut;
        let old = commit::live_files(spec, &delta)?;
        let old = old.values().filter(|f| is_old(&f.partition)).count();
        if old == 0 {
            continue;
        }
        commit::commit(store, spec, lease, info, |live| {
            let old = live.values().filter(|f| is_old(&f.partition));
            Ok(Change::between(old, std::iter::empty()))
        })
        .await?;
        removed += old;
    }
    Ok(removed)
}

fn derived_tables() -> impl Iterator<Item = &'static TableSpec> {
    TABLES.iter().filter(|spec| spec.kind == TableKind::Derived)
}

/// The partitions of derived tables, as published, that lie before a date.
pub(crate) async fn derived_before(
    store: &LakeStore,
    cut: &str,
) -> Result<BTreeSet<(&'static str, PartitionKey)>, LakeError> {
    let mut found = BTreeSet::new();
    let Some(base) = publication::read(store, None).await? else {
        return Ok(found);
    };
    for spec in derived_tables() {
        let Some(version) = base.tables.get(spec.name) else {
            continue;
        };
        if let Some(delta) = commit::open(store, spec.name, Some(*version)).await? {
            let files = commit::live_files(spec, &delta)?;
            let old = files.values().filter(|f| f.partition.first.as_str() < cut);
            found.extend(old.map(|file| (spec.name, file.partition.clone())));
        }
    }
    Ok(found)
}

/// Publishes what the newest publication shows without derived days before a date; how many
/// partitions that were. Digests that end in such a day go too: a day that is asked for again is
/// derived again, and not taken for unchanged.
pub(crate) async fn derived(
    lake: &Lake,
    lease: &Lease,
    cut: &str,
    now_ms: i64,
    code_version: &str,
) -> Result<usize, LakeError> {
    let Some(base) = publication::read(&lake.store, None).await? else {
        return Ok(0);
    };
    let old = derived_before(&lake.store, cut).await?;
    if old.is_empty() {
        return Ok(0);
    }
    let staged = old
        .iter()
        .map(|(table, partition)| Staged {
            table: (*table).to_owned(),
            partition: partition.clone(),
            files: Vec::new(),
        })
        .collect();
    let mut digests = base.digests.clone();
    digests.retain(|key, _| {
        let day = key.rsplit('/').next().unwrap_or_default();
        parse_ms(day).is_none() || day >= cut
    });
    let details = PublicationDetails {
        runs: std::collections::BTreeMap::new(),
        digests,
        window: base.window(),
        code_version: code_version.to_owned(),
        now_ms,
    };
    lake.publish(lease, Some(&base), &base.pins(), staged, details)
        .await?;
    Ok(old.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_day_counts_and_unset_keeps_all() {
        let newest = parse_ms("2026-11-20").unwrap();
        let wanted = Retention {
            raw_days: Some(3),
            derived_days: None,
        };
        assert_eq!(wanted.raw_cut(newest + 5).unwrap(), "2026-11-18");
        assert_eq!(wanted.derived_cut(newest), None);
    }
}
