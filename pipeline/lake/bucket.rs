//! Owns plain access to objects for other rooms: list, read whole or by ranges, put.
//!
//! It knows nothing of the lake's layout. `ingest` reads blocks of metrics through it. Keys are
//! relative to the folder that the bucket was opened at, without a leading `/`.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
};
use futures::TryStreamExt;
use url::Url;

pub use super::connect::StoreOptions;
use super::connect::connect;
use super::error::LakeError;

/// One object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketObject {
    pub key: String,
    pub size_bytes: u64,
}

/// A folder of a store. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Bucket {
    root: Arc<dyn ObjectStore>,
    url: Url,
    prefix: Path,
}

impl Bucket {
    /// Opens a path, `file://`, `memory://`, `s3://`, `gs://` or `az://` URL. No request is made.
    pub fn open(url: &str, options: &StoreOptions) -> Result<Self, LakeError> {
        let (root, url) = connect(url, options)?;
        let prefix = Path::from_url_path(url.path()).map_err(|e| LakeError::BadUrl {
            url: url.to_string(),
            reason: e.to_string(),
        })?;
        Ok(Self { root, url, prefix })
    }

    /// A folder of the lake's own store, for what is no table: the audit log.
    pub(crate) fn within(store: &super::store::LakeStore, folder: &str) -> Self {
        let mut url = store.url.clone();
        url.set_path(&format!("{}{folder}/", store.url.path()));
        Self {
            root: Arc::clone(&store.root),
            url,
            prefix: store.path(folder),
        }
    }

    /// The folder's URL, ending in `/`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The keys of the folders directly below a folder (`""`: the bucket's own), sorted, without
    /// a `/` at their end.
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, LakeError> {
        let path = self.path(prefix)?;
        let listed = self
            .root
            .list_with_delimiter(Some(&path))
            .await
            .map_err(|e| LakeError::store("list", self.describe(prefix), e))?;
        let mut keys: Vec<String> = listed
            .common_prefixes
            .iter()
            .filter_map(|path| self.key(path))
            .collect();
        keys.sort();
        Ok(keys)
    }

    /// Every object below a folder, at any depth, sorted by key.
    pub async fn list(&self, prefix: &str) -> Result<Vec<BucketObject>, LakeError> {
        let path = self.path(prefix)?;
        let listed: Vec<ObjectMeta> = self
            .root
            .list(Some(&path))
            .try_collect()
            .await
            .map_err(|e| LakeError::store("list", self.describe(prefix), e))?;
        let mut objects: Vec<BucketObject> = listed
            .iter()
            .filter_map(|meta| {
                Some(BucketObject {
                    key: self.key(&meta.location)?,
                    size_bytes: meta.size,
                })
            })
            .collect();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    /// The whole object, or `None` where there is none.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, LakeError> {
        let read = |e| LakeError::store("read", self.describe(key), e);
        match self.root.get(&self.path(key)?).await {
            Ok(found) => found.bytes().await.map(Some).map_err(read),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(read(e)),
        }
    }

