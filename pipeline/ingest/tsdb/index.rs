//! Owns the index of a block (format 2): verified whole when the block is opened, then asked for
//! the series that matchers accept. Does not read chunks.

use std::path::Path;

use super::file::{BlockFile, Cursor, be32};
use crate::ingest::prometheus::{Labels, Matcher, SourceError};

const MAGIC: u32 = 0xbaaa_d700;
const HEADER_BYTES: u64 = 5;
const TOC_BYTES: u64 = 52;
/// Series are numbered by their offset in units of this.
const SERIES_ALIGN: u64 = 16;
const READ_AHEAD: usize = 256 << 10;
/// Labels of one series, names and values: each is a reference, so a few bytes can mean gigabytes.
const MAX_LABEL_BYTES: usize = 1 << 20;

/// Where a chunk lies and the (closed) time it spans.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkRef {
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// One series as the index has it.
#[derive(Debug)]
pub(super) struct IndexSeries {
    pub(super) labels: Labels,
    pub(super) chunks: Vec<ChunkRef>,
}

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

struct Toc {
    symbols: u64,
    series: u64,
    label_indices: u64,
    label_table: u64,
    postings: u64,
    postings_table: u64,
}

/// The symbol table's payload and where each string begins in it.
struct Symbols {
    payload: Vec<u8>,
    starts: Vec<u32>,
}

