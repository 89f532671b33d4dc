//! Owns a block's chunk segments: finds a chunk's bytes and checks their checksum.

use std::ops::Range;

use super::choose::Block;
use super::cursor::{Cursor, be32};
use super::file::{BlockFile, broken};
use super::index::ChunkRef;
use super::place::{Place, join};
use crate::ingest::prometheus::SourceError;

const MAGIC: u32 = 0x85bd_40dd;
const HEADER_BYTES: u64 = 8;
/// Read at once where chunks follow each other without a gap.
const READ_AHEAD: usize = 256 << 10;
/// More than most chunks have: read behind the last chunk of a series, whose length is unknown.
const CHUNK_GUESS: usize = 1 << 10;
/// No encoder writes longer ones: a chunk has at most 65,535 samples.
const MAX_CHUNK_BYTES: u64 = 64 << 20;
/// What lies between two wanted chunks in a bucket is fetched with them if it is no more than this.
const CHUNK_GAP: u64 = 64 << 10;

/// The segment that was read last; series come in the order of their chunks.
pub(super) struct Segments<'a> {
    place: &'a Place,
    block: &'a Block,
    open: Option<(u32, BlockFile)>,
    /// Where the last chunk ended.
    end: u64,
    /// Parts of segments that will be asked for.
    planned: Vec<(u32, Range<u64>)>,
}

/// Opens a segment and checks its header; segments are numbered from 0, their files from 1.
pub(super) fn open(place: &Place, block: &Block, segment: u32) -> Result<BlockFile, SourceError> {
    let name = format!("chunks/{:06}", u64::from(segment) + 1);
    let key = join(&block.key, &name);
    let Some(size) = block.files.get(&name) else {
        return Err(broken(
            &place.path(&key),
            "it is missing: the block was not copied whole",
        ));
    };
    let mut file = place.open(&key, *size)?;
    if let Place::Bucket(remote) = place
        && remote.is_checked(&key)
    {
        return Ok(file);
    }
    if file.len() < HEADER_BYTES {
        return Err(file.broken("it is too short for a chunk segment"));
    }
    let header = file.bytes(0, HEADER_BYTES as usize, 0)?;
    if be32(header) != MAGIC {
        return Err(file.broken("it does not begin like a chunk segment"));
    }
    if header.get(4..) != Some(&[1, 0, 0, 0]) {
        return Err(file.broken("its format is not version 1"));
    }
    if let Place::Bucket(remote) = place {
        remote.mark_checked(&key);
    }
    Ok(file)
}

impl<'a> Segments<'a> {
    pub(super) const fn new(place: &'a Place, block: &'a Block) -> Self {
        Self {
            place,
            block,
            open: None,
            end: 0,
            planned: Vec::new(),
        }
    }

    /// Says which series' chunks will be asked for, in order.
    pub(super) fn will_read<'b>(&mut self, series: impl Iterator<Item = &'b [ChunkRef]>) {
        // A disk needs no plan: its pages are read ahead by the system.
        if matches!(self.place, Place::Folder(_)) {
            return;
        }
        self.planned.clear();
        for chunks in series {
            let following = chunks.iter().skip(1).map(Some).chain([None]);
            for (chunk, next) in chunks.iter().zip(following) {
                let start = u64::from(chunk.offset);
                // Chunks of a series follow each other: where the next begins, this one ends.
                let close = next.filter(|next| {
                    let apart = u64::from(next.offset).saturating_sub(start);
                    next.segment == chunk.segment && (1..=CHUNK_GAP).contains(&apart)
                });
                let end = close.map_or(start + CHUNK_GUESS as u64, |n| u64::from(n.offset));
                self.planned.push((chunk.segment, start..end));
            }
        }
        self.announce();
    }

    /// Tells the open segment what will be asked of it.
    fn announce(&mut self) {
        if let Some((segment, file)) = &mut self.open {
            let mine = self.planned.iter().filter(|(of, _)| of == segment);
            file.will_read(mine.map(|(_, part)| part.clone()), CHUNK_GAP);
        }
    }

    /// Hands the encoding byte and the bytes of one chunk to `use_chunk`, whose error becomes the
    /// file's. `last` is the last chunk that this series will ask for.
    pub(super) fn with_chunk<E: std::fmt::Display>(
        &mut self,
        chunk: ChunkRef,
        last: ChunkRef,
        use_chunk: impl FnOnce(u8, &[u8]) -> Result<(), E>,
    ) -> Result<(), SourceError> {
        if self
            .open
            .as_ref()
            .is_none_or(|(at, _)| *at != chunk.segment)
        {
            let file = open(self.place, self.block, chunk.segment)?;
            self.open = Some((chunk.segment, file));
            self.end = 0;
            self.announce();
        }
        let Some((_, file)) = &mut self.open else {
            return Ok(());
        };
        let at = u64::from(chunk.offset);
        let ahead = if at == self.end {
            READ_AHEAD
        } else if last.segment == chunk.segment {
            let span = last.offset.saturating_sub(chunk.offset) as usize;
            (span + CHUNK_GUESS).min(READ_AHEAD)
        } else {
            READ_AHEAD
        };
        let rest = file.len().saturating_sub(at).min(10) as usize;
        let mut cursor = Cursor(file.bytes(at, rest.max(1), ahead)?);
        let len = cursor.uvarint();
        let prefix = (rest - cursor.0.len()) as u64;
        // The encoding byte and the checksum are not in the length.
        let whole = len.and_then(|len| len.checked_add(prefix + 5));
        let fits = whole.filter(|whole| *whole <= file.len().saturating_sub(at));
        let (Some(len), Some(whole)) = (len, fits) else {
            let what = format!("the chunk at byte {at} is longer than the file");
            return Err(file.broken(what));
        };
        if len > MAX_CHUNK_BYTES {
            let what = format!("the chunk at byte {at} has {len} bytes, more than any has");
            return Err(file.broken(what));
        }
        self.end = at + whole;
        let bytes = file.bytes(at + prefix, len as usize + 5, ahead)?;
        let (checked, sum) = bytes.split_at(len as usize + 1);
        let outcome = match checked.split_first() {
            _ if crc32c::crc32c(checked) != be32(sum) => Err("it fails its checksum".to_owned()),
            Some((encoding, data)) => use_chunk(*encoding, data).map_err(|e| e.to_string()),
            None => Err("it is empty".to_owned()),
        };
        outcome.map_err(|what| file.broken(format!("the chunk at byte {at}: {what}")))
    }
}