    /// The object's bytes, or `None` where there is none.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, LakeError> {
        match self.root.head(&self.path(key)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(LakeError::store("read", self.describe(key), e)),
        }
    }

    /// A part of an object that is known to exist.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        let mut parts = self.get_ranges(key, &[range]).await?;
        Ok(parts.pop().unwrap_or_default())
    }

    /// Parts of an object, in the given order; ranges that lie near each other share a request.
    /// A part that the object does not wholly have is an error.
    pub async fn get_ranges(
        &self,
        key: &str,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, LakeError> {
        let parts = self
            .root
            .get_ranges(&self.path(key)?, ranges)
            .await
            .map_err(|e| LakeError::store("read", self.describe(key), e))?;
        let whole = parts.len() == ranges.len()
            && parts
                .iter()
                .zip(ranges)
                .all(|(part, range)| part.len() as u64 == range.end.saturating_sub(range.start));
        if whole {
            Ok(parts)
        } else {
            Err(LakeError::Corrupt {
                key: self.describe(key),
                reason: "it ends before the part that was asked for".to_owned(),
            })
        }
    }

    /// Puts an object unless it exists; whether it was put.
    pub async fn put_new(&self, key: &str, bytes: Bytes) -> Result<bool, LakeError> {
        let options = PutOptions::from(PutMode::Create);
        let path = self.path(key)?;
        match self.root.put_opts(&path, bytes.into(), options).await {
            Ok(_) => Ok(true),
            Err(StoreError::AlreadyExists { .. }) => Ok(false),
            Err(e) => Err(LakeError::store("write", self.describe(key), e)),
        }
    }

    /// Puts an object whatever is there: for pointers that readers follow, never for what they rest on.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), LakeError> {
        let path = self.path(key)?;
        let put = self.root.put(&path, bytes.into()).await;
        put.map(|_| ())
            .map_err(|e| LakeError::store("write", self.describe(key), e))
    }

    /// Keys come from listings of others: they are taken as they are, not escaped again.
    fn path(&self, key: &str) -> Result<Path, LakeError> {
        let key = Path::parse(key.trim_end_matches('/')).map_err(|e| LakeError::BadUrl {
            url: self.describe(key),
            reason: e.to_string(),
        })?;
        Ok(self.prefix.parts().chain(key.parts()).collect())
    }

    fn key(&self, path: &Path) -> Option<String> {
        let parts: Path = path.prefix_match(&self.prefix)?.collect();
        Some(parts.to_string())
    }

    fn describe(&self, key: &str) -> String {
        format!("{}{key}", self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn contract(bucket: &Bucket) {
        let text = Bytes::from_static(b"0123456789");
        assert!(bucket.put_new("a/b/c.txt", text.clone()).await.unwrap());
        assert!(!bucket.put_new("a/b/c.txt", "x".into()).await.unwrap());
        bucket.put_new("a/top", text.clone()).await.unwrap();
        bucket.put_new("z", text.clone()).await.unwrap();
        assert_eq!(bucket.folders("").await.unwrap(), ["a"]);
        assert_eq!(bucket.folders("a/").await.unwrap(), ["a/b"]);
        assert_eq!(bucket.folders("none").await.unwrap(), [""; 0]);
        let keys: Vec<String> = bucket
            .list("")
            .await
            .unwrap()
            .into_iter()
            .map(|o| o.key)
            .collect();
        assert_eq!(keys, ["a/b/c.txt", "a/top", "z"]);
        let listed = bucket.list("a/b").await.unwrap();
        assert_eq!((listed.len(), listed[0].size_bytes), (1, 10));
        assert_eq!(bucket.get("a/b/c.txt").await.unwrap().unwrap(), text);
        assert_eq!(bucket.get("a/none").await.unwrap(), None);
        assert_eq!(bucket.size("z").await.unwrap(), Some(10));
        assert_eq!(bucket.size("y").await.unwrap(), None);
        assert_eq!(bucket.get_range("z", 2..5).await.unwrap(), "234");
        let parts = bucket.get_ranges("z", &[8..10, 0..1]).await.unwrap();
        assert_eq!(parts, ["89", "0"]);
        assert!(bucket.get_range("z", 8..12).await.is_err());
        assert!(bucket.get_range("none", 0..1).await.is_err());
        assert!(bucket.get("../up").await.is_err());
    }

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        let options = StoreOptions::default();
        contract(&Bucket::open("memory:///deep/down", &options).unwrap()).await;
        contract(&Bucket::open("memory://", &options).unwrap()).await;
    }

    #[tokio::test]
    async fn disk_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a folder");
        let options = StoreOptions::default();
        contract(&Bucket::open(path.to_str().unwrap(), &options).unwrap()).await;
    }
}
