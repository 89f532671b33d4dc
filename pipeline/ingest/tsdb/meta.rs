//! Owns a block's `meta.json` and its `tombstones`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use serde::Deserialize;

use super::choose::Block;
use super::cursor::{Cursor, be32};
use super::file::broken;
use super::place::{Place, join};
use crate::ingest::prometheus::SourceError;

/// A block compacted from a hundred thousand others names them in less.
pub(super) const MAX_META_BYTES: u64 = 16 << 20;
/// Ten million deletions.
const MAX_TOMBSTONES_BYTES: u64 = 256 << 20;
const TOMBSTONES_MAGIC: u32 = 0x0130_ba30;
/// Mimir's label of a block that holds one shard of the series: `1_of_4`.
const SHARD_LABEL: &str = "__compactor_shard_id__";

/// Deleted time ranges (closed) by series number.
pub(super) type Tombstones = BTreeMap<u64, Vec<RangeInclusive<i64>>>;

#[derive(Debug, Deserialize)]
pub(super) struct Meta {
    version: u32,
    #[serde(default)]
    pub(super) ulid: String,
    #[serde(rename = "minTime")]
    pub(super) min_ms: i64,
    /// The first millisecond after the block's samples.
    #[serde(rename = "maxTime")]
    pub(super) max_ms: i64,
    #[serde(default)]
    pub(super) stats: Stats,
    #[serde(default)]
    pub(super) compaction: Compaction,
    #[serde(default)]
    thanos: Option<Thanos>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "as they stand in the file")]
pub(super) struct Stats {
    pub(super) num_samples: u64,
    pub(super) num_series: u64,
    pub(super) num_chunks: u64,
}

/// What the block was made from. The names are compared with those of other blocks, never opened.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Compaction {
    pub(super) level: u32,
    pub(super) sources: Option<Vec<String>>,
    parents: Option<Vec<Parent>>,
}

#[derive(Debug, Deserialize)]
struct Parent {
    #[serde(default)]
    ulid: String,
}

#[derive(Debug, Deserialize)]
struct Thanos {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    downsample: Downsample,
}

#[derive(Debug, Default, Deserialize)]
struct Downsample {
    #[serde(default)]
    resolution: i64,
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

impl Meta {
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self, SourceError> {
        let meta: Self = serde_json::from_slice(text)
            .map_err(|e| broken(path, format!("it is not a block's meta.json ({e})")))?;
        if meta.version != 1 {
            let what = format!("its version is {}, not 1", meta.version);
            return Err(broken(path, what));
        }
        Ok(meta)
    }

    /// Whether Thanos made this block of aggregates of another: it repeats what that one holds.
    pub(super) fn is_downsampled(&self) -> bool {
        self.thanos
            .as_ref()
            .is_some_and(|thanos| thanos.downsample.resolution != 0)
    }

    /// The external labels of the Prometheus that wrote it, and the stores' own notes.
    pub(super) fn labels(&self) -> &BTreeMap<String, String> {
        let thanos = self.thanos.as_ref();
        thanos.and_then(|t| t.labels.as_ref()).unwrap_or(&NO_LABELS)
    }

    /// Which of how many shards of the series it holds.
    pub(super) fn shard(&self) -> Option<(u32, u32)> {
        let (index, count) = self.labels().get(SHARD_LABEL)?.split_once("_of_")?;
        let (index, count) = (index.parse().ok()?, count.parse().ok()?);
        (1 <= index && index <= count).then_some((index, count))
    }

    pub(super) fn has_parent(&self, id: &str) -> bool {
        let mut parents = self.compaction.parents.iter().flatten();
        parents.any(|parent| parent.ulid == id)
    }
}

/// The block's deletions that were not yet carried out; without the file there are none.
pub(super) fn read_tombstones(place: &Place, block: &Block) -> Result<Tombstones, SourceError> {
    let Some(size) = block.files.get("tombstones") else {
        return Ok(Tombstones::new());
    };
    let key = join(&block.key, "tombstones");
    let path = place.path(&key);
    if *size > MAX_TOMBSTONES_BYTES {
        return Err(broken(&path, "it is larger than 256 MiB"));
    }
    let read = place.whole(&[(key, *size)])?.pop().flatten();
    let bytes = read.ok_or_else(|| SourceError::Vanished { path: path.clone() })?;
    parse_tombstones(&bytes).map_err(|what| broken(&path, what))
}

fn parse_tombstones(bytes: &[u8]) -> Result<Tombstones, &'static str> {
    const CUT: &str = "it is cut short";
    let (content, sum) = bytes.split_last_chunk::<4>().ok_or(CUT)?;
    let mut cursor = Cursor(content);
    if cursor.be32().ok_or(CUT)? != TOMBSTONES_MAGIC {
        return Err("it is not a tombstones file");
    }
    if cursor.take(1).ok_or(CUT)? != [1] {
        return Err("its format is not version 1");
    }
    if crc32c::crc32c(cursor.0) != be32(sum) {
        return Err("it fails its checksum");
    }
    let mut tombstones = Tombstones::new();
    while !cursor.0.is_empty() {
        let series = cursor.uvarint().ok_or(CUT)?;
        let from_ms = cursor.varint().ok_or(CUT)?;
        let to_ms = cursor.varint().ok_or(CUT)?;
        tombstones.entry(series).or_default().push(from_ms..=to_ms);
    }
    Ok(tombstones)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tombstones_of_any_bytes_never_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..80), sealed in any::<bool>(),
        ) {
            if sealed && bytes.len() > 9 {
                bytes[..5].copy_from_slice(&[0x01, 0x30, 0xba, 0x30, 1]);
                let end = bytes.len() - 4;
                let sum = crc32c::crc32c(&bytes[5..end]).to_be_bytes();
                bytes[end..].copy_from_slice(&sum);
            }
            let _ = parse_tombstones(&bytes);
        }
    }
}
