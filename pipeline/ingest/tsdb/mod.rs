//! Owns the reader of Prometheus TSDB blocks in a folder: a snapshot, a copied data directory, a
//! Thanos or Mimir bucket on disk. Blocks may overlap; a series comes out once, merged. Does not
//! know tables or the lake.

mod file;
mod index;
mod meta;
mod segment;
mod select;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::ingest::prometheus::{Matcher, SampleSource, SeriesSamples, SeriesSink, SourceError};
use crate::model::TimeWindow;

/// Samples that travel from the reading thread to the sink at once.
const BATCH_SAMPLES: usize = 64 << 10;
/// Batches that may wait for the sink.
const BATCHES: usize = 4;

/// The blocks of one folder, every index verified.
#[derive(Debug, Clone)]
pub struct BlockSource {
    folder: PathBuf,
    blocks: Arc<[Block]>,
}

/// One block and the time that its chunks span (from its index, not from `meta.json`).
#[derive(Debug)]
struct Block {
    folder: PathBuf,
    span: Option<TimeWindow>,
}

impl BlockSource {
    /// Opens a folder of blocks, or one block, and verifies every index and segment header. Does
    /// blocking I/O: the indexes are read whole once.
    pub fn open(folder: &Path) -> Result<Self, SourceError> {
        let mut blocks = Vec::new();
        for path in find_blocks(folder)? {
            if let Some(block) = Block::open(path)? {
                blocks.push(block);
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            blocks: blocks.into(),
        })
    }

    /// As [`SampleSource::read`], on this thread.
    pub fn read_blocking(
        &self,
        matchers: &[Matcher],
        window: TimeWindow,
        sink: &mut dyn FnMut(SeriesSamples) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let overlapping = self
            .blocks
            .iter()
            .filter(|block| block.span.is_some_and(|s| s.intersect(&window).is_some()))
            .map(|block| block.folder.as_path());
        select::read(overlapping, matchers, window, sink)
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
                    &self.folder,
                    format!("the reading thread died ({error})"),
                ))
            })
        })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeWindow>, SourceError>> {
        let spans = self.blocks.iter().filter_map(|block| block.span);
        let extent = spans
            .reduce(|a, b| TimeWindow::new(a.start_ms.min(b.start_ms), a.end_ms.max(b.end_ms)));
        Box::pin(std::future::ready(Ok(extent)))
    }

    fn location(&self) -> String {
        self.folder.display().to_string()
    }
}

impl Block {
    /// Verifies a block; `None` if it holds only aggregates of another.
    fn open(folder: PathBuf) -> Result<Option<Self>, SourceError> {
        let meta = meta::Meta::read(&folder)?;
        if meta.is_downsampled() {
            tracing::warn!(block = %folder.display(), "skipped: downsampled by Thanos");
            return Ok(None);
        }
        meta::read_tombstones(&folder)?;
        let mut index = index::Index::open(&folder.join("index"))?;
        let found = index.verify()?;
        for (what, said, held) in [
            ("series", meta.stats.num_series, found.series),
            ("chunks", meta.stats.num_chunks, found.chunks),
        ] {
            if said != 0 && said != held {
                let what = format!("meta.json counts {said} {what}, the index holds {held}");
                return Err(file::broken(index.path(), what));
            }
        }
        let chunks = folder.join("chunks");
        for (number, greatest) in (0..).zip(&found.segments) {
            let Some(greatest) = greatest else { continue };
            let segment = segment::open(&chunks, number)?;
            if u64::from(*greatest) >= segment.len() {
                return Err(segment.broken("it ends before the chunks that the index points to"));
            }
        }
        let span = found
            .span_ms
            .map(|(first, last)| TimeWindow::new(first, last.saturating_add(1)));
        Ok(Some(Self { folder, span }))
    }
}

/// The folders of blocks, in order of their names: the folder itself if it is one.
fn find_blocks(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    if folder.join("meta.json").is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let failed = |e: std::io::Error| file::broken(folder, format!("it cannot be listed ({e})"));
    let mut blocks = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if is_ulid(&entry.file_name().to_string_lossy()) && entry.path().is_dir() {
            blocks.push(entry.path());
        }
    }
    if blocks.is_empty() {
        return Err(SourceError::Block {
            path: folder.to_owned(),
            what: "no folder in it is a block (26 letters and digits, with a meta.json)".into(),
            todo: "point the source at the folder that holds the blocks",
        });
    }
    blocks.sort();
    Ok(blocks)
}

/// Blocks are named by ULIDs; beside them lie `wal`, `chunks_head` and half-written blocks.
fn is_ulid(name: &str) -> bool {
    name.len() == 26
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}
