//! Owns the read of one window over several blocks: their series merged by labels, each series'
//! chunks gathered from all blocks that hold it, external labels added.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::choose::Block;
use super::file::broken;
use super::headers::Headers;
use super::index::{ChunkRef, Index, IndexSeries};
use super::meta::{self, Tombstones};
use super::place::{Place, join};
use super::segment::Segments;
use crate::ingest::prometheus::chunks::Encoding;
use crate::ingest::prometheus::{Labels, Matcher, SeriesBuilder, SeriesSamples, SourceError};
use crate::model::TimeWindow;

/// Series of a block whose chunks are announced together: enough to fetch megabytes at a time from
/// a bucket, few enough that forty blocks at once fit into memory.
const BATCH_IN_BUCKET: usize = 4096;
const BATCH_ON_DISK: usize = 64;

/// How far a read has come: everything up to here was handed over. Reads of the same samples from
/// other blocks come by in the same order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Position {
    /// External labels of a group of blocks, and the labels of its series as they are in it.
    Group(Labels, Labels),
    /// Where series wait until all groups were read: their final labels.
    Deferred(Labels),
}

/// What a read needs besides the blocks.
pub(super) struct Read<'a> {
    pub(super) place: &'a Place,
    pub(super) headers: &'a Headers,
    pub(super) matchers: &'a [Matcher],
    pub(super) window: TimeWindow,
}

/// One block on its way through its selected series.
struct BlockCursor<'a> {
    read: &'a Read<'a>,
    block: &'a Block,
    index: Index,
    segments: Segments<'a>,
    tombstones: Tombstones,
    selected: VecDeque<u32>,
    ready: VecDeque<(u32, IndexSeries)>,
    last: Option<Labels>,
}

/// A series of one block, kept for the end.
type Kept<'a> = (&'a Block, u32, Vec<ChunkRef>);

/// Hands every series to `sink` that lies behind `position`, and moves it on.
pub(super) fn read<'a>(
    read: &'a Read<'a>,
    blocks: impl Iterator<Item = &'a Block>,
    position: &mut Option<Position>,
    sink: &mut dyn FnMut(SeriesSamples) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    let mut groups: BTreeMap<&Labels, Vec<&Block>> = BTreeMap::new();
    for block in blocks {
        groups.entry(&block.external).or_default().push(block);
    }
    // Where some series has a label of its own by the name of an external one, a series may come
    // out of two groups: then all wait until every group was read.
    let waits = groups.len() > 1 && overlap(read, &groups)?;
    let mut deferred: BTreeMap<Labels, Vec<Kept<'a>>> = BTreeMap::new();
    let mut builder = SeriesBuilder::new(read.window);
    for (external, blocks) in groups {
        let mut cursors = Vec::new();
        for block in blocks {
            cursors.push(BlockCursor::open(read, block)?);
        }
        while let Some(first) = least(&cursors) {
            let Some((labels, mut held)) = pop_equal(&mut cursors, first) else {
                break;
            };
            if waits {
                let blocks = held.iter_mut().map(|(at, number, chunks)| {
                    let block = cursors.get(*at).map(|cursor| cursor.block);
                    block.map(|block| (block, *number, std::mem::take(chunks)))
                });
                let blocks: Vec<Kept<'a>> = blocks.flatten().collect();
                let all = deferred.entry(extend(labels, external)).or_default();
                all.extend(blocks);
            } else {
                let here = Position::Group(external.clone(), labels.clone());
                if position.as_ref().is_none_or(|passed| here > *passed) {
                    for (at, number, chunks) in &held {
                        if let Some(cursor) = cursors.get_mut(*at) {
                            cursor.add(*number, chunks, &mut builder)?;
                        }
                    }
                    if let Some(series) = builder.finish(extend(labels, external)) {
                        sink(series)?;
                    }
                    *position = Some(here);
                }
            }
            for (at, ..) in held {
                if let Some(cursor) = cursors.get_mut(at) {
                    cursor.advance()?;
                }
            }
        }
    }
    for (labels, kept) in deferred {
        let here = Position::Deferred(labels);
        if position.as_ref().is_some_and(|passed| here <= *passed) {
            continue;
        }
        for (block, number, chunks) in kept {
            let mut segments = Segments::new(read.place, block);
            segments.will_read(std::iter::once(chunks.as_slice()));
            let tombstones = meta::read_tombstones(read.place, block)?;
            add_chunks(&mut segments, &tombstones, number, &chunks, &mut builder)?;
        }
        if let Position::Deferred(labels) = &here
            && let Some(series) = builder.finish(labels.clone())
        {
            sink(series)?;
        }
        *position = Some(here);
    }
    Ok(())
}

/// About how many samples a read would hand over: of each block its share of the selected series,
/// of all series, in time. Reads lists of postings and neither series nor chunks.
pub(super) fn estimate<'a>(
    read: &Read<'_>,
    blocks: impl Iterator<Item = &'a Block>,
) -> Result<u64, SourceError> {
    let mut samples = 0.0;
    for block in blocks {
        let (Some(span), stats) = (block.span, &block.meta.stats) else {
            continue;
        };
        let Some(both) = span.intersect(&read.window) else {
            continue;
        };
        let selected = open_index(read, block)?.select(read.matchers, &block.external)?;
        let share = |part: f64, whole: f64| (part / whole.max(1.0)).min(1.0);
        samples += stats.num_samples as f64
            * share(selected.len() as f64, stats.num_series as f64)
            * share(
                (both.end_ms - both.start_ms) as f64,
                (span.end_ms - span.start_ms) as f64,
            );
    }
    Ok(samples as u64)
}

