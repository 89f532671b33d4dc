//! Owns the reader of Prometheus TSDB blocks in a folder or a bucket: a snapshot, a copied data
//! directory, a Thanos, Mimir or Cortex bucket. Blocks may overlap; a series comes out once, merged.
//! Does not know tables or the lake's tables: of the lake it uses plain buckets only.

mod choose;
mod cursor;
mod file;
mod headers;
mod index;
mod meta;
mod place;
mod remote;
mod segment;
mod select;
mod verify;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::BoxFuture;
use tokio::runtime::Handle;

pub use choose::{Census as BlockCensus, Choice};
pub use remote::Traffic;

use crate::ingest::prometheus::{Matcher, SampleSource, SeriesSamples, SeriesSink, SourceError};
use crate::lake::bucket::Bucket;
use crate::model::TimeWindow;
use choose::{Block, Selection};
use headers::Headers;
use place::{Place, join};
use remote::Remote;

/// Samples that travel from the reading thread to the sink at once.
const BATCH_SAMPLES: usize = 64 << 10;
/// Batches that may wait for the sink.
const BATCHES: usize = 4;
/// How often a read goes on with a fresh listing after a block vanished under it.
const FRESH_LISTINGS: usize = 3;

/// The chosen blocks of one folder or bucket. Clones share them, and what was read of them.
#[derive(Debug, Clone)]
pub struct BlockSource {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    choice: Choice,
    headers: Headers,
    selection: RwLock<Arc<Selection>>,
}

impl BlockSource {
    /// Opens a folder of blocks, or one block, and verifies every index and segment header. Does
    /// blocking I/O: the indexes are read whole once.
    pub fn open(folder: &Path) -> Result<Self, SourceError> {
        Self::open_folder(folder, Choice::default())
    }

    /// As [`Self::open`], with a choice among the blocks.
    pub fn open_folder(folder: &Path, choice: Choice) -> Result<Self, SourceError> {
        Self::new(Place::Folder(folder.to_owned()), Headers::off(), choice)
    }

    /// Lists a bucket and reads every block's `meta.json`; indexes and chunks are read by parts,
    /// and held against their checksums, when they are asked for.
    pub async fn open_bucket(bucket: Bucket, choice: Choice) -> Result<Self, SourceError> {
        let place = Place::Bucket(Remote::new(bucket, Handle::current()));
        let root = place.path("");
        let opened =
            tokio::task::spawn_blocking(move || Self::new(place, Headers::default(), choice));
        opened.await.unwrap_or_else(|error| {
            let what = format!("opening it was interrupted ({error})");
            Err(file::broken(&root, what))
        })
    }

