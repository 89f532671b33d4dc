//! Owns vacuum: which objects nobody needs any more, and deleting them.
//!
//! Needed is what the newest version of a table names, what a version that a kept publication pins
//! names, and what became superfluous only a short while ago: a reader may be at it, and a run may
//! be about to publish it. Of evidence, what kept publications name, at first or second hand. What
//! is planned without a lease is looked at again under the lease of whoever could need it. Called
//! by [`super::upkeep`].

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};

use super::error::LakeError;
use super::lease::{FLEET_LEASE, Lease, source_lease};
use super::publication::{self, Publication};
use super::schema::{TABLES, TableKind, TableSpec};
use super::store::LakeStore;
use super::{commit, paths};

/// Deletes between two looks at the lease.
const BATCH: usize = 256;
const AT_ONCE: usize = 8;
/// What names other evidence is a manifest of megabytes at most.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;
const DIGEST_DIGITS: usize = 64;

/// What a vacuum may take.
#[derive(Debug, Clone, Copy, Default)]
pub struct VacuumOptions {
    /// How long ago an object must have become superfluous.
    pub older_than_ms: i64,
    /// Count only.
    pub dry_run: bool,
    /// Publications made before this go, and with them what only they pin; never the newest.
    /// `None` keeps all.
    pub publications_before_ms: Option<i64>,
    /// Evidence written before this goes, unless a publication made since then, or the newest,
    /// names it. `None` keeps all.
    pub evidence_before_ms: Option<i64>,
}

/// Objects that may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Candidates {
    /// By table, the paths below its root and their sizes.
    files: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// Keys of log entries and evidence.
    logs: BTreeMap<String, u64>,
    evidence: BTreeMap<String, u64>,
    /// The newest publication when it was planned.
    newest: u64,
}

pub(crate) struct Plan {
    pub(crate) by_lease: BTreeMap<String, Candidates>,
    pub(crate) unknown: BTreeSet<String>,
}

/// What a vacuum deleted, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VacuumReport {
    pub data_files: usize,
    pub data_bytes: u64,
    pub log_files: usize,
    pub log_bytes: u64,
    pub evidence_files: usize,
    pub evidence_bytes: u64,
    pub publications: Vec<u64>,
    /// Folders that no known source explains: left alone.
    pub unknown: BTreeSet<String>,
    /// Leases that another writer held: theirs comes with the next vacuum.
    pub held: BTreeSet<String>,
}

impl VacuumReport {
    pub(crate) fn add(&mut self, gone: &Candidates) {
        for files in gone.files.values() {
            self.data_files += files.len();
            self.data_bytes += files.values().sum::<u64>();
        }
        self.log_files += gone.logs.len();
        self.log_bytes += gone.logs.values().sum::<u64>();
        self.evidence_files += gone.evidence.len();
        self.evidence_bytes += gone.evidence.values().sum::<u64>();
    }
}

/// The publications that are older than is wanted.
pub(crate) async fn expired_publications(
    store: &LakeStore,
    options: &VacuumOptions,
) -> Result<Vec<u64>, LakeError> {
    let Some(before_ms) = options.publications_before_ms else {
        return Ok(Vec::new());
    };
    let mut all = publication::all(store).await?;
    all.pop();
    let old = all.iter().filter(|p| p.created_ms < before_ms);
    Ok(old.map(|p| p.number).collect())
}

pub(crate) async fn delete_publications(
    store: &LakeStore,
    numbers: &[u64],
) -> Result<(), LakeError> {
    for number in numbers {
        store.delete(&paths::publication(*number)).await?;
    }
    Ok(())
}

/// Everything that may go, by the lease under which it must be looked at again.
pub(crate) async fn plan(
    store: &LakeStore,
    options: &VacuumOptions,
    now_ms: i64,
) -> Result<Plan, LakeError> {
    let before_ms = now_ms - options.older_than_ms;
    let expired = expired_publications(store, options).await?;
    let mut kept = publication::all(store).await?;
    kept.retain(|publication| !expired.contains(&publication.number));
    let newest = kept.last().map_or(0, |publication| publication.number);
    let mut plan = Plan {
        by_lease: BTreeMap::new(),
        unknown: BTreeSet::new(),
    };
    for spec in TABLES {
        plan_table(store, spec, &kept, before_ms, &mut plan).await?;
    }
    if let Some(evidence_ms) = options.evidence_before_ms {
        let needed = needed_evidence(store, &kept, evidence_ms).await?;
        let fleet = plan.by_lease.entry(FLEET_LEASE.to_owned()).or_default();
        for (key, meta) in store.list(paths::EVIDENCE).await? {
            let digest = key.rsplit('/').next().unwrap_or_default();
            let is_old = meta.last_modified.timestamp_millis() < evidence_ms.min(before_ms);
            if is_old && paths::evidence(digest).as_ref() == Some(&key) && !needed.contains(digest)
            {
                fleet.evidence.insert(key, meta.size);
            }
        }
    }
    for candidates in plan.by_lease.values_mut() {
        candidates.newest = newest;
    }
    Ok(plan)
}

