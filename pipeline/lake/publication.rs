//! Owns publications: the one way in which a run becomes visible.
//!
//! Delta has no commit across tables. A publication is a numbered object, made by put-if-absent
//! after all its tables are committed, that pins a version of each of them; readers look through
//! it, so what a run wrote before it died is never seen.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::TimeWindow;
use crate::model::canonical::to_canonical;

use super::commit::{self, Change, LiveFiles};
use super::error::LakeError;
use super::files::{DataFile, PartitionKey, Staged};
use super::lease::{FLEET_LEASE, Lease};
use super::schema::{TABLES, TableKind, TableSpec};
use super::store::LakeStore;
use super::{CommitInfo, Pins, paths};

/// What readers see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    pub number: u64,
    /// The pinned version of each table that exists.
    pub tables: BTreeMap<String, i64>,
    /// The run that speaks for each cluster.
    pub runs: BTreeMap<String, String>,
    /// Of queries, parameters, catalogue, prices, policy and derived partitions.
    pub digests: BTreeMap<String, String>,
    pub window_start_ms: i64,
    pub window_end_ms: i64,
    pub code_version: String,
    pub created_ms: i64,
}

impl Publication {
    #[must_use]
    pub fn pins(&self) -> Pins {
        Pins {
            tables: self.tables.clone(),
        }
    }

    #[must_use]
    pub fn window(&self) -> TimeWindow {
        TimeWindow::new(self.window_start_ms, self.window_end_ms)
    }
}

/// What a run says of itself when it publishes.
#[derive(Debug, Clone)]
pub struct PublicationDetails {
    /// Only the clusters that this run derived: the others keep the base's entries.
    pub runs: BTreeMap<String, String>,
    /// All of them: nothing is taken over from the base.
    pub digests: BTreeMap<String, String>,
    pub window: TimeWindow,
    pub code_version: String,
    pub now_ms: i64,
}

pub(crate) async fn newest_number(store: &LakeStore) -> Result<u64, LakeError> {
    let numbers = store.numbers(paths::PUBLICATIONS).await?;
    Ok(numbers.last().copied().unwrap_or(0))
}

