//! Owns which of the blocks that were found are read: whole ones, not marked for deletion, not
//! repeated by a compacted one, of raw samples, of the wanted external labels. Pure but for
//! reading `meta.json`.

use std::collections::{BTreeMap, BTreeSet};

use super::file::broken;
use super::meta::{self, Meta};
use super::place::{Found, Place, join};
use crate::ingest::prometheus::{Labels, SourceError, USUAL_REPLICA_LABELS};
use crate::model::TimeWindow;

/// Sets of labels that are named in a message.
const SETS_NAMED: usize = 10;

/// Which blocks of a folder or bucket to read.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Mimir and Cortex: folders of tenants. Empty: the blocks at the root, or of the only tenant.
    pub tenants: Vec<String>,
    /// Thanos: external labels that a block must carry. `None`: all blocks, if all carry the same.
    pub external_labels: Option<BTreeMap<String, String>>,
    /// External labels that tell the Prometheis of a pair apart: the pivot takes one of them.
    pub replica_labels: Vec<String>,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            tenants: Vec::new(),
            external_labels: None,
            replica_labels: USUAL_REPLICA_LABELS.map(str::to_owned).to_vec(),
        }
    }
}

/// How many blocks are read, and how many are not, for which reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    pub read: usize,
    /// Without a `meta.json`: an upload that is under way or was given up.
    pub partial: usize,
    pub marked_for_deletion: usize,
    /// A compacted block holds what they hold.
    pub superseded: usize,
    pub downsampled: usize,
    pub other_labels: usize,
}

/// One block that is read.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) key: String,
    pub(super) id: String,
    tenant: String,
    pub(super) files: BTreeMap<String, u64>,
    pub(super) meta: Meta,
    /// What is added to every series: the external labels without the stores' own (`__…`).
    pub(super) external: Labels,
    shard: Option<(u32, u32)>,
    /// Sorted.
    sources: Vec<String>,
    /// The time that its samples may span.
    pub(super) span: Option<TimeWindow>,
}

/// What a listing came to.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) blocks: Vec<Block>,
    /// Spans of blocks that hold only aggregates.
    pub(super) downsampled: Vec<TimeWindow>,
    pub(super) census: Census,
}

