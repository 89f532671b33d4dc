//! Owns the verification of a whole index on disk, once, when its block is opened. Indexes in a
//! bucket are not read whole: there every part is held against its checksum when it is used.

use super::file::BlockFile;
use super::index::{HEADER_BYTES, Index, IndexSeries, READ_AHEAD, SERIES_ALIGN, TOC_BYTES};
use crate::ingest::prometheus::SourceError;

/// What the verification of an index found.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) series: u64,
    pub(super) chunks: u64,
    /// First and last millisecond of all chunks.
    pub(super) span_ms: Option<(i64, i64)>,
    /// Greatest chunk offset of each segment, by segment.
    pub(super) segments: Vec<Option<u32>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// One section, exactly here.
    Table,
    /// Sections one after the other, aligned to four bytes.
    Sections,
    Series,
    End,
}

impl Index {
    /// Reads the whole file once: every checksum, every series, and that nothing but zeros lies
    /// between the sections. Later reads of a part may then trust the rest to be consistent.
    pub(super) fn verify(&mut self) -> Result<Summary, SourceError> {
        let toc = &self.header().toc;
        let end = self.file.len() - TOC_BYTES;
        let mut parts = vec![(end, Part::End)];
        for (at, part) in [
            (toc.symbols, Part::Table),
            (toc.series, Part::Series),
            (toc.label_indices, Part::Sections),
            (toc.postings, Part::Sections),
            (toc.label_table, Part::Table),
            (toc.postings_table, Part::Table),
        ] {
            if at != 0 {
                parts.push((at, part));
            }
        }
        parts.sort_by_key(|(at, part)| (*at, *part == Part::End));
        let mut summary = Summary::default();
        let mut at = HEADER_BYTES;
        for pair in parts.windows(2) {
            let [(start, part), (stop, _)] = *pair else {
                continue;
            };
            self.expect_zeros(at, start)?;
            if start < at || stop > end {
                return Err(self.file.broken("its sections overlap"));
            }
            at = start;
            if part == Part::Table && start < stop {
                at = self.file.section(start, READ_AHEAD)?.1;
                if at > stop {
                    return Err(self.file.broken("its sections overlap"));
                }
                continue;
            }
            while let Some(next) = self.skip_padding(at, stop, part)? {
                at = match part {
                    Part::Series => {
                        let (series, after) = self.series_at(next)?;
                        summary.add(&series, &self.file)?;
                        after
                    }
                    _ => self.file.section(next, READ_AHEAD)?.1,
                };
                if at > stop {
                    return Err(self.file.broken("its sections overlap"));
                }
            }
            at = stop;
        }
        Ok(summary)
    }

    /// Where the next entry begins at or after `at`, `None` if only padding is left before `stop`.
    fn skip_padding(&mut self, at: u64, stop: u64, part: Part) -> Result<Option<u64>, SourceError> {
        let align = if part == Part::Series {
            SERIES_ALIGN
        } else {
            4
        };
        let next = at.next_multiple_of(align);
        if next >= stop {
            self.expect_zeros(at, stop)?;
            return Ok(None);
        }
        self.expect_zeros(at, next)?;
        Ok(Some(next))
    }

    fn expect_zeros(&mut self, from: u64, to: u64) -> Result<(), SourceError> {
        let len = to.saturating_sub(from);
        if len >= SERIES_ALIGN {
            let what = format!("{len} bytes from byte {from} belong to no section");
            return Err(self.file.broken(what));
        }
        let bytes = self.file.bytes(from, len as usize, READ_AHEAD)?;
        if bytes.iter().any(|byte| *byte != 0) {
            let what = format!("the padding at byte {from} is not zero");
            return Err(self.file.broken(what));
        }
        Ok(())
    }
}

impl Summary {
    fn add(&mut self, series: &IndexSeries, file: &BlockFile) -> Result<(), SourceError> {
        self.series += 1;
        self.chunks += series.chunks.len() as u64;
        for chunk in &series.chunks {
            let span = self.span_ms.get_or_insert((chunk.min_ms, chunk.max_ms));
            *span = (span.0.min(chunk.min_ms), span.1.max(chunk.max_ms));
            let segment = chunk.segment as usize;
            if segment >= 1 << 16 {
                return Err(file.broken("a chunk lies in a segment beyond the 65,536th"));
            }
            if self.segments.len() <= segment {
                self.segments.resize(segment + 1, None);
            }
            if let Some(last) = self.segments.get_mut(segment) {
                *last = (*last).max(Some(chunk.offset));
            }
        }
        Ok(())
    }
}
