//! Owns the audit log: entries appended to a Merkle tree that lies on the object store as C2SP
//! tlog-tiles, under checkpoints that are numbered objects.
//!
//! ```text
//! batches/<number>.json        what checkpoint <number> adds; made by put-if-absent: this is the commit
//! tile/entries/<N>[.p/<W>]     entries, tile/<L>/<N>[.p/<W>] hashes
//! checkpoints/<number>.note    signed; the highest number holds, readers trust only what it covers
//! blobs/<sha256>               manifests, decisions, policies: what entries name
//! ```
//!
//! A writer that dies leaves a batch at most; the next writer finishes it, byte for byte, before it
//! does anything else. So nothing is lost and nothing is recorded twice. Two writers cannot fork the
//! log: one of them makes the next batch. Called by the command line, which holds the lease `log`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::entry::{Entry, Kind};
use super::merkle::{Hash, TILE_WIDTH, Tree, leaf_hash, tile_path, tile_width};
use super::note::{Checkpoint, Proof};
use super::{ApproveError, PipelineKey, VerifyingKey};
use crate::lake::bucket::Bucket;
use crate::model::canonical::{sha256_hex, to_canonical};

/// The lease that a writer of the log holds.
pub const LOG_LEASE: &str = "log";

/// The log at a place, read under its keys.
#[derive(Debug, Clone)]
pub struct Log {
    pub(super) bucket: Bucket,
    pub(super) keys: Vec<VerifyingKey>,
}

/// The newest checkpoint.
#[derive(Debug, Clone)]
pub struct Head {
    pub number: u64,
    pub checkpoint: Checkpoint,
    pub note: String,
}

impl Log {
    #[must_use]
    pub fn new(bucket: Bucket, keys: Vec<VerifyingKey>) -> Self {
        Self { bucket, keys }
    }

    pub(super) fn broken(&self, what: &str, why: impl Into<String>) -> ApproveError {
        ApproveError::Refused {
            what: format!("{what} of the log {}", self.bucket.url()),
            why: why.into(),
        }
    }

    pub(super) async fn numbers(
        &self,
        folder: &str,
        ending: &str,
    ) -> Result<Vec<u64>, ApproveError> {
        let listed = self.bucket.list(folder).await?;
        let number = |key: &str| key.rsplit('/').next()?.strip_suffix(ending)?.parse().ok();
        let mut numbers: Vec<u64> = listed
            .iter()
            .filter_map(|object| number(&object.key))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The newest checkpoint, verified; `None` where nothing was logged yet.
    pub async fn head(&self) -> Result<Option<Head>, ApproveError> {
        let Some(&number) = self.numbers("checkpoints", ".note").await?.last() else {
            return Ok(None);
        };
        self.head_at(number).await.map(Some)
    }

    pub(super) async fn head_at(&self, number: u64) -> Result<Head, ApproveError> {
        let key = checkpoint_key(number);
        let bytes = self.get(&key).await?;
        let note =
            String::from_utf8(bytes.to_vec()).map_err(|_| self.broken(&key, "it is not UTF-8"))?;
        let checkpoint =
            Checkpoint::verify(&note, &self.keys).map_err(|why| self.broken(&key, why))?;
        Ok(Head {
            number,
            checkpoint,
            note,
        })
    }

    pub(super) async fn get(&self, key: &str) -> Result<Bytes, ApproveError> {
        let found = self.bucket.get(key).await?;
        found.ok_or_else(|| self.broken(key, "it is missing"))
    }

    /// Puts an object that can only have these bytes.
    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), ApproveError> {
        let bytes = Bytes::from(bytes);
        if self.bucket.put_new(key, bytes.clone()).await? || self.get(key).await? == bytes {
            Ok(())
        } else {
            Err(self.broken(key, "it exists with other bytes"))
        }
    }

    /// Keeps bytes that entries name by digest.
    pub async fn put_blob(&self, bytes: &[u8]) -> Result<String, ApproveError> {
        let sha256 = sha256_hex(bytes);
        self.put(&blob_key(&sha256), bytes.to_vec()).await?;
        Ok(sha256)
    }

    /// Bytes that an entry names.
    pub async fn blob(&self, sha256: &str) -> Result<Option<Bytes>, ApproveError> {
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let key = blob_key(sha256);
        let Some(bytes) = self.bucket.get(&key).await? else {
            return Ok(None);
        };
        if sha256_hex(&bytes) == sha256 {
            Ok(Some(bytes))
        } else {
            Err(self.broken(&key, "its bytes are not those of its digest"))
        }
    }

