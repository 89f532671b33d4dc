//! Owns leases: who may commit to a source's raw tables, or to the derived ones.
//!
//! A lease is a row of numbered objects made by put-if-absent; the highest number holds. Renewing
//! makes the next number, and the number is the Delta application version of every commit, so a
//! writer that lost its lease is refused by the table itself once its successor has committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::LakeError;
use super::paths;
use super::store::LakeStore;

/// The lease of all derived and run tables, and of publications.
pub const FLEET_LEASE: &str = "fleet";
/// How long a lease holds after its last renewal.
pub const LEASE_EXPIRY: Duration = Duration::from_mins(5);
/// How often a holder should renew.
pub const LEASE_RENEWAL: Duration = Duration::from_mins(1);
/// Old numbers left in place, so that a writer that slept through a few cannot reuse one.
const KEPT: usize = 64;

/// The lease that covers one source's windows in every raw table.
#[must_use]
pub fn source_lease(source: &str) -> String {
    format!("source-{source}")
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    holder: String,
    /// The number under which this holder took the lease: unlike the holder's name, unique.
    first: u64,
    acquired_ms: i64,
    expires_ms: i64,
    released: bool,
    /// Counts what this process has written, so that it knows its own record again.
    #[serde(default)]
    nonce: u64,
}

static WRITTEN: AtomicU64 = AtomicU64::new(1);

fn nonce() -> u64 {
    WRITTEN.fetch_add(1, Ordering::Relaxed)
}

/// A lease taken. Clones are the same lease, so a background task can renew it.
#[derive(Debug, Clone)]
pub struct Lease {
    name: String,
    first: u64,
    holder: String,
    acquired_ms: i64,
    number: Arc<AtomicU64>,
    store: LakeStore,
}

impl Lease {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Rises with every renewal.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    /// Holds for another [`LEASE_EXPIRY`] from `now_ms`.
    pub async fn renew(&self, now_ms: i64) -> Result<(), LakeError> {
        self.write_next(now_ms, false).await
    }

    /// Gives the lease back, so that the next writer need not wait for its expiry.
    pub async fn release(&self, now_ms: i64) -> Result<(), LakeError> {
        self.write_next(now_ms, true).await
    }

    async fn write_next(&self, now_ms: i64, released: bool) -> Result<(), LakeError> {
        self.check_held().await?;
        let number = self.number() + 1;
        let record = Record {
            holder: self.holder.clone(),
            first: self.first,
            acquired_ms: self.acquired_ms,
            expires_ms: now_ms + LEASE_EXPIRY.as_millis() as i64,
            released,
            nonce: nonce(),
        };
        if !put(&self.store, &self.name, number, &record).await? {
            return Err(self.lost());
        }
        self.number.store(number, Ordering::SeqCst);
        Ok(())
    }

    /// Fails when a later number belongs to another holder, or the lease was given back.
    pub(crate) async fn check_held(&self) -> Result<(), LakeError> {
        match highest(&self.store, &self.name).await? {
            Some((_, record)) if record.first == self.first && !record.released => Ok(()),
            _ => Err(self.lost()),
        }
    }

    pub(crate) fn lost(&self) -> LakeError {
        LakeError::LeaseLost {
            name: self.name.clone(),
            number: self.number(),
        }
    }
}

/// Takes the lease, waiting at most `wait` for another holder to release it or let it expire.
pub(crate) async fn acquire(
    store: &LakeStore,
    name: &str,
    holder: &str,
    now_ms: i64,
    wait: Duration,
) -> Result<Lease, LakeError> {
    let started = Instant::now();
    loop {
        let waited = started.elapsed();
        let now_ms = now_ms + waited.as_millis() as i64;
        let top = highest(store, name).await?;
        if let Some((_, record)) = &top
            && !record.released
            && record.expires_ms > now_ms
        {
            if waited >= wait {
                return Err(LakeError::LeaseHeld {
                    name: name.to_owned(),
                    holder: record.holder.clone(),
                    since_ms: record.acquired_ms,
                });
            }
            let pause =
                Duration::from_millis(500).min(wait.checked_sub(waited).unwrap_or_default());
            tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
            continue;
        }
        let number = top.map_or(1, |(number, _)| number + 1);
        let record = Record {
            holder: holder.to_owned(),
            first: number,
            acquired_ms: now_ms,
            expires_ms: now_ms + LEASE_EXPIRY.as_millis() as i64,
            released: false,
            nonce: nonce(),
        };
        // Losing the race for a number means that someone else holds now: look again.
        if put(store, name, number, &record).await? {
            forget_old(store, name).await?;
            return Ok(Lease {
                name: name.to_owned(),
                first: number,
                holder: holder.to_owned(),
                acquired_ms: now_ms,
                number: Arc::new(AtomicU64::new(number)),
                store: store.clone(),
            });
        }
    }
}

async fn put(
    store: &LakeStore,
    name: &str,
    number: u64,
    record: &Record,
) -> Result<bool, LakeError> {
    let key = paths::lease(name, number);
    let text = serde_json::to_vec(record).map_err(|e| LakeError::Corrupt {
        key: store.describe(&key),
        reason: e.to_string(),
    })?;
    let text = Bytes::from(text);
    // A put whose answer was lost may be sent again, and then finds what it made itself.
    Ok(store.put_new(&key, text.clone()).await? || store.get(&key).await? == Some(text))
}

