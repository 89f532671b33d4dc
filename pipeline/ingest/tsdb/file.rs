//! Owns positioned, buffered reads of one block file and the words for what is wrong with it.
//! Never maps memory: a file that shrinks under a mapping kills the process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::ingest::prometheus::SourceError;

const TODO: &str =
    "restore the block from its origin (a fresh snapshot or copy), or move it out of the folder";

/// The error of a block file: what is wrong, where, what to do.
pub(super) fn broken(path: &Path, what: impl Into<String>) -> SourceError {
    SourceError::Block {
        path: path.to_owned(),
        what: what.into(),
        todo: TODO,
    }
}

/// A file and the part of it that was read last.
pub(super) struct BlockFile {
    path: PathBuf,
    file: File,
    len: u64,
    buffer: Vec<u8>,
    start: u64,
}

impl BlockFile {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len, file) = opened.map_err(|e| broken(path, format!("it cannot be opened ({e})")))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
            buffer: Vec::new(),
            start: 0,
        })
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
        if at < self.start || end > self.start + self.buffer.len() as u64 {
            let size = (len.max(ahead) as u64).min(self.len - at) as usize;
            self.buffer.resize(size, 0);
            self.start = at;
            if let Err(error) = self.file.read_exact_at(&mut self.buffer, at) {
                self.buffer.clear();
                return Err(self.broken(format!("reading byte {at} failed ({error})")));
            }
        }
        let from = (at - self.start) as usize;
        self.buffer
            .get(from..from + len)
            .ok_or_else(|| broken(&self.path, "it changed while it was read"))
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

/// The big-endian number that the slice begins with; shorter slices count as padded with zeros.
pub(super) fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |b| u32::from_be_bytes(*b))
}

/// Reads numbers and strings off a slice; every read is `None` past the end.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn be32(&mut self) -> Option<u32> {
        self.take(4).map(be32)
    }

    pub(super) fn be64(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*head))
    }

    pub(super) fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            if shift == 63 && *byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn varint(&mut self) -> Option<i64> {
        let zigzag = self.uvarint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    pub(super) fn string(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.uvarint()?).ok()?;
        std::str::from_utf8(self.take(len)?).ok()
    }
}