/// The first of the cursors whose series comes next.
fn least(cursors: &[BlockCursor<'_>]) -> Option<usize> {
    let heads = cursors.iter().enumerate();
    let heads = heads.filter_map(|(at, cursor)| Some((at, cursor.labels()?)));
    let least = heads.min_by(|(_, a), (_, b)| a.cmp(b));
    least.map(|(at, _)| at)
}

/// Chunks of one series in one block: the cursor, the series' number in the block, the chunks.
type Part = (usize, u32, Vec<ChunkRef>);

/// Takes a cursor's series, and the same series from the cursors behind it.
fn pop_equal(cursors: &mut [BlockCursor<'_>], first: usize) -> Option<(Labels, Vec<Part>)> {
    let (number, series) = cursors.get_mut(first)?.ready.pop_front()?;
    let mut parts = vec![(first, number, series.chunks)];
    for (at, cursor) in cursors.iter_mut().enumerate().skip(first + 1) {
        if cursor.labels() == Some(&series.labels)
            && let Some((number, same)) = cursor.ready.pop_front()
        {
            parts.push((at, number, same.chunks));
        }
    }
    Some((series.labels, parts))
}

/// Whether any selected series has a label of its own that is an external one of some block.
fn overlap(read: &Read<'_>, groups: &BTreeMap<&Labels, Vec<&Block>>) -> Result<bool, SourceError> {
    let all = groups.keys().flat_map(|external| external.iter());
    let names: BTreeSet<&str> = all.map(|(name, _)| name).collect();
    for block in groups.values().flatten() {
        let mut index = open_index(read, block)?;
        let selected = index.select(read.matchers, &block.external)?;
        for name in &names {
            if index.has_label(name, &selected)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn open_index(read: &Read<'_>, block: &Block) -> Result<Index, SourceError> {
    let key = join(&block.key, "index");
    let Some(size) = block.files.get("index") else {
        let what = "it is missing: the block was not copied whole";
        return Err(broken(&read.place.path(&key), what));
    };
    read.headers.open(&block.key, read.place.open(&key, *size)?)
}

/// A series' labels with the external ones of its block; its own hold.
fn extend(labels: Labels, external: &Labels) -> Labels {
    if external.is_empty() {
        return labels;
    }
    let mut pairs = labels.into_pairs();
    pairs.extend(external.clone().into_pairs());
    Labels::new(pairs)
}

fn add_chunks(
    segments: &mut Segments<'_>,
    tombstones: &Tombstones,
    number: u32,
    chunks: &[ChunkRef],
    builder: &mut SeriesBuilder,
) -> Result<(), SourceError> {
    let deleted = tombstones.get(&u64::from(number));
    let deleted = deleted.map_or(&[][..], Vec::as_slice);
    if let Some(last) = chunks.last() {
        for chunk in chunks {
            segments.with_chunk(*chunk, *last, |encoding, data| {
                let encoding = Encoding::from_number(i64::from(encoding))?;
                builder.add_chunk(encoding, data, deleted)
            })?;
        }
    }
    Ok(())
}

impl<'a> BlockCursor<'a> {
    fn open(read: &'a Read<'a>, block: &'a Block) -> Result<Self, SourceError> {
        let mut index = open_index(read, block)?;
        let selected = index.select(read.matchers, &block.external)?;
        index.will_read(&selected);
        let mut cursor = Self {
            read,
            block,
            index,
            segments: Segments::new(read.place, block),
            tombstones: meta::read_tombstones(read.place, block)?,
            selected: selected.into(),
            ready: VecDeque::new(),
            last: None,
        };
        cursor.advance()?;
        Ok(cursor)
    }

    /// The labels of the series at hand, as they are in the block.
    fn labels(&self) -> Option<&Labels> {
        self.ready.front().map(|(_, series)| &series.labels)
    }

    /// Sees to it that a series is at hand, unless none is left: one that the matchers accept and
    /// that has chunks in the window.
    fn advance(&mut self) -> Result<(), SourceError> {
        if !self.ready.is_empty() {
            return Ok(());
        }
        let window = self.read.window;
        let batch = match self.read.place {
            Place::Bucket(_) => BATCH_IN_BUCKET,
            Place::Folder(_) => BATCH_ON_DISK,
        };
        while self.ready.len() < batch
            && let Some(number) = self.selected.pop_front()
        {
            let mut series = self.index.series(number)?;
            // Merging relies on the order of the labels, which the format promises.
            let before = self.ready.back().map(|(_, series)| &series.labels);
            if before
                .or(self.last.as_ref())
                .is_some_and(|before| *before >= series.labels)
            {
                let what = format!("series {} is out of order", series.labels);
                return Err(broken(self.index.path(), what));
            }
            if !self.accepts(&series.labels) {
                continue;
            }
            series
                .chunks
                .retain(|c| c.min_ms < window.end_ms && c.max_ms >= window.start_ms);
            if !series.chunks.is_empty() {
                self.ready.push_back((number, series));
            }
        }
        if let Some((_, series)) = self.ready.back() {
            self.last = Some(series.labels.clone());
        }
        self.segments.will_read(
            self.ready
                .iter()
                .map(|(_, series)| series.chunks.as_slice()),
        );
        Ok(())
    }

    fn accepts(&self, labels: &Labels) -> bool {
        let external = &self.block.external;
        self.read.matchers.iter().all(|m| {
            let own = labels.get(&m.label);
            m.accepts_value(own.or_else(|| external.get(&m.label)).unwrap_or(""))
        })
    }

    /// Adds chunks of a series to the builder.
    fn add(
        &mut self,
        number: u32,
        chunks: &[ChunkRef],
        builder: &mut SeriesBuilder,
    ) -> Result<(), SourceError> {
        add_chunks(
            &mut self.segments,
            &self.tombstones,
            number,
            chunks,
            builder,
        )
    }
}