pub(super) struct Index {
    file: BlockFile,
    toc: Toc,
    symbols: Symbols,
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
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let mut file = BlockFile::open(path)?;
        if file.len() < HEADER_BYTES + TOC_BYTES {
            return Err(file.broken("it is too short for an index"));
        }
        let header = file.bytes(0, 5, 0)?;
        let (magic, version) = (be32(header), header.last().copied());
        if magic != MAGIC {
            return Err(file.broken("it does not begin like an index"));
        }
        if version != Some(2) {
            let what = format!("its format is {}, not 2", version.unwrap_or(0));
            return Err(file.broken(what));
        }
        let toc = read_toc(&mut file)?;
        let symbols = Symbols::read(&mut file, toc.symbols)?;
        Ok(Self { file, toc, symbols })
    }

    /// Reads the whole file once: every checksum, every series, and that nothing but zeros lies
    /// between the sections. Later reads of a part may then trust the rest to be consistent.
    pub(super) fn verify(&mut self) -> Result<Summary, SourceError> {
        let toc = &self.toc;
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

    /// The series at an offset, and where it ends.
    fn series_at(&mut self, at: u64) -> Result<(IndexSeries, u64), SourceError> {
        let rest = self.file.len().saturating_sub(at).min(10) as usize;
        let mut cursor = Cursor(self.file.bytes(at, rest, READ_AHEAD)?);
        let len = cursor.uvarint();
        let prefix = (rest - cursor.0.len()) as u64;
        let after = len.and_then(|len| len.checked_add(at + prefix + 4));
        let (Some(len), Some(after)) = (len, after.filter(|after| *after <= self.file.len()))
        else {
            let what = format!("the series at byte {at} is longer than the file");
            return Err(self.file.broken(what));
        };
        let bytes = self.file.bytes(at + prefix, len as usize + 4, READ_AHEAD)?;
        let (body, sum) = bytes.split_at(len as usize);
        let valid = crc32c::crc32c(body) == be32(sum);
        let series = if valid {
            parse_series(body, &self.symbols).ok_or("is malformed")
        } else {
            Err("fails its checksum")
        };
        match series {
            Ok(series) => Ok((series, after)),
            Err(what) => Err(self.file.broken(format!("the series at byte {at} {what}"))),
        }
    }

    pub(super) fn series(&mut self, number: u32) -> Result<IndexSeries, SourceError> {
        Ok(self.series_at(u64::from(number) * SERIES_ALIGN)?.0)
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The numbers, ascending, of the series that may satisfy all matchers; their labels decide.
    pub(super) fn select(&mut self, matchers: &[Matcher]) -> Result<Vec<u32>, SourceError> {
        // A matcher that accepts the absent label has no list of its own.
        let listed: Vec<_> = matchers.iter().filter(|m| !m.accepts_value("")).collect();
        let wanted = self.postings_offsets(&listed)?;
        let mut selected: Option<Vec<u32>> = None;
        for offsets in wanted {
            let mut union = Vec::new();
            for offset in offsets {
                self.read_postings(offset, &mut union)?;
            }
            union.sort_unstable();
            union.dedup();
            selected = Some(match selected {
                None => union,
                Some(mut both) => {
                    both.retain(|number| union.binary_search(number).is_ok());
                    both
                }
            });
        }
        Ok(selected.unwrap_or_default())
    }

    /// Per matcher the offsets of the postings of the values that it accepts; without a matcher
    /// the list of all series, which stands under the empty name.
    fn postings_offsets(&mut self, listed: &[&Matcher]) -> Result<Vec<Vec<u64>>, SourceError> {
        let mut offsets = vec![Vec::new(); listed.len().max(1)];
        if self.toc.postings_table == 0 {
            return Ok(offsets);
        }
        let (body, _) = self.file.section(self.toc.postings_table, 0)?;
        let mut cursor = Cursor(body);
        let mut read = || -> Option<()> {
            for _ in 0..cursor.be32()? {
                if cursor.uvarint()? != 2 {
                    return None;
                }
                let (name, value) = (cursor.string()?, cursor.string()?);
                let offset = cursor.uvarint()?;
                if listed.is_empty() && name.is_empty() {
                    offsets.first_mut()?.push(offset);
                }
                for (matcher, wanted) in listed.iter().zip(&mut offsets) {
                    if matcher.label == name && matcher.accepts_value(value) {
                        wanted.push(offset);
                    }
                }
            }
            cursor.0.is_empty().then_some(())
        };
        if read().is_none() {
            return Err(self.file.broken("its postings offset table is malformed"));
        }
        Ok(offsets)
    }

    fn read_postings(&mut self, at: u64, into: &mut Vec<u32>) -> Result<(), SourceError> {
        let (body, _) = self.file.section(at, READ_AHEAD)?;
        let mut cursor = Cursor(body);
        let count = cursor.be32();
        if count.map(u64::from) != Some(cursor.0.len() as u64 / 4) || cursor.0.len() % 4 != 0 {
            let what = format!("the postings at byte {at} are malformed");
            return Err(self.file.broken(what));
        }
        into.extend(cursor.0.chunks_exact(4).map(be32));
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

fn read_toc(file: &mut BlockFile) -> Result<Toc, SourceError> {
    let end = file.len() - TOC_BYTES;
    let bytes = file.bytes(end, TOC_BYTES as usize, 0)?;
    let (body, sum) = bytes.split_at(TOC_BYTES as usize - 4);
    if crc32c::crc32c(body) != be32(sum) {
        return Err(file.broken("its table of contents fails its checksum (is it cut short?)"));
    }
    let mut cursor = Cursor(body);
    let mut next = || cursor.be64().filter(|at| *at <= end);
    let mut read = || {
        Some(Toc {
            symbols: next()?,
            series: next()?,
            label_indices: next()?,
            label_table: next()?,
            postings: next()?,
            postings_table: next()?,
        })
    };
    let toc = read();
    toc.ok_or_else(|| file.broken("its table of contents points outside the file"))
}

impl Symbols {
    fn read(file: &mut BlockFile, at: u64) -> Result<Self, SourceError> {
        if at == 0 {
            return Err(file.broken("it has no symbols"));
        }
        let (body, _) = file.section(at, 0)?;
        let mut cursor = Cursor(body);
        let mut starts = Vec::new();
        let mut read = || -> Option<()> {
            for _ in 0..cursor.be32()? {
                starts.push(u32::try_from(body.len() - cursor.0.len()).ok()?);
                cursor.string()?;
            }
            cursor.0.is_empty().then_some(())
        };
        if read().is_none() {
            return Err(file.broken("its symbol table is malformed"));
        }
        let payload = body.to_vec();
        Ok(Self { payload, starts })
    }

    fn get(&self, number: u64) -> Option<&str> {
        let start = *self.starts.get(usize::try_from(number).ok()?)?;
        Cursor(self.payload.get(start as usize..)?).string()
    }
}

fn parse_series(body: &[u8], symbols: &Symbols) -> Option<IndexSeries> {
    let mut cursor = Cursor(body);
    let mut pairs = Vec::new();
    let mut label_bytes = 0;
    for _ in 0..cursor.uvarint()? {
        let name = symbols.get(cursor.uvarint()?)?;
        let value = symbols.get(cursor.uvarint()?)?;
        label_bytes += size_of::<(String, String)>() + name.len() + value.len();
        if label_bytes > MAX_LABEL_BYTES {
            return None;
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    let mut chunks = Vec::new();
    let (mut last_ms, mut reference) = (0_i64, 0_u64);
    for index in 0..cursor.uvarint()? {
        let min_ms = if index == 0 {
            cursor.varint()?
        } else {
            last_ms.checked_add_unsigned(cursor.uvarint()?)?
        };
        let max_ms = min_ms.checked_add_unsigned(cursor.uvarint()?)?;
        reference = if index == 0 {
            cursor.uvarint()?
        } else {
            reference.checked_add_signed(cursor.varint()?)?
        };
        last_ms = max_ms;
        chunks.push(ChunkRef {
            min_ms,
            max_ms,
            segment: (reference >> 32) as u32,
            offset: reference as u32,
        });
    }
    cursor.0.is_empty().then_some(IndexSeries {
        labels: Labels::new(pairs),
        chunks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_bytes_cannot_mean_gigabytes_of_labels() {
        let text = "x".repeat(60_000);
        let mut payload = vec![0, 0, 0, 1, 0xe0, 0xd4, 3];
        payload.extend(text.as_bytes());
        let symbols = Symbols {
            payload,
            starts: vec![4],
        };
        let series = |labels: u8| {
            let mut body = vec![labels];
            body.extend(vec![0; 2 * usize::from(labels)]);
            body.push(0);
            parse_series(&body, &symbols)
        };
        let few = series(8).unwrap();
        assert_eq!(few.labels.get(&text), Some(text.as_str()));
        assert!(series(9).is_none());
    }
}
