//! Owns the lake's object store: opening it, proving that it has put-if-absent, and the few
//! operations that the rest of the room needs.
//!
//! Objects are created, read, listed, and never changed. `PutMode::Update` is not used: the local
//! store does not have it.

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::memory::InMemory;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
};
use futures::TryStreamExt;
use url::Url;

use super::error::LakeError;
use super::paths;

const FORMAT: u64 = 1;

/// A store and the place of the lake in it.
#[derive(Debug, Clone)]
pub(crate) struct LakeStore {
    /// Of the whole store: `/` is the root of the file system, bucket or memory.
    pub(crate) root: Arc<dyn ObjectStore>,
    /// The lake's folder, ending in `/`.
    pub(crate) url: Url,
    prefix: Path,
}

impl LakeStore {
    pub(crate) fn from_url(text: &str) -> Result<Self, LakeError> {
        let bad = |reason: String| LakeError::BadUrl {
            url: text.to_owned(),
            reason,
        };
        let url = if text.contains("://") {
            Url::parse(text).map_err(|e| bad(e.to_string()))?
        } else {
            let path = std::path::absolute(FilePath::new(text)).map_err(|e| bad(e.to_string()))?;
            Url::from_directory_path(&path).map_err(|()| bad("not an absolute path".to_owned()))?
        };
        let root: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => Arc::new(LocalFileSystem::new()),
            "memory" => Arc::new(InMemory::new()),
            other => return Err(bad(format!("{other}:// stores are not supported"))),
        };
        Self::new(root, url)
    }

    pub(crate) fn new(root: Arc<dyn ObjectStore>, mut url: Url) -> Result<Self, LakeError> {
        let folder = format!("{}/", url.path().trim_end_matches('/'));
        url.set_path(&folder);
        let prefix = Path::from_url_path(url.path()).map_err(|e| LakeError::BadUrl {
            url: url.to_string(),
            reason: e.to_string(),
        })?;
        Ok(Self { root, url, prefix })
    }

    /// Makes the format marker, or reads the one that is there. Two conditional puts of the same
    /// key must not both succeed: a store that ignores the condition would lose commits silently.
    pub(crate) async fn probe(&self) -> Result<(), LakeError> {
        let marker = Bytes::from(format!("{{\"format\":{FORMAT}}}\n"));
        if !self.put_new(paths::FORMAT_MARKER, marker.clone()).await? {
            return self.read_format().await;
        }
        if self.put_new(paths::FORMAT_MARKER, marker).await? {
            return Err(LakeError::NoConditionalPut {
                url: self.url.to_string(),
            });
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

    /// The numbers under a folder, rising.
    pub(crate) async fn numbers(&self, folder: &str) -> Result<Vec<u64>, LakeError> {
        let listed: Vec<ObjectMeta> = self
            .root
            .list(Some(&self.path(folder)))
            .try_collect()
            .await
            .map_err(|e| LakeError::store("list", self.describe(folder), e))?;
        let mut numbers: Vec<u64> = listed
            .iter()
            .filter_map(|meta| paths::number_of(meta.location.as_ref()))
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
        let store = LakeStore::from_url("memory://").unwrap();
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
        let store = LakeStore::from_url(folder.path().to_str().unwrap()).unwrap();
        let error = store.read_format().await.unwrap_err();
        assert!(matches!(error, LakeError::NotALake { .. }), "{error}");
    }

    #[test]
    fn unknown_schemes_are_refused() {
        let error = LakeStore::from_url("ftp://x/y").unwrap_err();
        assert!(error.to_string().contains("ftp://"), "{error}");
    }
}
