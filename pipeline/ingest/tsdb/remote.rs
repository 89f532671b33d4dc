//! Owns the reads of objects in a bucket: ranged requests, planned ahead, a bounded number of bytes
//! and of requests at a time, and how many there were. Runs on threads that may block.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::ingest::prometheus::SourceError;
use crate::lake::LakeError;
use crate::lake::bucket::{Bucket, BucketObject};

/// The most that one request of a planned read asks for.
const PIECE_BYTES: u64 = 1 << 20;
/// Pieces that one object fetches ahead.
const PIECES_AHEAD: usize = 4;
/// Pieces that all objects together fetch ahead: 128 MiB at most.
const PIECES_IN_ALL: usize = 128;
/// Whole small objects that are fetched at a time.
const WHOLE_AT_ONCE: usize = 16;

/// What was asked of a bucket so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub requests: u64,
    pub bytes: u64,
}

/// A bucket, the runtime that its requests run on, and their budget. Clones share all.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    bucket: Bucket,
    handle: Handle,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ahead: Arc<Semaphore>,
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Segments whose header was looked at.
    checked: Mutex<BTreeSet<String>>,
}

impl Remote {
    pub(super) fn new(bucket: Bucket, handle: Handle) -> Self {
        let shared = Arc::new(Shared {
            ahead: Arc::new(Semaphore::new(PIECES_IN_ALL)),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            checked: Mutex::new(BTreeSet::new()),
        });
        Self {
            bucket,
            handle,
            shared,
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.shared.requests.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
        }
    }

    /// Where a key lies, for messages.
    pub(super) fn path(&self, key: &str) -> PathBuf {
        PathBuf::from(format!("{}{key}", self.bucket.url()))
    }

    pub(super) fn folders(&self, prefix: &str) -> Result<Vec<String>, SourceError> {
        self.count(0);
        let listed = self.handle.block_on(self.bucket.folders(prefix));
        listed.map_err(|e| self.unreachable(prefix, &e))
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Vec<BucketObject>, SourceError> {
        self.count(0);
        let listed = self.handle.block_on(self.bucket.list(prefix));
        listed.map_err(|e| self.unreachable(prefix, &e))
    }

    /// The size of an object, `None` if there is none.
    pub(super) fn size(&self, key: &str) -> Result<Option<u64>, SourceError> {
        self.count(0);
        let size = self.handle.block_on(self.bucket.size(key));
        size.map_err(|e| self.failed(key, &e))
    }

    /// Whole objects of known sizes, in the given order; `None` where one is gone.
    pub(super) fn whole(
        &self,
        objects: &[(String, u64)],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        let one = |(key, size): (String, u64)| async move {
            match self.get(&key, 0..size).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(self.failed(&key, &error)),
            }
        };
        let fetched = futures::stream::iter(objects.to_vec())
            .map(one)
            .buffered(WHOLE_AT_ONCE)
            .try_collect();
        self.handle.block_on(fetched)
    }

    pub(super) fn object(&self, key: &str, size: u64) -> RemoteObject {
        RemoteObject {
            path: self.path(key),
            remote: self.clone(),
            key: key.to_owned(),
            len: size,
            planned: VecDeque::new(),
            flights: VecDeque::new(),
        }
    }

    /// Whether the header of a segment was found sound before.
    pub(super) fn is_checked(&self, key: &str) -> bool {
        let checked = self.shared.checked.lock();
        checked
            .unwrap_or_else(PoisonError::into_inner)
            .contains(key)
    }

    pub(super) fn mark_checked(&self, key: &str) {
        let checked = self.shared.checked.lock();
        let mut checked = checked.unwrap_or_else(PoisonError::into_inner);
        checked.insert(key.to_owned());
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        // Stores refuse empty ranges.
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let bytes = self.bucket.get_range(key, range).await?;
        self.count(bytes.len() as u64);
        Ok(bytes)
    }

    fn count(&self, bytes: u64) {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn failed(&self, key: &str, error: &LakeError) -> SourceError {
        if error.is_not_found() {
            return SourceError::Vanished {
                path: self.path(key),
            };
        }
        if let LakeError::Corrupt { reason, .. } = error {
            return super::file::broken(&self.path(key), reason);
        }
        self.unreachable(key, error)
    }

    fn unreachable(&self, key: &str, error: &LakeError) -> SourceError {
        SourceError::Remote {
            url: format!("{}{key}", self.bucket.url()),
            what: error.cause(),
            todo: "check the bucket's URL and options, and that the account may list and read it",
        }
    }
}

/// A piece under way. It holds its share of what may be fetched ahead until it is used.
struct Flight {
    range: Range<u64>,
    task: JoinHandle<Result<Bytes, LakeError>>,
    _share: OwnedSemaphorePermit,
}

/// One object, the pieces of it that will be wanted and those that are under way.
pub(super) struct RemoteObject {
    remote: Remote,
    key: String,
    path: PathBuf,
    len: u64,
    planned: VecDeque<Range<u64>>,
    flights: VecDeque<Flight>,
}

impl Drop for RemoteObject {
    fn drop(&mut self) {
        self.forget();
    }
}

impl RemoteObject {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    fn forget(&mut self) {
        self.planned.clear();
        for flight in self.flights.drain(..) {
            flight.task.abort();
        }
    }

