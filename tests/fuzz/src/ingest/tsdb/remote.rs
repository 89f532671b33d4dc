//! A bucket in memory, in the words of `pipeline/ingest/tsdb/remote.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::ingest::prometheus::SourceError;

#[derive(Debug, Clone)]
pub(super) struct Remote {
    files: Arc<BTreeMap<String, Arc<[u8]>>>,
    checked: Arc<Mutex<BTreeSet<String>>>,
}

pub(super) struct Listed {
    pub(super) key: String,
    pub(super) size_bytes: u64,
}

impl Remote {
    pub(super) fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let files = files.into_iter().map(|(key, bytes)| (key, bytes.into()));
        Self {
            files: Arc::new(files.collect()),
            checked: Arc::default(),
        }
    }

    pub(super) fn path(&self, key: &str) -> PathBuf {
        PathBuf::from(key)
    }

    pub(super) fn folders(&self, _prefix: &str) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    pub(super) fn list(&self, _prefix: &str) -> Result<Vec<Listed>, SourceError> {
        let listed = self.files.iter().map(|(key, bytes)| Listed {
            key: key.clone(),
            size_bytes: bytes.len() as u64,
        });
        Ok(listed.collect())
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<u64>, SourceError> {
        Ok(self.files.get(key).map(|bytes| bytes.len() as u64))
    }

    pub(super) fn whole(
        &self,
        files: &[(String, u64)],
    ) -> Result<Vec<Option<Vec<u8>>>, SourceError> {
        let got = files.iter().map(|(key, _)| self.files.get(key).map(|b| b.to_vec()));
        Ok(got.collect())
    }

    pub(super) fn object(&self, key: &str, size: u64) -> RemoteObject {
        let bytes = self.files.get(key).cloned().unwrap_or_default();
        assert_eq!(bytes.len() as u64, size);
        RemoteObject {
            path: PathBuf::from(key),
            bytes,
        }
    }

    pub(super) fn is_checked(&self, key: &str) -> bool {
        self.checked.lock().is_ok_and(|checked| checked.contains(key))
    }

    pub(super) fn mark_checked(&self, key: &str) {
        if let Ok(mut checked) = self.checked.lock() {
            checked.insert(key.to_owned());
        }
    }
}

pub(super) struct RemoteObject {
    path: PathBuf,
    bytes: Arc<[u8]>,
}

impl RemoteObject {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn plan(&mut self, parts: impl Iterator<Item = Range<u64>>, _gap: u64) {
        parts.for_each(drop);
    }

    pub(super) fn read_into(
        &mut self,
        buffer: &mut Vec<u8>,
        wanted: Range<u64>,
    ) -> Result<(), SourceError> {
        let range = wanted.start as usize..(wanted.end as usize).min(self.bytes.len());
        buffer.extend_from_slice(&self.bytes[range]);
        Ok(())
    }
}
