//! Owns the index of a block (format 2), asked for the series that matchers accept. Whatever is
//! read of it is held against its checksum. Does not read chunks.

use std::path::Path;
use std::sync::Arc;

use super::cursor::{Cursor, be32};
use super::file::BlockFile;
use crate::ingest::prometheus::{Labels, Matcher, SourceError};

const MAGIC: u32 = 0xbaaa_d700;
pub(super) const HEADER_BYTES: u64 = 5;
pub(super) const TOC_BYTES: u64 = 52;
/// Series are numbered by their offset in units of this.
pub(super) const SERIES_ALIGN: u64 = 16;
pub(super) const READ_AHEAD: usize = 256 << 10;
/// Read at once of a list of postings that was not announced.
const POSTINGS_AHEAD: usize = 256 << 10;
/// More than most lists of postings and most series have: what is planned of each in a bucket.
const POSTINGS_GUESS: u64 = 4 << 10;
const SERIES_GUESS: u64 = 512;
/// What lies between two wanted parts is fetched with them if it is no more than this.
const INDEX_GAP: u64 = 32 << 10;
/// Read at once of the header's parts, whose lengths the table of contents suggests.
const HEADER_AHEAD: u64 = 64 << 20;
/// A series of a million chunks stays below.
const MAX_SERIES_BYTES: u64 = 16 << 20;
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

pub(super) struct Toc {
    pub(super) symbols: u64,
    pub(super) series: u64,
    pub(super) label_indices: u64,
    pub(super) label_table: u64,
    pub(super) postings: u64,
    pub(super) postings_table: u64,
}

/// What every read of an index needs: read once of a block in a bucket.
pub(super) struct Header {
    pub(super) toc: Toc,
    symbols: Symbols,
    /// The body of the postings offset table.
    postings: Vec<u8>,
}

/// The symbol table's payload and where each string begins in it.
struct Symbols {
    payload: Vec<u8>,
    starts: Vec<u32>,
}

pub(super) struct Index {
    pub(super) file: BlockFile,
    header: Arc<Header>,
}

impl Index {
    /// Opens an index; `known` is its header, if it was read before.
    pub(super) fn open(
        mut file: BlockFile,
        known: Option<Arc<Header>>,
    ) -> Result<Self, SourceError> {
        let header = match known {
            Some(header) => header,
            None => Arc::new(Header::read(&mut file)?),
        };
        Ok(Self { file, header })
    }

    pub(super) fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// The series at an offset, and where it ends.
    pub(super) fn series_at(&mut self, at: u64) -> Result<(IndexSeries, u64), SourceError> {
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
        if len > MAX_SERIES_BYTES {
            let what = format!("the series at byte {at} has {len} bytes, more than any has");
            return Err(self.file.broken(what));
        }
        let bytes = self.file.bytes(at + prefix, len as usize + 4, READ_AHEAD)?;
        let (body, sum) = bytes.split_at(len as usize);
        let valid = crc32c::crc32c(body) == be32(sum);
        let series = if valid {
            parse_series(body, &self.header.symbols).ok_or("is malformed")
        } else {
            Err("fails its checksum")
        };
        match series {
            Ok(series) => Ok((series, after)),
            Err(what) => Err(self.file.broken(format!("the series at byte {at} {what}"))),
        }
    }

    /// Says which series will be asked for.
    pub(super) fn will_read(&mut self, numbers: &[u32]) {
        let parts = numbers.iter().map(|number| {
            let at = u64::from(*number) * SERIES_ALIGN;
            at..at + SERIES_GUESS
        });
        self.file.will_read(parts, INDEX_GAP);
    }

    pub(super) fn series(&mut self, number: u32) -> Result<IndexSeries, SourceError> {
        Ok(self.series_at(u64::from(number) * SERIES_ALIGN)?.0)
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The numbers, ascending, of the series that may satisfy all matchers, in a block whose
    /// series get the labels `external` where they have none of that name; their labels decide.
    pub(super) fn select(
        &mut self,
        matchers: &[Matcher],
        external: &Labels,
    ) -> Result<Vec<u32>, SourceError> {
        // A matcher that accepts what a series without the label gets has no list of its own.
        let listed: Vec<_> = matchers
            .iter()
            .filter(|m| !m.accepts_value(external.get(&m.label).unwrap_or("")))
            .collect();
        let wanted = self.postings_offsets(&listed)?;
        let mut selected: Option<Vec<u32>> = None;
        for offsets in wanted {
            let parts = offsets.iter().map(|at| *at..at + POSTINGS_GUESS);
            self.file.will_read(parts, INDEX_GAP);
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

    /// Whether any of the series, ascending, has a label of its own by this name.
    pub(super) fn has_label(&mut self, name: &str, numbers: &[u32]) -> Result<bool, SourceError> {
        let any = Matcher::not_equal(name, "");
        let mut holders = Vec::new();
        for offset in self.postings_offsets(&[&any])?.into_iter().flatten() {
            self.read_postings(offset, &mut holders)?;
            if holders.iter().any(|n| numbers.binary_search(n).is_ok()) {
                return Ok(true);
            }
            holders.clear();
        }
        Ok(false)
    }

    /// Per matcher the offsets of the postings of the values that it accepts; without a matcher
    /// the list of all series, which stands under the empty name.
    fn postings_offsets(&self, listed: &[&Matcher]) -> Result<Vec<Vec<u64>>, SourceError> {
        let mut offsets = vec![Vec::new(); listed.len().max(1)];
        if self.header.postings.is_empty() {
            return Ok(offsets);
        }
        let end = self.file.len();
        let mut cursor = Cursor(&self.header.postings);
        let mut read = || -> Option<()> {
            for _ in 0..cursor.be32()? {
                if cursor.uvarint()? != 2 {
                    return None;
                }
                let (name, value) = (cursor.string()?, cursor.string()?);
                let offset = cursor.uvarint().filter(|offset| *offset < end)?;
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
        let (body, _) = self.file.section(at, POSTINGS_AHEAD)?;
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

impl Header {
    fn read(file: &mut BlockFile) -> Result<Self, SourceError> {
        if file.len() < HEADER_BYTES + TOC_BYTES {
            return Err(file.broken("it is too short for an index"));
        }
        let toc = read_toc(file)?;
        // Symbols lie between the first bytes and the series: one request brings both.
        let ahead = toc.series.min(HEADER_AHEAD) as usize;
        let header = file.bytes(0, 5, ahead)?;
        let (magic, version) = (be32(header), header.last().copied());
        if magic != MAGIC {
            return Err(file.broken("it does not begin like an index"));
        }
        if version != Some(2) {
            let what = format!("its format is {}, not 2", version.unwrap_or(0));
            return Err(file.broken(what));
        }
        let symbols = Symbols::read(file, toc.symbols)?;
        let mut postings = Vec::new();
        if toc.postings_table != 0 {
            let rest = file.len() - TOC_BYTES - toc.postings_table;
            let ahead = rest.min(HEADER_AHEAD) as usize;
            postings = file.section(toc.postings_table, ahead)?.0.to_vec();
        }
        Ok(Self {
            toc,
            symbols,
            postings,
        })
    }

    /// The memory that it takes, about.
    pub(super) const fn bytes(&self) -> usize {
        self.postings.len() + self.symbols.payload.len() + self.symbols.starts.len() * 4
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
