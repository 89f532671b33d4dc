//! Owns the audit of a whole log: every checkpoint, tile, entry and blob against each other and
//! against checkpoints that were kept elsewhere. It needs the log's objects and its public keys.
//!
//! It reports all that is wrong instead of the first: what is altered, dropped, reordered, replayed,
//! cut off or forked. Memory does not grow with the log but for the keys of what may stand once.

use std::collections::BTreeMap;

use super::ApproveError;
use super::entry::{Entry, Kind};
use super::log::{Head, Log, unbundle};
use super::merkle::{Hash, RunningRoot, TILE_WIDTH, Tree, leaf_hash, tile_path, tile_width};
use super::note::Checkpoint;
use crate::model::canonical::sha256_hex;
use crate::model::time::format_ms;

/// A checkpoint that was kept outside of the log: in a manifest, a report, a mail.
#[derive(Debug, Clone)]
pub struct Anchor {
    pub from: String,
    pub checkpoint: Checkpoint,
    /// As it was kept, with witnesses' cosignatures.
    pub note: String,
}

/// What an audit found.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
    pub checkpoints: usize,
    pub by_kind: BTreeMap<Kind, u64>,
    pub faults: Vec<String>,
}

impl Log {
    /// Looks at everything. `blobs` says whether the bytes that entries name are read too.
    pub async fn audit(&self, anchors: &[Anchor], blobs: bool) -> Result<Audit, ApproveError> {
        let mut audit = Audit::default();
        let heads = self.checkpoints(&mut audit).await?;
        let Some(newest) = heads.last() else {
            for anchor in anchors {
                audit.faults.push(format!(
                    "the log is empty, but {} names {} entries",
                    anchor.from, anchor.checkpoint.size
                ));
            }
            return Ok(audit);
        };
        audit.origin.clone_from(&newest.checkpoint.origin);
        audit.size = newest.checkpoint.size;
        let mut wanted: BTreeMap<u64, Vec<(String, Hash)>> = BTreeMap::new();
        for head in &heads {
            wanted
                .entry(head.checkpoint.size)
                .or_default()
                .push((format!("checkpoint {}", head.number), head.checkpoint.root));
        }
        for anchor in anchors {
            let checkpoint = &anchor.checkpoint;
            if checkpoint.origin != audit.origin {
                audit.faults.push(format!(
                    "{} is of another log, `{}`",
                    anchor.from, checkpoint.origin
                ));
            } else if checkpoint.size > audit.size {
                audit.faults.push(format!(
                    "the log was cut off: it has {} entries, {} saw {}",
                    audit.size, anchor.from, checkpoint.size
                ));
            } else {
                wanted
                    .entry(checkpoint.size)
                    .or_default()
                    .push((anchor.from.clone(), checkpoint.root));
            }
        }
        self.walk(&mut audit, &wanted, blobs).await?;
        Ok(audit)
    }

