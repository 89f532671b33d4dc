//! Owns the read of one window over several blocks: their series merged by labels, each series'
//! chunks gathered from all blocks that hold it.

use std::path::Path;

use super::index::{Index, IndexSeries};
use super::meta::{self, Tombstones};
use super::segment::Segments;
use crate::ingest::prometheus::chunks::Encoding;
use crate::ingest::prometheus::{Matcher, SeriesBuilder, SeriesSamples, SourceError};
use crate::model::TimeWindow;

/// One block on its way through its selected series.
struct BlockCursor<'a> {
    index: Index,
    segments: Segments,
    tombstones: Tombstones,
    matchers: &'a [Matcher],
    window: TimeWindow,
    selected: std::vec::IntoIter<u32>,
    next: Option<(u32, IndexSeries)>,
}

pub(super) fn read<'a>(
    blocks: impl Iterator<Item = &'a Path>,
    matchers: &[Matcher],
    window: TimeWindow,
    sink: &mut dyn FnMut(SeriesSamples) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    let mut cursors = Vec::new();
    for folder in blocks {
        let mut index = Index::open(&folder.join("index"))?;
        let selected = index.select(matchers)?.into_iter();
        let mut cursor = BlockCursor {
            index,
            segments: Segments::new(folder.join("chunks")),
            tombstones: meta::read_tombstones(folder)?,
            matchers,
            window,
            selected,
            next: None,
        };
        cursor.advance()?;
        cursors.push(cursor);
    }
    let mut builder = SeriesBuilder::new(window);
    loop {
        let heads = cursors.iter().filter_map(|cursor| cursor.next.as_ref());
        let Some(labels) = heads.map(|(_, series)| &series.labels).min().cloned() else {
            return Ok(());
        };
        for cursor in &mut cursors {
            if cursor
                .next
                .as_ref()
                .is_some_and(|(_, s)| s.labels == labels)
            {
                cursor.take_into(&mut builder)?;
            }
        }
        if let Some(series) = builder.finish(labels) {
            sink(series)?;
        }
    }
}

impl BlockCursor<'_> {
    /// Moves to the next series that the matchers accept and that has chunks in the window.
    fn advance(&mut self) -> Result<(), SourceError> {
        let before = self.next.take().map(|(_, series)| series.labels);
        let window = self.window;
        for number in self.selected.by_ref() {
            let mut series = self.index.series(number)?;
            // Merging relies on the order of the labels, which the format promises.
            if before
                .as_ref()
                .is_some_and(|before| *before >= series.labels)
            {
                let what = format!("series {} is out of order", series.labels);
                return Err(super::file::broken(self.index.path(), what));
            }
            if !self.matchers.iter().all(|m| m.accepts(&series.labels)) {
                continue;
            }
            series
                .chunks
                .retain(|c| c.min_ms < window.end_ms && c.max_ms >= window.start_ms);
            if !series.chunks.is_empty() {
                self.next = Some((number, series));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Adds the chunks of the series at hand to the builder and moves on.
    fn take_into(&mut self, builder: &mut SeriesBuilder) -> Result<(), SourceError> {
        if let Some((number, series)) = &self.next {
            let deleted = self.tombstones.get(&u64::from(*number));
            let deleted = deleted.map_or(&[][..], Vec::as_slice);
            if let Some(last) = series.chunks.last() {
                for chunk in &series.chunks {
                    self.segments.with_chunk(*chunk, *last, |encoding, data| {
                        let encoding = Encoding::from_number(i64::from(encoding))?;
                        builder.add_chunk(encoding, data, deleted)
                    })?;
                }
            }
        }
        self.advance()
    }
}
