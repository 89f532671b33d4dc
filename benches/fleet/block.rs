//! Owns the writer of TSDB blocks (index format 2, chunks of 120 samples in XOR code, as a
//! Prometheus cuts them), so that a fleet of any size can be stored without a scraper. A real
//! Prometheus loads what it writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Fleet;
use super::series::Series;
use crate::encode;

const SAMPLES_PER_CHUNK: usize = 120;
const SEGMENT_BYTES: u64 = 512 << 20;
const ULID: &str = "01JBENCH000000000000000000";

/// What a block holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Written {
    pub(crate) samples: u64,
    pub(crate) series: u64,
    pub(crate) chunks: u64,
}

fn uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint(out: &mut Vec<u8>, value: i64) {
    uvarint(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn text(out: &mut Vec<u8>, value: &str) {
    uvarint(out, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

/// The chunk files of a block.
struct Segments {
    folder: PathBuf,
    number: u64,
    file: BufWriter<File>,
    at: u64,
}

impl Segments {
    fn open(folder: &Path, number: u64) -> io::Result<BufWriter<File>> {
        let file = File::create(folder.join(format!("{:06}", number + 1)))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&[0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0])?;
        Ok(file)
    }

    fn new(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let file = Self::open(&folder, 0)?;
        Ok(Self {
            folder,
            number: 0,
            file,
            at: 8,
        })
    }

    /// Writes a chunk and gives its reference.
    fn add(&mut self, data: &[u8]) -> io::Result<u64> {
        if self.at + data.len() as u64 + 16 > SEGMENT_BYTES {
            self.file.flush()?;
            self.number += 1;
            self.file = Self::open(&self.folder, self.number)?;
            self.at = 8;
        }
        let reference = self.number << 32 | self.at;
        let mut head = Vec::with_capacity(16);
        uvarint(&mut head, data.len() as u64);
        let prefix = head.len();
        head.push(1);
        let sum = crc32c::crc32c_append(crc32c::crc32c(&head[prefix..]), data);
        self.file.write_all(&head)?;
        self.file.write_all(data)?;
        self.file.write_all(&sum.to_be_bytes())?;
        self.at += (head.len() + data.len() + 4) as u64;
        Ok(reference)
    }
}

struct IndexWriter {
    bytes: Vec<u8>,
}

impl IndexWriter {
    /// A section: its length, what it holds, its checksum. Gives where it begins.
    fn section(&mut self, body: &[u8]) -> u64 {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
        let at = self.bytes.len() as u64;
        self.bytes.extend((body.len() as u32).to_be_bytes());
        self.bytes.extend(body);
        self.bytes.extend(crc32c::crc32c(body).to_be_bytes());
        at
    }
}

/// Writes a fleet as one block below `folder`.
pub(crate) fn write(fleet: &Fleet, folder: &Path) -> io::Result<Written> {
    let block = folder.join(ULID);
    let mut segments = Segments::new(block.join("chunks"))?;
    let all = fleet.series();
    let symbols = symbols(&all);
    let number: BTreeMap<&str, u64> = symbols.iter().copied().zip(0..).collect();
    let mut index = IndexWriter {
        bytes: vec![0xba, 0xaa, 0xd7, 0x00, 2],
    };
    let mut body = (symbols.len() as u32).to_be_bytes().to_vec();
    for symbol in &symbols {
        text(&mut body, symbol);
    }
    let symbols_at = {
        // Right behind the header, whatever the alignment.
        let at = index.bytes.len() as u64;
        index.bytes.extend((body.len() as u32).to_be_bytes());
        index.bytes.extend(&body);
        index.bytes.extend(crc32c::crc32c(&body).to_be_bytes());
        at
    };
    let mut written = Written::default();
    let mut postings: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    let mut samples = Vec::new();
    index
        .bytes
        .resize(index.bytes.len().next_multiple_of(16), 0);
    let series_at = index.bytes.len() as u64;
    for series in &all {
        series.samples(&mut samples);
        if samples.is_empty() {
            continue;
        }
        index
            .bytes
            .resize(index.bytes.len().next_multiple_of(16), 0);
        let reference = (index.bytes.len() / 16) as u32;
        for (name, value) in std::iter::once(("", "")).chain(pairs(series)) {
            postings.entry((name, value)).or_default().push(reference);
        }
        let entry = entry(series, &number, &samples, &mut segments)?;
        uvarint(&mut index.bytes, entry.len() as u64);
        index.bytes.extend(&entry);
        index.bytes.extend(crc32c::crc32c(&entry).to_be_bytes());
        written.series += 1;
        written.chunks += samples.len().div_ceil(SAMPLES_PER_CHUNK) as u64;
        written.samples += samples.len() as u64;
    }
    segments.file.flush()?;
    finish(&mut index, [symbols_at, series_at], &postings);
    std::fs::write(block.join("index"), &index.bytes)?;
    let meta = format!(
        "{{\"ulid\":\"{ULID}\",\"minTime\":{},\"maxTime\":{},\"stats\":{{\"numSamples\":{},\
         \"numSeries\":{},\"numChunks\":{}}},\"compaction\":{{\"level\":1,\"sources\":[\"{ULID}\"]}},\
         \"version\":1}}",
        super::START_MS,
        fleet.end_ms() + super::STEP_MS,
        written.samples,
        written.series,
        written.chunks
    );
    std::fs::write(block.join("meta.json"), meta)?;
    Ok(written)
}

fn pairs(series: &Series) -> impl Iterator<Item = (&str, &str)> {
    series.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()))
}

fn symbols(all: &[Series]) -> Vec<&str> {
    let set: BTreeSet<&str> = all
        .iter()
        .flat_map(|series| pairs(series).flat_map(|(name, value)| [name, value]))
        .collect();
    set.into_iter().collect()
}

/// Writes a series' chunks and gives what the index says of it.
fn entry(
    series: &Series,
    number: &BTreeMap<&str, u64>,
    samples: &[(i64, u64)],
    segments: &mut Segments,
) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    uvarint(&mut out, series.labels.len() as u64);
    for (name, value) in pairs(series) {
        uvarint(&mut out, number[name]);
        uvarint(&mut out, number[value]);
    }
    uvarint(&mut out, samples.len().div_ceil(SAMPLES_PER_CHUNK) as u64);
    let mut before: Option<(i64, u64)> = None;
    for chunk in samples.chunks(SAMPLES_PER_CHUNK) {
        let reference = segments.add(&encode::xor(chunk))?;
        let (min_ms, max_ms) = (chunk[0].0, chunk[chunk.len() - 1].0);
        match before {
            None => {
                varint(&mut out, min_ms);
                uvarint(&mut out, (max_ms - min_ms) as u64);
                uvarint(&mut out, reference);
            }
            Some((last_ms, last)) => {
                uvarint(&mut out, (min_ms - last_ms) as u64);
                uvarint(&mut out, (max_ms - min_ms) as u64);
                varint(&mut out, reference as i64 - last as i64);
            }
        }
        before = Some((max_ms, reference));
    }
    Ok(out)
}

/// Postings, their table, and the table of contents.
fn finish(
    index: &mut IndexWriter,
    [symbols_at, series_at]: [u64; 2],
    postings: &BTreeMap<(&str, &str), Vec<u32>>,
) {
    index.bytes.resize(index.bytes.len().next_multiple_of(4), 0);
    let postings_at = index.bytes.len() as u64;
    let mut table = (postings.len() as u32).to_be_bytes().to_vec();
    for ((name, value), references) in postings {
        let mut body = (references.len() as u32).to_be_bytes().to_vec();
        body.extend(references.iter().flat_map(|r| r.to_be_bytes()));
        let at = index.section(&body);
        table.push(2);
        text(&mut table, name);
        text(&mut table, value);
        uvarint(&mut table, at);
    }
    let table_at = index.section(&table);
    let mut toc = Vec::new();
    for at in [symbols_at, series_at, 0, 0, postings_at, table_at] {
        toc.extend(at.to_be_bytes());
    }
    let sum = crc32c::crc32c(&toc);
    index.bytes.extend(toc);
    index.bytes.extend(sum.to_be_bytes());
}