    async fn checkpoints(&self, audit: &mut Audit) -> Result<Vec<Head>, ApproveError> {
        let mut heads: Vec<Head> = Vec::new();
        let mut next = 1;
        for number in self.numbers("checkpoints", ".note").await? {
            if number != next {
                audit.faults.push(format!("checkpoint {next} is missing"));
            }
            next = number + 1;
            match self.head_at(number).await {
                Ok(head) => {
                    if let Some(before) = heads.last()
                        && (head.checkpoint.size < before.checkpoint.size
                            || head.checkpoint.origin != before.checkpoint.origin)
                    {
                        audit.faults.push(format!("checkpoint {number} does not follow checkpoint {}: the log was rolled back", before.number));
                    }
                    heads.push(head);
                }
                Err(error) if error.is_rejection() => audit.faults.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        audit.checkpoints = heads.len();
        heads.sort_by_key(|head| head.checkpoint.size);
        Ok(heads)
    }

    async fn walk(
        &self,
        audit: &mut Audit,
        wanted: &BTreeMap<u64, Vec<(String, Hash)>>,
        blobs: bool,
    ) -> Result<(), ApproveError> {
        let mut running = RunningRoot::default();
        let mut tree = Tree::default();
        let mut once: BTreeMap<Hash, u64> = BTreeMap::new();
        let mut last_ms = i64::MIN;
        let size = audit.size;
        check_roots(audit, wanted, 0, running.root());
        let mut index = 0;
        while index * TILE_WIDTH < size {
            let width = tile_width(0, index, size);
            let key = tile_path(None, index, width);
            let entries = match self.bucket.get(&key).await? {
                None => Err("is missing"),
                Some(bytes) => unbundle(&bytes)
                    .filter(|entries| entries.len() as u64 == width)
                    .ok_or("does not hold as many entries as its name says"),
            };
            let entries = match entries {
                Ok(entries) => entries,
                Err(why) => {
                    // Without these entries nothing after them can be placed.
                    audit.faults.push(format!(
                        "{key} {why}: entries {} and later cannot be checked",
                        index * TILE_WIDTH
                    ));
                    return Ok(());
                }
            };
            let mut leaves = Vec::with_capacity(entries.len());
            for bytes in &entries {
                let place = running_size(&tree, &leaves);
                let leaf = leaf_hash(bytes);
                running.push(leaf);
                leaves.push(leaf);
                if wanted.contains_key(&(place + 1)) {
                    check_roots(audit, wanted, place + 1, running.root());
                }
                let entry = match Entry::parse(bytes) {
                    Ok(entry) => entry,
                    Err(why) => {
                        audit.faults.push(format!("entry {place} is none: {why}"));
                        continue;
                    }
                };
                if entry.index != place {
                    audit.faults.push(format!(
                        "entry {place} was made as entry {}: the order was changed",
                        entry.index
                    ));
                }
                if entry.time_ms < last_ms {
                    audit.faults.push(format!(
                        "entry {place} is of {}, before the entry that it follows",
                        format_ms(entry.time_ms)
                    ));
                }
                last_ms = last_ms.max(entry.time_ms);
                *audit.by_kind.entry(entry.kind).or_default() += 1;
                if let Some(key) = entry.once() {
                    let key: Hash = leaf_hash(key.as_bytes());
                    if let Some(other) = once.insert(key, place) {
                        audit.faults.push(format!(
                            "entry {place} says what entry {other} says: it was replayed"
                        ));
                    }
                }
                if blobs {
                    self.check_blobs(audit, &entry).await?;
                }
            }
            let changed = tree.append(&leaves);
            for (level, number) in changed {
                self.check_tile(audit, &mut tree, level, number, size)
                    .await?;
            }
            index += 1;
        }
        audit.root = running.root();
        Ok(())
    }

    async fn check_tile(
        &self,
        audit: &mut Audit,
        tree: &mut Tree,
        level: u32,
        index: u64,
        size: u64,
    ) -> Result<(), ApproveError> {
        let Some(tile) = tree.tiles.get(&(level, index)) else {
            return Ok(());
        };
        let width = tile_width(level, index, size);
        if tile.len() as u64 != width {
            return Ok(());
        }
        let key = tile_path(Some(level), index, width);
        let stored = self.bucket.get(&key).await?;
        if stored.is_none_or(|bytes| bytes != tile.concat()) {
            audit.faults.push(format!(
                "{key} is missing or is not what the entries hash to"
            ));
        }
        if width == TILE_WIDTH {
            tree.tiles.remove(&(level, index));
        }
        Ok(())
    }

    async fn check_blobs(&self, audit: &mut Audit, entry: &Entry) -> Result<(), ApproveError> {
        for sha256 in entry.blobs() {
            match self.blob(sha256).await {
                Ok(Some(bytes)) if sha256_hex(&bytes) == sha256 => {}
                Ok(_) => audit.faults.push(format!(
                    "entry {} names {sha256}, which is missing",
                    entry.index
                )),
                Err(error) if error.is_rejection() => audit.faults.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn running_size(tree: &Tree, leaves: &[Hash]) -> u64 {
    tree.size + leaves.len() as u64
}

fn check_roots(
    audit: &mut Audit,
    wanted: &BTreeMap<u64, Vec<(String, Hash)>>,
    size: u64,
    root: Hash,
) {
    for (from, other) in wanted.get(&size).map_or(&[] as &[_], Vec::as_slice) {
        if *other != root {
            audit.faults.push(format!(
                "the first {size} entries are not those that {from} covers: the log was altered or forked"
            ));
        }
    }
}