    fn new(place: Place, headers: Headers, choice: Choice) -> Result<Self, SourceError> {
        let selection = select_blocks(&place, &choice)?;
        let shared = Shared {
            place,
            choice,
            headers,
            selection: RwLock::new(Arc::new(selection)),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// How many blocks are read and how many are not, and why.
    #[must_use]
    pub fn census(&self) -> BlockCensus {
        self.selection().census
    }

    /// The size of all files of the blocks that are read.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let selection = self.selection();
        let sizes = selection.blocks.iter().flat_map(|b| b.files.values());
        sizes.sum()
    }

    /// What was asked of the bucket so far; nothing where the blocks lie on disk.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        match &self.shared.place {
            Place::Folder(_) => Traffic::default(),
            Place::Bucket(remote) => remote.traffic(),
        }
    }

    fn selection(&self) -> Arc<Selection> {
        let held = self.shared.selection.read();
        Arc::clone(&held.unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`SampleSource::read`], on this thread, which must be one that may block.
    pub fn read_blocking(
        &self,
        matchers: &[Matcher],
        window: TimeWindow,
        sink: &mut dyn FnMut(SeriesSamples) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let read = select::Read {
            place: &self.shared.place,
            headers: &self.shared.headers,
            matchers,
            window,
        };
        let mut selection = self.selection();
        let (mut position, mut listings) = (None, 0);
        loop {
            selection.check_raw(read.place, window)?;
            let outcome = select::read(&read, selection.of(window), &mut position, sink);
            match outcome {
                Err(SourceError::Vanished { path }) if listings < FRESH_LISTINGS => {
                    tracing::info!(file = %path.display(), "vanished: listing the blocks again");
                    listings += 1;
                    selection = self.list_again(&selection, window)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// Chooses anew. What was handed over so far came from the blocks of `before`: if others do
    /// not hold the same, going on would give some series less of the window than others.
    fn list_again(
        &self,
        before: &Selection,
        window: TimeWindow,
    ) -> Result<Arc<Selection>, SourceError> {
        let fresh = Arc::new(select_blocks(&self.shared.place, &self.shared.choice)?);
        if let Some(lost) = before.of(window).find(|block| !fresh.replaces(block)) {
            return Err(SourceError::Remote {
                url: self.location(),
                what: format!(
                    "the block {} was deleted while it was read, and no other holds its samples",
                    lost.id
                ),
                todo: "run again: what is left is read then",
            });
        }
        let mut held = self
            .shared
            .selection
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *held = Arc::clone(&fresh);
        Ok(fresh)
    }
}

impl SampleSource for BlockSource {
    fn read<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
        sink: &'a mut SeriesSink<'a>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(BATCHES);
            let (source, matchers) = (self.clone(), matchers.to_vec());
            // Reading and decoding run beside the sink, a bounded number of batches ahead.
            let reader = tokio::task::spawn_blocking(move || {
                let (mut batch, mut samples) = (Vec::new(), 0);
                // A send fails when the sink is gone: then nobody wants the rest.
                let gone = || SourceError::Sink("the reader of the blocks stopped".into());
                source.read_blocking(&matchers, window, &mut |series| {
                    samples += series.samples.len() + series.histograms.len() * 16;
                    batch.push(series);
                    if samples < BATCH_SAMPLES {
                        return Ok(());
                    }
                    samples = 0;
                    sender
                        .blocking_send(std::mem::take(&mut batch))
                        .map_err(|_| gone())
                })?;
                sender.blocking_send(batch).map_err(|_| gone())
            });
            while let Some(batch) = receiver.recv().await {
                for series in batch {
                    sink(series).map_err(SourceError::Sink)?;
                }
            }
            reader.await.unwrap_or_else(|error| {
                Err(file::broken(
                    &self.shared.place.path(""),
                    format!("the reading thread died ({error})"),
                ))
            })
        })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeWindow>, SourceError>> {
        let selection = self.selection();
        let spans = selection.blocks.iter().filter_map(|block| block.span);
        let extent = spans
            .reduce(|a, b| TimeWindow::new(a.start_ms.min(b.start_ms), a.end_ms.max(b.end_ms)));
        Box::pin(std::future::ready(Ok(extent)))
    }

    fn estimate<'a>(
        &'a self,
        matchers: &'a [Matcher],
        window: TimeWindow,
    ) -> BoxFuture<'a, Option<u64>> {
        let (source, matchers) = (self.clone(), matchers.to_vec());
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || {
                let read = select::Read {
                    place: &source.shared.place,
                    headers: &source.shared.headers,
                    matchers: &matchers,
                    window,
                };
                select::estimate(&read, source.selection().of(window))
            });
            asked.await.ok()?.ok()
        })
    }

    fn location(&self) -> String {
        self.shared.place.path("").display().to_string()
    }
}

/// Finds the blocks and chooses; those on disk are verified.
fn select_blocks(place: &Place, choice: &Choice) -> Result<Selection, SourceError> {
    let found = place.discover(&choice.tenants)?;
    let mut selection = Selection::make(place, found, choice)?;
    if matches!(place, Place::Folder(_)) {
        for block in &mut selection.blocks {
            verify_block(place, block)?;
        }
    }
    let census = selection.census;
    tracing::info!(place = %place.path("").display(), ?census, "chose blocks");
    Ok(selection)
}

/// Verifies a block on disk and sets its span to that of its chunks.
fn verify_block(place: &Place, block: &mut Block) -> Result<(), SourceError> {
    meta::read_tombstones(place, block)?;
    let size = block.files.get("index").copied().unwrap_or(0);
    let mut index = index::Index::open(place.open(&join(&block.key, "index"), size)?, None)?;
    let found = index.verify()?;
    for (what, said, held) in [
        ("series", block.meta.stats.num_series, found.series),
        ("chunks", block.meta.stats.num_chunks, found.chunks),
    ] {
        if said != 0 && said != held {
            let what = format!("meta.json counts {said} {what}, the index holds {held}");
            return Err(file::broken(index.path(), what));
        }
    }
    for (number, greatest) in (0..).zip(&found.segments) {
        let Some(greatest) = greatest else { continue };
        let segment = segment::open(place, block, number)?;
        if u64::from(*greatest) >= segment.len() {
            return Err(segment.broken("it ends before the chunks that the index points to"));
        }
    }
    block.span = found
        .span_ms
        .map(|(first, last)| TimeWindow::new(first, last.saturating_add(1)));
    Ok(())
}