    /// The raw entries of a range in a tree of this size.
    pub(super) async fn raw_entries(
        &self,
        from: u64,
        size: u64,
    ) -> Result<Vec<Vec<u8>>, ApproveError> {
        let mut out = Vec::new();
        let mut index = from / TILE_WIDTH;
        while index * TILE_WIDTH < size {
            let key = tile_path(None, index, tile_width(0, index, size));
            let bundle = self.get(&key).await?;
            let entries = unbundle(&bundle).ok_or_else(|| self.broken(&key, "it is cut off"))?;
            if entries.len() as u64 != tile_width(0, index, size) {
                return Err(self.broken(&key, "it does not hold as many entries as its name says"));
            }
            let skip = from.saturating_sub(index * TILE_WIDTH) as usize;
            out.extend(entries.into_iter().skip(skip));
            index += 1;
        }
        Ok(out)
    }

    /// All entries that a checkpoint covers, held against its root.
    pub async fn entries(&self, checkpoint: &Checkpoint) -> Result<Vec<Entry>, ApproveError> {
        let mut root = super::merkle::RunningRoot::default();
        let mut entries = Vec::new();
        for (index, bytes) in self
            .raw_entries(0, checkpoint.size)
            .await?
            .iter()
            .enumerate()
        {
            root.push(leaf_hash(bytes));
            let entry =
                Entry::parse(bytes).map_err(|why| self.broken(&format!("entry {index}"), why))?;
            entries.push(entry);
        }
        if root.root() == checkpoint.root {
            Ok(entries)
        } else {
            Err(self.broken("the entries", "they do not hash to the checkpoint's root"))
        }
    }

    /// Answers a question about the tree, fetching the tiles that it needs.
    async fn ask<T>(
        &self,
        tree: &mut Tree,
        question: impl Fn(&Tree) -> Result<T, super::merkle::MissingTile>,
    ) -> Result<T, ApproveError> {
        loop {
            let missing = match question(tree) {
                Ok(answer) => return Ok(answer),
                Err(missing) => missing,
            };
            self.load(tree, missing.level, missing.index).await?;
        }
    }

    async fn load(&self, tree: &mut Tree, level: u32, index: u64) -> Result<(), ApproveError> {
        let width = tile_width(level, index, tree.size);
        let key = tile_path(Some(level), index, width);
        let bytes = self.get(&key).await?;
        let hashes: Vec<Hash> = bytes
            .chunks_exact(32)
            .filter_map(|chunk| chunk.try_into().ok())
            .collect();
        if bytes.len() as u64 != width * 32 || width == 0 {
            return Err(self.broken(&key, "it is not as long as its name says"));
        }
        tree.tiles.insert((level, index), hashes);
        Ok(())
    }

    /// The proof that an entry stands in the log, with the checkpoint that it is held against.
    pub async fn prove(&self, head: &Head, index: u64) -> Result<Proof, ApproveError> {
        let size = head.checkpoint.size;
        let mut tree = Tree {
            size,
            ..Tree::default()
        };
        let path = self
            .ask(&mut tree, |tree| tree.inclusion(index, size))
            .await?;
        let bundle = index / TILE_WIDTH * TILE_WIDTH;
        let end = size.min(bundle + TILE_WIDTH);
        let key = tile_path(None, index / TILE_WIDTH, end - bundle);
        let entry = unbundle(&self.get(&key).await?)
            .and_then(|entries| entries.into_iter().nth((index - bundle) as usize))
            .ok_or_else(|| self.broken(&key, "it does not hold the entry"))?;
        Ok(Proof {
            entry,
            index,
            path,
            note: head.note.clone(),
        })
    }

    /// The proof that the tree of an older checkpoint is this one's beginning.
    pub async fn prove_consistency(
        &self,
        old: u64,
        head: &Head,
    ) -> Result<Vec<Hash>, ApproveError> {
        let size = head.checkpoint.size;
        let mut tree = Tree {
            size,
            ..Tree::default()
        };
        self.ask(&mut tree, |tree| tree.consistency(old, size))
            .await
    }

    /// Finishes what a writer that died had begun, and gives the newest checkpoint.
    pub async fn recover(&self, key: &PipelineKey) -> Result<Option<Head>, ApproveError> {
        let mut head = self.head().await?;
        loop {
            let number = head.as_ref().map_or(0, |head| head.number) + 1;
            let Some(batch) = self.bucket.get(&batch_key(number)).await? else {
                return Ok(head);
            };
            head = Some(self.complete(number, head.as_ref(), &batch, key).await?);
        }
    }

