//! Owns positioned, buffered reads of one block file, on disk or in a bucket, and the words for
//! what is wrong with it. Never maps memory: a file that shrinks under a mapping kills the process.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::cursor::be32;
use super::remote::RemoteObject;
use crate::ingest::prometheus::SourceError;

const TODO: &str =
    "restore the block from its origin (a fresh snapshot or copy), or move it out of the folder";

/// The longest part of a file that is read at once: symbols and postings of ten million series
/// stay below.
const MAX_PART_BYTES: usize = 256 << 20;

/// The error of a block file: what is wrong, where, what to do.
pub(super) fn broken(path: &Path, what: impl Into<String>) -> SourceError {
    SourceError::Block {
        path: path.to_owned(),
        what: what.into(),
        todo: TODO,
    }
}

enum Backing {
    Local(File),
    Remote(Box<RemoteObject>),
}

/// A file and the part of it that was read last.
pub(super) struct BlockFile {
    path: PathBuf,
    backing: Backing,
    len: u64,
    buffer: Vec<u8>,
    start: u64,
}

impl BlockFile {
    pub(super) fn local(path: &Path) -> Result<Self, SourceError> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len, file) = opened.map_err(|e| {
            // Blocks go whole: where its meta.json is left, a file of it was lost.
            let block = path.ancestors().skip(1).take(2);
            let is_block = block.map(|p| p.join("meta.json")).any(|meta| meta.exists());
            if e.kind() == std::io::ErrorKind::NotFound && !is_block {
                return SourceError::Vanished {
                    path: path.to_owned(),
                };
            }
            broken(path, format!("it cannot be opened ({e})"))
        })?;
        Ok(Self::new(path.to_owned(), Backing::Local(file), len))
    }

    pub(super) fn remote(object: RemoteObject) -> Self {
        let (path, len) = (object.path().to_owned(), object.len());
        Self::new(path, Backing::Remote(Box::new(object)), len)
    }

    const fn new(path: PathBuf, backing: Backing, len: u64) -> Self {
        Self {
            path,
            backing,
            len,
            buffer: Vec::new(),
            start: 0,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn broken(&self, what: impl Into<String>) -> SourceError {
        broken(&self.path, what)
    }

    /// Says which parts will be asked for, ascending; a bucket fetches them ahead, those that lie
    /// within `gap` of each other as one. What was said before is forgotten.
    pub(super) fn will_read(&mut self, parts: impl Iterator<Item = Range<u64>>, gap: u64) {
        if let Backing::Remote(object) = &mut self.backing {
            object.plan(parts, gap);
        }
    }

    /// `len` bytes at `at`; where the file must be touched, up to `ahead` bytes are read at once.
    pub(super) fn bytes(
        &mut self,
        at: u64,
        len: usize,
        ahead: usize,
    ) -> Result<&[u8], SourceError> {
        let end = at.checked_add(len as u64).filter(|end| *end <= self.len);
        let Some(end) = end else {
            let what = format!(
                "it ends at byte {} where byte {at} and {len} more should be",
                self.len
            );
            return Err(self.broken(what));
        };
        if len > MAX_PART_BYTES {
            let what = format!("{len} bytes at byte {at} belong together, more than are read");
            return Err(self.broken(what));
        }
        if at < self.start || end > self.start + self.buffer.len() as u64 {
            self.fill(at, len, ahead)?;
        }
        let from = (at - self.start) as usize;
        self.buffer
            .get(from..from + len)
            .ok_or_else(|| broken(&self.path, "it changed while it was read"))
    }

    fn fill(&mut self, at: u64, len: usize, ahead: usize) -> Result<(), SourceError> {
        let size = (len.max(ahead) as u64).min(self.len - at) as usize;
        match &mut self.backing {
            Backing::Local(file) => {
                self.buffer.resize(size, 0);
                self.start = at;
                if let Err(error) = file.read_exact_at(&mut self.buffer, at) {
                    self.buffer.clear();
                    return Err(self.broken(format!("reading byte {at} failed ({error})")));
                }
            }
            Backing::Remote(object) => {
                // What is here of it stays; the rest comes in the pieces that were planned.
                let held = self.start..self.start + self.buffer.len() as u64;
                if held.contains(&at) {
                    self.buffer.drain(..(at - self.start) as usize);
                } else {
                    self.buffer.clear();
                }
                self.start = at;
                let end = at + len as u64;
                loop {
                    let next = at + self.buffer.len() as u64;
                    if next >= end {
                        break;
                    }
                    let wanted = if self.buffer.is_empty() {
                        at + size as u64
                    } else {
                        end
                    };
                    object.read_into(&mut self.buffer, next..wanted)?;
                }
            }
        }
        Ok(())
    }

    /// A section: four bytes of length, the bytes, their checksum. Returns where the next begins.
    pub(super) fn section(&mut self, at: u64, ahead: usize) -> Result<(&[u8], u64), SourceError> {
        let len = be32(self.bytes(at, 4, ahead)?);
        let whole = u64::from(len) + 8;
        if whole > self.len.saturating_sub(at) {
            let what = format!("the section at byte {at} is longer than the file");
            return Err(self.broken(what));
        }
        let path = self.path.clone();
        let bytes = self.bytes(at, whole as usize, ahead)?;
        let (_, rest) = bytes.split_at(4);
        let (body, sum) = rest.split_at(len as usize);
        if crc32c::crc32c(body) != be32(sum) {
            return Err(broken(
                &path,
                format!("the section at byte {at} fails its checksum"),
            ));
        }
        Ok((body, at + whole))
    }
}