async fn plan_table(
    store: &LakeStore,
    spec: &'static TableSpec,
    kept: &[Publication],
    before_ms: i64,
    plan: &mut Plan,
) -> Result<(), LakeError> {
    let mut pinned: BTreeSet<i64> = kept
        .iter()
        .filter_map(|publication| publication.tables.get(spec.name).copied())
        .collect();
    let mut recent = BTreeSet::new();
    if let Some(head) = commit::open(store, spec.name, None).await? {
        pinned.insert(commit::version_of(&head));
        recent = commit::removed_since(spec, &head, before_ms).await?;
    }
    let (needed, seconds) = needed_files(store, spec, &pinned).await?;
    let root = format!("{}/", paths::table_root(spec.name));
    let listed = store.list(&paths::table_root(spec.name)).await?;
    let old: Vec<(&str, u64)> = listed
        .iter()
        .filter(|(_, meta)| meta.last_modified.timestamp_millis() <= before_ms)
        .filter_map(|(key, meta)| Some((key.strip_prefix(&root)?, meta.size)))
        .collect();

    // Versions before the last checkpoint that every kept version can start from are of no use.
    let numbers = |ending: &'static str| {
        let names = listed
            .iter()
            .filter_map(|(key, _)| key.rsplit_once("_delta_log/"));
        names.filter_map(move |(_, name)| name.strip_suffix(ending)?.parse::<i64>().ok())
    };
    let oldest = pinned.first().copied().unwrap_or_default();
    let start = numbers(".checkpoint.parquet")
        .filter(|v| *v <= oldest)
        .max();
    for (path, size) in &old {
        if let Some(name) = path.strip_prefix("_delta_log/") {
            let version = name.get(..20).and_then(|digits| digits.parse::<i64>().ok());
            if version.is_some_and(|version| start.is_some_and(|start| version < start)) {
                let fleet = plan.by_lease.entry(FLEET_LEASE.to_owned()).or_default();
                fleet.logs.insert(format!("{root}{path}"), *size);
            }
            continue;
        }
        let superfluous = !needed.contains(*path) && !recent.contains(*path);
        if !superfluous || !path.ends_with(".parquet") {
            continue;
        }
        match lease_of(spec, path, &seconds) {
            Some(lease) => {
                let candidates = plan.by_lease.entry(lease).or_default();
                let files = candidates.files.entry(spec.name).or_default();
                files.insert((*path).to_owned(), *size);
            }
            None => {
                let folder = path.rsplit_once('/').map_or(*path, |(folder, _)| folder);
                plan.unknown.insert(format!("{root}{folder}"));
            }
        }
    }
    Ok(())
}

/// Paths that any of the versions names, and the true values behind the partitions' folders.
async fn needed_files(
    store: &LakeStore,
    spec: &'static TableSpec,
    versions: &BTreeSet<i64>,
) -> Result<(BTreeSet<String>, BTreeMap<String, String>), LakeError> {
    let (mut needed, mut seconds) = (BTreeSet::new(), BTreeMap::new());
    let mut versions = versions.iter();
    let Some(first) = versions.next() else {
        return Ok((needed, seconds));
    };
    let Some(mut delta) = commit::open(store, spec.name, Some(*first)).await? else {
        return Ok((needed, seconds));
    };
    loop {
        for file in commit::live_files(spec, &delta)?.into_values() {
            let second = file.partition.second;
            seconds.insert(paths::segment(&second), second);
            needed.insert(file.path);
        }
        let Some(next) = versions.next() else {
            return Ok((needed, seconds));
        };
        commit::advance(spec, &mut delta, *next).await?;
    }
}