    /// Appends entries; `None` where the log has moved on from the head that the caller looked at,
    /// who then looks again. `origin` names the log when this is its first batch.
    pub async fn append(
        &self,
        key: &PipelineKey,
        seen: Option<&Head>,
        origin: &str,
        bodies: Vec<(Kind, Value)>,
        clock_ms: i64,
    ) -> Result<Option<Head>, ApproveError> {
        let number = seen.map_or(0, |head| head.number) + 1;
        let first = seen.map_or(0, |head| head.checkpoint.size);
        let mut time_ms = clock_ms;
        if let Some(head) = seen.filter(|_| first > 0) {
            let last = self.raw_entries(first - 1, head.checkpoint.size).await?;
            let last = last.last().and_then(|bytes| Entry::parse(bytes).ok());
            time_ms = time_ms.max(last.map_or(0, |entry| entry.time_ms));
        }
        let mut lines = Vec::new();
        for (offset, (kind, body)) in bodies.into_iter().enumerate() {
            let entry = Entry {
                index: first + offset as u64,
                kind,
                time_ms,
                body,
            };
            let bytes = entry.to_bytes(clock_ms)?;
            lines.push(Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        }
        let origin = seen.map_or(origin, |head| head.checkpoint.origin.as_str());
        let batch = to_canonical(
            &json!({"number": number, "first": first, "origin": origin, "entries": lines}),
        )?;
        let batch = Bytes::from(batch);
        let name = batch_key(number);
        if !self.bucket.put_new(&name, batch.clone()).await? && self.get(&name).await? != batch {
            return Ok(None);
        }
        self.complete(number, seen, &batch, key).await.map(Some)
    }

    /// Writes the tiles and the checkpoint of a batch that stands.
    async fn complete(
        &self,
        number: u64,
        before: Option<&Head>,
        batch: &[u8],
        key: &PipelineKey,
    ) -> Result<Head, ApproveError> {
        let name = batch_key(number);
        let value = super::parse_strict(batch, super::BATCH_BYTES_MAX)
            .map_err(|why| self.broken(&name, why))?;
        let first = before.map_or(0, |head| head.checkpoint.size);
        let origin = value["origin"].as_str().unwrap_or_default().to_owned();
        let fits = value["first"].as_u64() == Some(first)
            && value["number"].as_u64() == Some(number)
            && before.is_none_or(|head| head.checkpoint.origin == origin);
        if !fits {
            return Err(self.broken(&name, "it does not follow the checkpoint before it"));
        }
        let mut entries: Vec<Vec<u8>> = Vec::new();
        for line in value["entries"]
            .as_array()
            .map_or(&[] as &[Value], Vec::as_slice)
        {
            entries.push(line.as_str().unwrap_or_default().as_bytes().to_vec());
        }
        let mut tree = Tree {
            size: first,
            ..Tree::default()
        };
        let mut level = 0;
        // The right edge, and what the root needs.
        while first >> (8 * level) > 0 {
            let at_level = first >> (8 * level);
            if !at_level.is_multiple_of(TILE_WIDTH) {
                self.load(&mut tree, level, at_level / TILE_WIDTH).await?;
            }
            level += 1;
        }
        if let Some(head) = before {
            let root = self.ask(&mut tree, |tree| tree.root(first)).await?;
            if root != head.checkpoint.root {
                return Err(self.broken("the tiles", "they do not hash to the checkpoint's root"));
            }
        }
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let changed = tree.append(&leaves);
        let size = tree.size;
        for (level, index) in changed {
            let hashes = tree
                .tiles
                .get(&(level, index))
                .map_or_else(Vec::new, |tile| tile.concat());
            self.put(
                &tile_path(Some(level), index, hashes.len() as u64 / 32),
                hashes,
            )
            .await?;
        }
        let mut index = first / TILE_WIDTH;
        while index * TILE_WIDTH < size {
            let start = index * TILE_WIDTH;
            let mut bundle = Vec::new();
            if start < first {
                bundle.extend_from_slice(&self.get(&tile_path(None, index, first - start)).await?);
            }
            let from = start.max(first);
            let to = size.min(start + TILE_WIDTH);
            for entry in &entries[(from - first) as usize..(to - first) as usize] {
                let length = u16::try_from(entry.len())
                    .map_err(|_| self.broken(&name, "an entry is too long"))?;
                bundle.extend(length.to_be_bytes());
                bundle.extend_from_slice(entry);
            }
            self.put(&tile_path(None, index, to - start), bundle)
                .await?;
            index += 1;
        }
        let root = self.ask(&mut tree, |tree| tree.root(size)).await?;
        let checkpoint = Checkpoint { origin, size, root };
        let note = checkpoint.sign(key)?;
        let put = self
            .bucket
            .put_new(&checkpoint_key(number), note.clone().into())
            .await?;
        if !put {
            // Another writer finished the same batch, perhaps under an older key.
            let head = self.head_at(number).await?;
            return if head.checkpoint == checkpoint {
                Ok(head)
            } else {
                Err(self.broken(&checkpoint_key(number), "it is for another tree"))
            };
        }
        Ok(Head {
            number,
            checkpoint,
            note,
        })
    }
}

pub(super) fn checkpoint_key(number: u64) -> String {
    format!("checkpoints/{number:020}.note")
}

fn batch_key(number: u64) -> String {
    format!("batches/{number:020}.json")
}

fn blob_key(sha256: &str) -> String {
    format!("blobs/{sha256}")
}

/// Entries of a bundle: each has its length in two bytes before it.
pub(super) fn unbundle(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at_checked(2)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let (entry, rest) = rest.split_at_checked(length)?;
        out.push(entry.to_vec());
        bytes = rest;
    }
    Some(out)
}
