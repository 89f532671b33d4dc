//! Owns a block's `meta.json` and its `tombstones`.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use serde::Deserialize;

use super::file::{Cursor, be32, broken};
use crate::ingest::prometheus::SourceError;

/// Neither file grows with the samples; larger than this it is not what it says.
const MAX_BYTES: u64 = 256 << 20;
const TOMBSTONES_MAGIC: u32 = 0x0130_ba30;

/// Deleted time ranges (closed) by series number.
pub(super) type Tombstones = BTreeMap<u64, Vec<RangeInclusive<i64>>>;

#[derive(Debug, Deserialize)]
pub(super) struct Meta {
    version: u32,
    #[serde(default)]
    pub(super) stats: Stats,
    #[serde(default)]
    thanos: Option<Thanos>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Stats {
    pub(super) num_series: u64,
    pub(super) num_chunks: u64,
}

#[derive(Debug, Deserialize)]
struct Thanos {
    #[serde(default)]
    downsample: Downsample,
}

#[derive(Debug, Default, Deserialize)]
struct Downsample {
    #[serde(default)]
    resolution: i64,
}

impl Meta {
    pub(super) fn read(block: &Path) -> Result<Self, SourceError> {
        let path = block.join("meta.json");
        let bytes = read_whole(&path)?
            .ok_or_else(|| broken(&path, "it is missing: the block was not copied whole"))?;
        let meta: Self = serde_json::from_slice(&bytes)
            .map_err(|e| broken(&path, format!("it is not a block's meta.json ({e})")))?;
        if meta.version != 1 {
            let what = format!("its version is {}, not 1", meta.version);
            return Err(broken(&path, what));
        }
        Ok(meta)
    }

    /// Whether Thanos made this block of aggregates of another: it repeats what that one holds.
    pub(super) fn is_downsampled(&self) -> bool {
        self.thanos
            .as_ref()
            .is_some_and(|thanos| thanos.downsample.resolution > 0)
    }
}

/// The block's deletions that were not yet carried out; without the file there are none.
pub(super) fn read_tombstones(block: &Path) -> Result<Tombstones, SourceError> {
    let path = block.join("tombstones");
    let Some(bytes) = read_whole(&path)? else {
        return Ok(Tombstones::new());
    };
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

/// The whole file, `None` if there is none.
fn read_whole(path: &Path) -> Result<Option<Vec<u8>>, SourceError> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(broken(path, format!("it cannot be opened ({error})"))),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| broken(path, format!("reading it failed ({e})")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(broken(path, "it is larger than 256 MiB"));
    }
    Ok(Some(bytes))
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
