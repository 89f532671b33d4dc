//! Owns the lake's object store: opening it, proving that it has put-if-absent, and the few
//! operations that the rest of the room needs.
//!
//! Objects are created, read, listed, and never changed. `PutMode::Update` is not used: the local
//! store does not have it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
};
use futures::TryStreamExt;
use futures::future::try_join_all;
use url::Url;

use super::connect::{StoreOptions, connect};
use super::encoding::Floats;
use super::error::LakeError;
use super::paths;

const FORMAT: u64 = 1;
/// Puts at once of the first marker: a store that only looks before it writes lets two through.
const PROBE_RIVALS: usize = 4;

/// A store and the place of the lake in it.
#[derive(Debug, Clone)]
pub(crate) struct LakeStore {
    /// Of the whole store: `/` is the root of the file system, bucket or memory.
    pub(crate) root: Arc<dyn ObjectStore>,
    /// The lake's folder, ending in `/`.
    pub(crate) url: Url,
    /// How floats of raw tables are written from now on; files of either kind are read.
    pub(crate) floats: Floats,
    /// Commits that met another writer's and were made again; clones share it.
    pub(crate) conflicts: Arc<AtomicU64>,
    prefix: Path,
}

impl LakeStore {
    pub(crate) fn connect(url: &str, options: &StoreOptions) -> Result<Self, LakeError> {
        let (options, floats) = options.clone().apart()?;
        let (root, url) = connect(url, &options)?;
        let mut store = Self::new(root, url)?;
        store.floats = floats;
        Ok(store)
    }

    /// Of a store that is there already, at the place that the URL names in it.
    pub(crate) fn on(root: Arc<dyn ObjectStore>, url: &str) -> Result<Self, LakeError> {
        let url = Url::parse(url).map_err(|e| LakeError::BadUrl {
            url: url.to_owned(),
            reason: e.to_string(),
        })?;
        Self::new(root, url)
    }

    pub(crate) fn new(root: Arc<dyn ObjectStore>, mut url: Url) -> Result<Self, LakeError> {
        let folder = format!("{}/", url.path().trim_end_matches('/'));
        url.set_path(&folder);
        let prefix = Path::from_url_path(url.path()).map_err(|e| LakeError::BadUrl {
            url: url.to_string(),
            reason: e.to_string(),
        })?;
        Ok(Self {
            root,
            url,
            floats: Floats::default(),
            conflicts: Arc::default(),
            prefix,
        })
    }

    /// Makes the format marker, or reads the one that is there, and proves put-if-absent: of
    /// several puts of one absent key exactly one must succeed, and none of a present one. A store
    /// that ignores the condition would lose commits silently.
    pub(crate) async fn probe(&self) -> Result<(), LakeError> {
        let marker = Bytes::from(format!("{{\"format\":{FORMAT}}}\n"));
        let refused = || LakeError::NoConditionalPut {
            url: self.url.to_string(),
        };
        if self.get(paths::FORMAT_MARKER).await?.is_none() {
            let rivals =
                (0..PROBE_RIVALS).map(|_| self.put_new(paths::FORMAT_MARKER, marker.clone()));
            let won = try_join_all(rivals).await?;
            if won.iter().filter(|won| **won).count() > 1 {
                // Left in place it would pass for the marker of a lake that was found good.
                self.delete(paths::FORMAT_MARKER).await?;
                return Err(refused());
            }
        }
        self.read_format().await?;
        if self.put_new(paths::FORMAT_MARKER, marker).await? {
            return Err(refused());
        }
        Ok(())
    }

    /// Checks the format marker of a lake that must exist.
    pub(crate) async fn read_format(&self) -> Result<(), LakeError> {
        let Some(bytes) = self.get(paths::FORMAT_MARKER).await? else {
            return Err(LakeError::NotALake {
                url: self.url.to_string(),
            });
        };
        let found = serde_json::from_slice::<serde_json::Value>(&bytes)
            .ok()
            .and_then(|marker| marker["format"].as_u64())
            .ok_or_else(|| LakeError::Corrupt {
                key: self.describe(paths::FORMAT_MARKER),
                reason: "it is not a lake's format marker".to_owned(),
            })?;
        if found == FORMAT {
            Ok(())
        } else {
            Err(LakeError::UnknownFormat {
                url: self.url.to_string(),
                found,
                known: FORMAT,
            })
        }
    }

    /// The key as the whole store knows it.
    pub(crate) fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }

    /// The key as a person knows it.
    pub(crate) fn describe(&self, key: &str) -> String {
        format!("{}{key}", self.url)
    }

    /// Puts an object unless it exists; whether it was put.
    pub(crate) async fn put_new(&self, key: &str, bytes: Bytes) -> Result<bool, LakeError> {
        let options = PutOptions::from(PutMode::Create);
        match self
            .root
            .put_opts(&self.path(key), bytes.into(), options)
            .await
        {
            Ok(_) => Ok(true),
            Err(StoreError::AlreadyExists { .. }) => Ok(false),
            Err(e) => Err(LakeError::store("write", self.describe(key), e)),
        }
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, LakeError> {
        let read = |e| LakeError::store("read", self.describe(key), e);
        match self.root.get(&self.path(key)).await {
            Ok(found) => found.bytes().await.map(Some).map_err(read),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(read(e)),
        }
    }

    pub(crate) async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, LakeError> {
        match self.root.head(&self.path(key)).await {
            Ok(meta) => Ok(Some(meta)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(LakeError::store("read", self.describe(key), e)),
        }
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<(), LakeError> {
        match self.root.delete(&self.path(key)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(e) => Err(LakeError::store("delete", self.describe(key), e)),
        }
    }

    /// Every object below a folder by its key, sorted.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<(String, ObjectMeta)>, LakeError> {
        let listed: Vec<ObjectMeta> = self
            .root
            .list(Some(&self.path(folder)))
            .try_collect()
            .await
            .map_err(|e| LakeError::store("list", self.describe(folder), e))?;
        let mut objects: Vec<(String, ObjectMeta)> = listed
            .into_iter()
            .filter_map(|meta| {
                let key: Path = meta.location.prefix_match(&self.prefix)?.collect();
                Some((key.to_string(), meta))
            })
            .collect();
        objects.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(objects)
    }

    /// The numbers under a folder, rising.
    pub(crate) async fn numbers(&self, folder: &str) -> Result<Vec<u64>, LakeError> {
        let listed = self.list(folder).await?;
        let mut numbers: Vec<u64> = listed
            .iter()
            .filter_map(|(key, _)| paths::number_of(key))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn put_new_never_overwrites() {
        let store = LakeStore::connect("memory://", &StoreOptions::default()).unwrap();
        store.probe().await.unwrap();
        store.probe().await.unwrap();
        assert!(store.put_new("a/b", Bytes::from("1")).await.unwrap());
        assert!(!store.put_new("a/b", Bytes::from("2")).await.unwrap());
        assert_eq!(store.get("a/b").await.unwrap().unwrap(), "1");
        assert_eq!(store.get("a/c").await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_empty_folder_is_not_a_lake() {
        let folder = tempfile::tempdir().unwrap();
        let store =
            LakeStore::connect(folder.path().to_str().unwrap(), &StoreOptions::default()).unwrap();
        let error = store.read_format().await.unwrap_err();
        assert!(matches!(error, LakeError::NotALake { .. }), "{error}");
    }
}