    pub(super) fn plan(&mut self, parts: impl Iterator<Item = Range<u64>>, gap: u64) {
        self.forget();
        self.planned = pieces(parts, gap, self.len).into();
        self.take_off();
    }

    /// Starts planned pieces as far as the shares reach. What finds no share is fetched when it is
    /// asked for, so that nobody waits for somebody who waits for him.
    fn take_off(&mut self) {
        while self.flights.len() < PIECES_AHEAD {
            let share = Arc::clone(&self.remote.shared.ahead).try_acquire_owned();
            let (Ok(share), Some(range)) = (share, self.planned.pop_front()) else {
                return;
            };
            let (remote, key, part) = (self.remote.clone(), self.key.clone(), range.clone());
            let task = self
                .remote
                .handle
                .spawn(async move { remote.get(&key, part).await });
            self.flights.push_back(Flight {
                range,
                task,
                _share: share,
            });
        }
    }

    /// Appends the bytes from the start of `wanted` on: what is left of the planned piece that
    /// covers the start, else the range itself.
    pub(super) fn read_into(
        &mut self,
        buffer: &mut Vec<u8>,
        wanted: Range<u64>,
    ) -> Result<(), SourceError> {
        let at = wanted.start;
        while let Some(flight) = self.flights.front() {
            if flight.range.end > at {
                break;
            }
            if let Some(passed) = self.flights.pop_front() {
                passed.task.abort();
            }
        }
        if self.flights.is_empty() {
            while self.planned.front().is_some_and(|range| range.end <= at) {
                self.planned.pop_front();
            }
        }
        self.take_off();
        let covers = |range: &Range<u64>| range.contains(&at);
        if self.flights.front().is_some_and(|f| covers(&f.range))
            && let Some(flight) = self.flights.pop_front()
        {
            let Flight {
                range,
                task,
                _share,
            } = flight;
            let landed = self.remote.handle.block_on(task);
            let landed = landed.map_err(|e| {
                super::file::broken(&self.path, format!("reading it was interrupted ({e})"))
            })?;
            let bytes = landed.map_err(|e| self.remote.failed(&self.key, &e))?;
            let skip = (at - range.start) as usize;
            buffer.extend_from_slice(bytes.get(skip..).unwrap_or_default());
            self.take_off();
            return Ok(());
        }
        let range = match self.planned.front() {
            Some(piece) if self.flights.is_empty() && covers(piece) => {
                let end = piece.end;
                self.planned.pop_front();
                at..end
            }
            _ => wanted,
        };
        let got = self
            .remote
            .handle
            .block_on(self.remote.get(&self.key, range));
        let bytes = got.map_err(|e| self.remote.failed(&self.key, &e))?;
        buffer.extend_from_slice(&bytes);
        Ok(())
    }
}

/// Ascending parts, joined over gaps up to `gap`, cut into pieces and at the object's end.
fn pieces(parts: impl Iterator<Item = Range<u64>>, gap: u64, len: u64) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for part in parts {
        let part = part.start..part.end.min(len);
        match joined.last_mut() {
            Some(last)
                if part.start >= last.start && part.start <= last.end.saturating_add(gap) =>
            {
                last.end = last.end.max(part.end);
            }
            _ if part.is_empty() => {}
            _ => joined.push(part),
        }
    }
    let cut = |range: Range<u64>| {
        let starts = range.clone().step_by(PIECE_BYTES as usize);
        starts.map(move |start| start..range.end.min(start + PIECE_BYTES))
    };
    joined.into_iter().flat_map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_over_small_gaps_and_cut_into_pieces() {
        let parts = [
            0..10,
            14..20,
            30..40,
            2 << 20..(3 << 20) + 5,
            9 << 20..u64::MAX,
        ];
        let got = pieces(parts.into_iter(), 4, 4 << 20);
        let mib = 1 << 20;
        assert_eq!(got, [0..20, 30..40, 2 * mib..3 * mib, 3 * mib..3 * mib + 5]);
        assert!(pieces(std::iter::empty(), 4, 100).is_empty());
    }
}