impl Block {
    fn new(place: &Place, found: Found, meta: Meta) -> Result<Self, SourceError> {
        let path = || place.path(&join(&found.key, "meta.json"));
        if meta.min_ms > meta.max_ms {
            return Err(broken(&path(), "it ends before it begins"));
        }
        // A block that lies by itself may have been renamed by who copied it.
        if !found.id.is_empty() && found.id != meta.ulid {
            let what = format!("it is of another block, {:?}", meta.ulid);
            return Err(broken(&path(), what));
        }
        let pairs = meta.labels().iter();
        let external = pairs
            .filter(|(name, _)| !name.starts_with("__"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut sources = meta.compaction.sources.clone().unwrap_or_default();
        if sources.is_empty() {
            sources.push(meta.ulid.clone());
        }
        sources.sort();
        sources.dedup();
        let span = TimeWindow::new(meta.min_ms, meta.max_ms);
        Ok(Self {
            shard: meta.shard(),
            span: (meta.min_ms < meta.max_ms).then_some(span),
            id: meta.ulid.clone(),
            key: found.key,
            tenant: found.tenant,
            files: found.files,
            external,
            sources,
            meta,
        })
    }

    /// Whether two blocks come from the same series: what one holds can stand for the other.
    fn is_akin(&self, other: &Self) -> bool {
        self.tenant == other.tenant && self.external == other.external
    }

    /// Whether this block was compacted from what `other` was compacted from, and later. The
    /// order has no cycles: more sources, else a higher level, else a parent with a lower ULID.
    fn succeeds(&self, other: &Self) -> bool {
        let times = self.meta.min_ms <= other.meta.min_ms && self.meta.max_ms >= other.meta.max_ms;
        let later = || {
            let (level, before) = (self.meta.compaction.level, other.meta.compaction.level);
            self.sources.len() > other.sources.len()
                || level > before
                || level == before && self.id > other.id && self.meta.has_parent(&other.id)
        };
        self.id != other.id
            && times
            && self.is_akin(other)
            && self.sources.len() >= other.sources.len()
            && later()
            && is_subset(&other.sources, &self.sources)
    }
}

/// Whether every text of the sorted `few` is among the sorted `many`.
fn is_subset(few: &[String], many: &[String]) -> bool {
    few.iter().all(|one| many.binary_search(one).is_ok())
}

impl Selection {
    /// Reads every `meta.json` of what was found and chooses.
    pub(super) fn make(
        place: &Place,
        found: Vec<Found>,
        choice: &Choice,
    ) -> Result<Self, SourceError> {
        let mut made = Self::default();
        let (marked, found): (Vec<Found>, Vec<Found>) =
            found.into_iter().partition(|block| block.marked);
        made.census.marked_for_deletion = marked.len();
        let mut wanted = Vec::new();
        for block in &found {
            let size = block.files.get("meta.json").copied();
            let key = join(&block.key, "meta.json");
            if size.is_some_and(|size| size > meta::MAX_META_BYTES) {
                return Err(broken(&place.path(&key), "it is larger than 16 MiB"));
            }
            wanted.extend(size.map(|size| (key, size)));
        }
        let mut texts = place.whole(&wanted)?.into_iter();
        let mut blocks = Vec::new();
        for block in found {
            let text = if block.files.contains_key("meta.json") {
                texts.next().flatten()
            } else {
                None
            };
            let Some(text) = text else {
                tracing::warn!(
                    block = %place.path(&block.key).display(),
                    "not read: it has no meta.json, so its upload is under way or was given up"
                );
                made.census.partial += 1;
                continue;
            };
            let meta = Meta::parse(&place.path(&join(&block.key, "meta.json")), &text)?;
            blocks.push(Block::new(place, block, meta)?);
        }
        made.choose(place, blocks, choice)?;
        made.census.read = made.blocks.len();
        Ok(made)
    }

    fn choose(
        &mut self,
        place: &Place,
        blocks: Vec<Block>,
        choice: &Choice,
    ) -> Result<(), SourceError> {
        let before = blocks.len();
        let is_wanted = |block: &Block| {
            let mut wanted = choice.external_labels.iter().flatten();
            wanted.all(|(name, value)| block.meta.labels().get(name) == Some(value))
        };
        let blocks: Vec<Block> = blocks.into_iter().filter(is_wanted).collect();
        self.census.other_labels = before - blocks.len();
        if blocks.is_empty() && before > 0 {
            return Err(SourceError::Block {
                path: place.path(""),
                what: format!("none of its {before} blocks carries the external labels asked for"),
                todo: "correct external_labels in [[source]]",
            });
        }
        let (downsampled, raw): (Vec<Block>, Vec<Block>) =
            blocks.into_iter().partition(|b| b.meta.is_downsampled());
        self.census.downsampled = downsampled.len();
        self.downsampled = downsampled.iter().filter_map(|b| b.span).collect();
        if raw.is_empty() && !downsampled.is_empty() {
            return Err(only_downsampled(place));
        }
        let sets: BTreeSet<Labels> = raw.iter().map(|b| identity(&b.external, choice)).collect();
        if sets.len() > 1 && choice.external_labels.is_none() {
            let named = sets.iter().take(SETS_NAMED).map(ToString::to_string);
            return Err(SourceError::Block {
                path: place.path(""),
                what: format!(
                    "its blocks carry {} different sets of external labels: {}",
                    sets.len(),
                    named.collect::<Vec<_>>().join(" ")
                ),
                todo: "say whose to read with external_labels = {…} in [[source]], one source a \
                       cluster",
            });
        }
        let superseded: Vec<bool> = raw.iter().map(|b| is_superseded(b, &raw)).collect();
        self.census.superseded = superseded.iter().filter(|s| **s).count();
        self.blocks = raw
            .into_iter()
            .zip(superseded)
            .filter(|(_, superseded)| !superseded)
            .map(|(block, _)| block)
            .collect();
        Ok(())
    }

    /// The blocks that may hold samples of a window.
    pub(super) fn of(&self, window: TimeWindow) -> impl Iterator<Item = &Block> {
        let overlaps =
            move |block: &&Block| block.span.is_some_and(|s| s.intersect(&window).is_some());
        self.blocks.iter().filter(overlaps)
    }

    /// Refuses a window that only downsampled blocks cover.
    pub(super) fn check_raw(&self, place: &Place, window: TimeWindow) -> Result<(), SourceError> {
        let aggregated = self.downsampled.iter();
        let covered = || aggregated.clone().any(|s| s.intersect(&window).is_some());
        if self.of(window).next().is_none() && covered() {
            return Err(only_downsampled(place));
        }
        Ok(())
    }

    /// Whether the blocks of this selection hold all that `block` of an earlier one held.
    pub(super) fn replaces(&self, block: &Block) -> bool {
        let akin = self.blocks.iter().filter(|b| b.is_akin(block));
        let held: BTreeSet<&String> = akin.clone().flat_map(|b| &b.sources).collect();
        akin.clone().any(|b| b.id == block.id) || block.sources.iter().all(|s| held.contains(s))
    }
}

fn only_downsampled(place: &Place) -> SourceError {
    SourceError::Block {
        path: place.path(""),
        what: "only downsampled blocks cover this time, which hold averages and no samples".into(),
        todo: "keep raw blocks longer (--retention.resolution-raw), or ask for a later time",
    }
}

/// External labels as they tell clusters apart.
fn identity(external: &Labels, choice: &Choice) -> Labels {
    let pairs = external.clone().into_pairs().into_iter();
    pairs
        .filter(|(name, _)| !choice.replica_labels.contains(name))
        .collect()
}

/// Whether later blocks hold everything that a block holds: one of all series or of the same
/// shard, or one of every shard.
fn is_superseded(block: &Block, all: &[Block]) -> bool {
    let mut shards: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for later in all.iter().filter(|later| later.succeeds(block)) {
        match later.shard {
            None => return true,
            shard if shard == block.shard => return true,
            Some((index, count)) => {
                shards.entry(count).or_default().insert(index);
            }
        }
    }
    shards
        .iter()
        .any(|(count, present)| present.len() == *count as usize)
}