/// The lease of whoever could still commit a file of that path; `None` when nobody can tell.
fn lease_of(spec: &TableSpec, path: &str, seconds: &BTreeMap<String, String>) -> Option<String> {
    if spec.kind != TableKind::Raw {
        return Some(FLEET_LEASE.to_owned());
    }
    let folder = path.split('/').nth(1)?.strip_prefix("source=")?;
    if let Some(source) = seconds.get(folder) {
        return Some(source_lease(source));
    }
    // A name that needed no escape is its own folder.
    let plain = !folder.starts_with("x-") && paths::segment(folder) == folder;
    plain.then(|| source_lease(folder))
}

/// The digests that publications made since then, and the newest, rest on.
async fn needed_evidence(
    store: &LakeStore,
    kept: &[Publication],
    since_ms: i64,
) -> Result<BTreeSet<String>, LakeError> {
    let newest = kept.last().map(|publication| publication.number);
    let roots: BTreeSet<&str> = kept
        .iter()
        .filter(|p| p.created_ms >= since_ms || Some(p.number) == newest)
        .flat_map(|p| p.digests.values())
        .map(String::as_str)
        .collect();
    let mut needed = BTreeSet::new();
    for root in roots {
        needed.insert(root.to_owned());
        let Some(key) = paths::evidence(root) else {
            continue;
        };
        let named = match store.head(&key).await? {
            Some(meta) if meta.size <= MAX_MANIFEST_BYTES => store.get(&key).await?,
            _ => None,
        };
        needed.extend(digests_in(&named.unwrap_or_default()));
    }
    Ok(needed)
}

/// Every run of hexadecimal digits of a digest's length.
fn digests_in(text: &[u8]) -> Vec<String> {
    text.split(|byte| !byte.is_ascii_hexdigit())
        .filter(|run| run.len() == DIGEST_DIGITS)
        .map(|run| String::from_utf8_lossy(run).into_owned())
        .collect()
}

/// Deletes the candidates that nobody has come to need since they were found.
pub(crate) async fn delete(
    store: &LakeStore,
    lease: &Lease,
    candidates: &Candidates,
) -> Result<Candidates, LakeError> {
    let mut gone = candidates.clone();
    let newest = publication::read(store, None).await?;
    let unchanged = newest.as_ref().map_or(0, |p| p.number) == candidates.newest;
    if !unchanged {
        gone.evidence.clear();
        gone.logs.clear();
    }
    let mut keys: Vec<String> = Vec::new();
    for (table, files) in &mut gone.files {
        let spec = super::spec_of(table)?;
        let mut versions = BTreeSet::new();
        if let Some(head) = commit::open(store, table, None).await? {
            versions.insert(commit::version_of(&head));
        }
        if let Some(version) = newest.as_ref().and_then(|p| p.tables.get(*table)) {
            versions.insert(*version);
        }
        let (needed, _) = needed_files(store, spec, &versions).await?;
        files.retain(|path, _| !needed.contains(path));
        let root = paths::table_root(table);
        keys.extend(files.keys().map(|path| format!("{root}/{path}")));
    }
    keys.extend(gone.logs.keys().cloned());
    keys.extend(gone.evidence.keys().cloned());
    for batch in keys.chunks(BATCH) {
        lease.check_held().await?;
        stream::iter(batch)
            .map(Ok)
            .try_for_each_concurrent(AT_ONCE, |key| store.delete(key))
            .await?;
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_wherever_they_stand() {
        let digest = "ab".repeat(32);
        let text = format!("{{\"sha256\":\"{digest}\",\"rows\":12,\"other\":\"{digest}0\"}}");
        assert_eq!(digests_in(text.as_bytes()), [digest]);
    }

    #[test]
    fn a_folder_leads_to_its_sources_lease() {
        let spec = super::super::schema::table("snapshots").unwrap();
        let known = BTreeMap::from([("x-12".to_owned(), "prom a/b".to_owned())]);
        let lease = |source: &str| {
            lease_of(
                spec,
                &format!("date=2026-11-01/source={source}/w.parquet"),
                &known,
            )
        };
        assert_eq!(lease("prom").unwrap(), "source-prom");
        assert_eq!(lease("x-12").unwrap(), "source-prom a/b");
        assert_eq!(lease("x-34"), None);
        assert_eq!(lease_of(spec, "stray.parquet", &known), None);
    }
}
