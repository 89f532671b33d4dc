//! Owns evidence: bytes that a finding rests on, copied and named by their digest.
//!
//! Log clean-up, compaction and vacuum all destroy old table versions, so what a replay reads is
//! never left to time travel.

use bytes::Bytes;

use crate::model::canonical::sha256_hex;

use super::error::LakeError;
use super::paths;
use super::store::LakeStore;

pub(crate) async fn put(store: &LakeStore, bytes: &[u8]) -> Result<String, LakeError> {
    let sha256 = sha256_hex(bytes);
    if let Some(key) = paths::evidence(&sha256) {
        store.put_new(&key, Bytes::copy_from_slice(bytes)).await?;
    }
    Ok(sha256)
}

pub(crate) async fn get(store: &LakeStore, sha256: &str) -> Result<Bytes, LakeError> {
    let missing = || LakeError::NoSuchEvidence {
        sha256: sha256.to_owned(),
    };
    let key = paths::evidence(sha256).ok_or_else(missing)?;
    let bytes = store.get(&key).await?.ok_or_else(missing)?;
    let found = sha256_hex(&bytes);
    if found == sha256 {
        Ok(bytes)
    } else {
        Err(LakeError::Corrupt {
            key: store.describe(&key),
            reason: format!("its content has the digest {found}"),
        })
    }
}