/// All publications that are kept, oldest first.
pub(crate) async fn all(store: &LakeStore) -> Result<Vec<Publication>, LakeError> {
    let mut kept = Vec::new();
    for number in store.numbers(paths::PUBLICATIONS).await? {
        // One that goes between listing and reading has been let go.
        match read(store, Some(number)).await {
            Ok(publication) => kept.extend(publication),
            Err(LakeError::NoSuchPublication { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}

pub(crate) async fn read(
    store: &LakeStore,
    as_of: Option<u64>,
) -> Result<Option<Publication>, LakeError> {
    let newest = newest_number(store).await?;
    let number = as_of.unwrap_or(newest);
    if as_of.is_none() && newest == 0 {
        return Ok(None);
    }
    let key = paths::publication(number);
    let bytes = store
        .get(&key)
        .await?
        .ok_or(LakeError::NoSuchPublication { number, newest })?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| LakeError::Corrupt {
            key: store.describe(&key),
            reason: e.to_string(),
        })
}

/// Commits the derived and run tables and pins them, without making anything visible.
pub(crate) async fn commit_tables(
    store: &LakeStore,
    lease: &Lease,
    base: Option<&Publication>,
    pins_raw: &Pins,
    staged: &[Staged],
    details: &PublicationDetails,
) -> Result<Pins, LakeError> {
    let info = CommitInfo {
        now_ms: details.now_ms,
        code_version: details.code_version.clone(),
        details: BTreeMap::new(),
    };
    let mut pins = Pins::default();
    for spec in TABLES {
        if spec.kind == TableKind::Raw {
            if let Some(version) = pins_raw.tables.get(spec.name) {
                pins.tables.insert(spec.name.to_owned(), *version);
            }
            continue;
        }
        let ours: Vec<&Staged> = staged.iter().filter(|s| s.table == spec.name).collect();
        let pinned = base.and_then(|b| b.tables.get(spec.name)).copied();
        let Some(head) = commit::open(store, spec.name, None).await? else {
            if ours.iter().any(|s| !s.files.is_empty()) {
                let version = commit::commit(store, spec, lease, &info, |live| {
                    Ok(plan(spec, live, None, &ours))
                })
                .await?;
                pins.tables.insert(spec.name.to_owned(), version);
            }
            continue;
        };
        let version = commit::version_of(&head);
        let published = if ours.is_empty() && pinned == Some(version) {
            pins.tables.insert(spec.name.to_owned(), version);
            continue;
        } else if let (TableKind::Derived, Some(pinned)) = (spec.kind, pinned) {
            match commit::open(store, spec.name, Some(pinned)).await? {
                Some(delta) => Some(commit::live_files(spec, &delta)?),
                None => None,
            }
        } else {
            None
        };
        let version = commit::commit(store, spec, lease, &info, |live| {
            Ok(plan(spec, live, published.as_ref(), &ours))
        })
        .await?;
        pins.tables.insert(spec.name.to_owned(), version);
    }
    Ok(pins)
}

/// A derived table becomes what the base published plus what is staged, so rows of a run that
/// died vanish. A run table keeps the rows of all runs, and readers look at the named ones.
fn plan(
    spec: &TableSpec,
    live: &LiveFiles,
    published: Option<&LiveFiles>,
    staged: &[&Staged],
) -> Change {
    let replaced: BTreeSet<&PartitionKey> = staged.iter().map(|s| &s.partition).collect();
    let new = staged.iter().flat_map(|s| &s.files);
    let kept: Box<dyn Iterator<Item = &DataFile>> = match (spec.kind, published) {
        (TableKind::Run, _) => Box::new(live.values()),
        (_, Some(published)) => Box::new(published.values()),
        (_, None) => Box::new(std::iter::empty()),
    };
    let wanted = kept
        .filter(|file| !replaced.contains(&file.partition))
        .chain(new);
    Change::between(live.values(), wanted)
}

/// Makes the pinned versions visible as number `base + 1`.
pub(crate) async fn put(
    store: &LakeStore,
    base: Option<&Publication>,
    pins: Pins,
    details: PublicationDetails,
) -> Result<Publication, LakeError> {
    let mut runs = base.map_or_else(BTreeMap::new, |b| b.runs.clone());
    runs.extend(details.runs);
    let publication = Publication {
        number: base.map_or(0, |b| b.number) + 1,
        tables: pins.tables,
        runs,
        digests: details.digests,
        window_start_ms: details.window.start_ms,
        window_end_ms: details.window.end_ms,
        code_version: details.code_version,
        created_ms: details.now_ms,
    };
    let key = paths::publication(publication.number);
    let corrupt = |reason: String| LakeError::Corrupt {
        key: store.describe(&key),
        reason,
    };
    let value = serde_json::to_value(&publication).map_err(|e| corrupt(e.to_string()))?;
    let text = to_canonical(&value).map_err(|e| corrupt(e.to_string()))?;
    let text = Bytes::from(text);
    // A put whose answer was lost may be sent again, and then finds what it made itself.
    if store.put_new(&key, text.clone()).await? || store.get(&key).await? == Some(text) {
        Ok(publication)
    } else {
        Err(LakeError::PublicationTaken {
            number: publication.number,
        })
    }
}

/// Fails early when the base is not the newest publication, or the lease is not the fleet's.
pub(crate) async fn check_base(
    store: &LakeStore,
    lease: &Lease,
    base: Option<&Publication>,
) -> Result<(), LakeError> {
    if lease.name() != FLEET_LEASE {
        return Err(LakeError::WrongLease {
            held: lease.name().to_owned(),
            needed: FLEET_LEASE.to_owned(),
        });
    }
    let expected = base.map_or(0, |b| b.number);
    let newest = newest_number(store).await?;
    if newest == expected {
        Ok(())
    } else {
        Err(LakeError::PublicationTaken {
            number: expected + 1,
        })
    }
}