async fn highest(store: &LakeStore, name: &str) -> Result<Option<(u64, Record)>, LakeError> {
    loop {
        let numbers = store.numbers(&paths::lease_folder(name)).await?;
        let Some(&number) = numbers.last() else {
            return Ok(None);
        };
        let key = paths::lease(name, number);
        // Gone between listing and reading: the holder went on and cleaned up behind itself.
        let Some(bytes) = store.get(&key).await? else {
            continue;
        };
        let record = serde_json::from_slice(&bytes).map_err(|e| LakeError::Corrupt {
            key: store.describe(&key),
            reason: e.to_string(),
        })?;
        return Ok(Some((number, record)));
    }
}

/// A lease as its highest number shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseInfo {
    /// As its folder is called.
    pub name: String,
    pub number: u64,
    pub holder: String,
    pub acquired_ms: i64,
    pub expires_ms: i64,
    pub released: bool,
}

/// Every lease that was ever taken, by name.
pub(crate) async fn all(store: &LakeStore) -> Result<Vec<LeaseInfo>, LakeError> {
    let mut names: Vec<String> = store
        .list("leases")
        .await?
        .iter()
        .filter_map(|(key, _)| Some(key.strip_prefix("leases/")?.split('/').next()?.to_owned()))
        .collect();
    names.dedup();
    let mut leases = Vec::new();
    for name in names {
        if let Some((number, record)) = highest(store, &name).await? {
            leases.push(LeaseInfo {
                name,
                number,
                holder: record.holder,
                acquired_ms: record.acquired_ms,
                expires_ms: record.expires_ms,
                released: record.released,
            });
        }
    }
    Ok(leases)
}

async fn forget_old(store: &LakeStore, name: &str) -> Result<(), LakeError> {
    let numbers = store.numbers(&paths::lease_folder(name)).await?;
    for number in numbers.iter().rev().skip(KEPT) {
        store.delete(&paths::lease(name, *number)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::StoreOptions;

    const MINUTE_MS: i64 = 60_000;

    fn store() -> LakeStore {
        LakeStore::connect("memory://", &StoreOptions::default()).unwrap()
    }

    #[tokio::test]
    async fn one_holder_at_a_time_and_the_next_after_release() {
        let store = store();
        let first = acquire(&store, "fleet", "a", 0, Duration::ZERO)
            .await
            .unwrap();
        let error = acquire(&store, "fleet", "b", MINUTE_MS, Duration::ZERO)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, LakeError::LeaseHeld { holder, since_ms: 0, .. } if holder == "a"),
            "{error}"
        );
        first.release(MINUTE_MS).await.unwrap();
        assert!(first.check_held().await.is_err());
        let second = acquire(&store, "fleet", "b", MINUTE_MS, Duration::ZERO)
            .await
            .unwrap();
        assert!(second.number() > first.number());
    }

    #[tokio::test]
    async fn renewal_outlives_expiry_and_silence_does_not() {
        let store = store();
        let first = acquire(&store, "s", "a", 0, Duration::ZERO).await.unwrap();
        first.renew(4 * MINUTE_MS).await.unwrap();
        assert!(
            acquire(&store, "s", "b", 6 * MINUTE_MS, Duration::ZERO)
                .await
                .is_err()
        );
        let second = acquire(&store, "s", "b", 9 * MINUTE_MS, Duration::ZERO)
            .await
            .unwrap();
        assert!(matches!(
            first.renew(9 * MINUTE_MS).await,
            Err(LakeError::LeaseLost { .. })
        ));
        second.check_held().await.unwrap();
    }

    #[tokio::test]
    async fn waiting_ends_when_the_lease_is_released() {
        let store = store();
        let first = acquire(&store, "s", "a", 0, Duration::ZERO).await.unwrap();
        let other = store.clone();
        let waiting =
            tokio::spawn(
                async move { acquire(&other, "s", "b", 0, Duration::from_secs(20)).await },
            );
        tokio::time::sleep(Duration::from_millis(30)).await;
        first.release(0).await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().name(), "s");
    }

    #[tokio::test]
    async fn ten_rivals_for_one_expired_lease_leave_one_holder() {
        let store = store();
        acquire(&store, "s", "dead", 0, Duration::ZERO)
            .await
            .unwrap();
        let rivals =
            (0..10).map(|n| {
                let store = store.clone();
                async move {
                    acquire(&store, "s", &format!("r{n}"), 6 * MINUTE_MS, Duration::ZERO).await
                }
            });
        let won = futures::future::join_all(rivals).await;
        assert_eq!(won.iter().filter(|lease| lease.is_ok()).count(), 1);
    }

    #[tokio::test]
    async fn old_numbers_are_forgotten() {
        let store = store();
        for n in 0..(KEPT as i64 + 40) {
            let lease = acquire(&store, "s", "a", n, Duration::ZERO).await.unwrap();
            lease.release(n).await.unwrap();
        }
        let numbers = store.numbers(&paths::lease_folder("s")).await.unwrap();
        assert!(numbers.len() <= KEPT + 2, "{}", numbers.len());
    }
}
