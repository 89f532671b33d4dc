//! As `pipeline/ingest/tsdb/mod.rs`, over a bucket in memory: files that hostile bytes are cut
//! into, checksums made right or left as they come.

#[path = "../../../../pipeline/ingest/tsdb/choose.rs"]
mod choose;
#[path = "../../../../pipeline/ingest/tsdb/cursor.rs"]
mod cursor;
#[path = "../../../../pipeline/ingest/tsdb/file.rs"]
mod file;
#[path = "../../../../pipeline/ingest/tsdb/headers.rs"]
mod headers;
#[path = "../../../../pipeline/ingest/tsdb/index.rs"]
mod index;
#[path = "../../../../pipeline/ingest/tsdb/meta.rs"]
mod meta;
#[path = "../../../../pipeline/ingest/tsdb/place.rs"]
mod place;
#[path = "tsdb/remote.rs"]
mod remote;
#[path = "tsdb/seal.rs"]
mod seal;
#[path = "../../../../pipeline/ingest/tsdb/segment.rs"]
mod segment;
#[path = "../../../../pipeline/ingest/tsdb/select.rs"]
mod select;
#[path = "../../../../pipeline/ingest/tsdb/verify.rs"]
mod verify;

use std::path::Path;

use super::prometheus::{Labels, Matcher};
use crate::model::TimeWindow;
use choose::{Choice, Selection};
use file::BlockFile;
use headers::Headers;
use place::Place;
use remote::Remote;

/// What `promtool` wrote of these seeds spans this.
const WINDOW: TimeWindow = TimeWindow::new(0, 4_102_444_800_000);

/// `meta.json` as it comes.
pub fn meta(data: &[u8]) {
    if let Ok(meta) = meta::Meta::parse(Path::new("meta.json"), data) {
        let _ = (meta.is_downsampled(), meta.labels().len());
        assert!(meta.shard().is_none_or(|(index, count)| index <= count));
        let _ = meta.has_parent(&meta.ulid);
    }
}

/// An index: verified as one on disk, and asked as one in a bucket, which is not verified whole.
pub fn index(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let mut bytes = rest.to_vec();
    if first & 1 == 1 {
        seal::index(&mut bytes);
    }
    let open = || {
        let remote = Remote::new([("index".to_owned(), bytes.clone())]);
        index::Index::open(BlockFile::remote(remote.object("index", bytes.len() as u64)), None)
    };
    let Ok(mut index) = open() else { return };
    if let Ok(found) = index.verify() {
        assert!(found.series <= bytes.len() as u64);
    }
    for matcher in matchers() {
        let Ok(numbers) = index.select(std::slice::from_ref(&matcher), &Labels::default()) else {
            continue;
        };
        assert!(numbers.is_sorted_by(|a, b| a < b));
        let _ = index.has_label("gpu", &numbers);
        index.will_read(&numbers);
        for number in numbers.into_iter().take(64) {
            let _ = index.series(number);
        }
    }
}

fn matchers() -> [Matcher; 3] {
    [
        Matcher::equal("__name__", "a"),
        Matcher::prefix("__name__", ""),
        Matcher::not_equal("job", "x"),
    ]
}

/// A block: three lengths, then `meta.json`, tombstones, index and the first segment.
pub fn block(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let mut at = rest;
    let mut part = || {
        let (head, tail) = at.split_first_chunk::<2>()?;
        let (body, tail) = tail.split_at_checked(u16::from_be_bytes(*head).into())?;
        at = tail;
        Some(body.to_vec())
    };
    let (Some(meta), Some(mut tombstones), Some(mut index)) = (part(), part(), part()) else {
        return;
    };
    let mut segment = at.to_vec();
    if first & 1 == 1 {
        seal::index(&mut index);
        seal::segment(&mut segment);
        seal::tombstones(&mut tombstones);
    }
    let mut files = vec![
        ("meta.json".to_owned(), meta),
        ("index".to_owned(), index),
        ("chunks/000001".to_owned(), segment),
    ];
    if !tombstones.is_empty() {
        files.push(("tombstones".to_owned(), tombstones));
    }
    let place = Place::Bucket(Remote::new(files));
    let choice = Choice::default();
    let Ok(found) = place.discover(&[]) else { return };
    let Ok(selection) = Selection::make(&place, found, &choice) else {
        return;
    };
    let headers = Headers::default();
    for matcher in matchers() {
        let read = select::Read {
            place: &place,
            headers: &headers,
            matchers: std::slice::from_ref(&matcher),
            window: WINDOW,
        };
        let _ = select::estimate(&read, selection.of(WINDOW));
        let mut position = None;
        let _ = select::read(&read, selection.of(WINDOW), &mut position, &mut |series| {
            assert!(series.samples.is_sorted_by(|a, b| a.ts_ms < b.ts_ms));
            assert!(series.samples.iter().all(|s| WINDOW.contains(s.ts_ms)));
            Ok(())
        });
    }
}
