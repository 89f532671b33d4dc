//! Owns the history of Kubernetes objects: snapshot versions folded into what was in force when.
//! It knows times, names and bodies, but no kind's meaning.
//!
//! Bodies stay text until somebody asks: a year of a large fleet has hundreds of thousands of versions,
//! and a parsed one takes ten times its text.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde_json::Value;

use crate::model::workload::kind_of;

use super::input::{ObjectVersion, SnapshotList};
use super::json;

/// An object by `kind.group`, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub(super) fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// `kind.group/namespace/name`, as remedies name objects.
    pub(super) fn path(&self) -> String {
        if self.namespace.is_empty() {
            format!("{}/{}", self.kind, self.name)
        } else {
            format!("{}/{}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// A version and the time in which its content is the best that is known.
#[derive(Debug)]
pub(super) struct Version {
    pub from_ms: i64,
    pub to_ms: i64,
    pub seen_from_ms: i64,
    pub seen_to_ms: i64,
    pub uid: Option<String>,
    /// Whether there is an object to read at all.
    pub is_known: bool,
    /// Whether it says who owns which of its fields.
    pub managed: bool,
    created_ms: Option<i64>,
    bare: bool,
    /// A pod's version before its last: it cannot have changed where the rest matters.
    slim: bool,
    json: Arc<str>,
    body: OnceLock<Value>,
    marks: OnceLock<Value>,
}

/// What the store itself reads of a body, without building the rest.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head {
    metadata: HeadMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HeadMetadata {
    uid: Option<Value>,
    creation_timestamp: Option<Value>,
    managed_fields: Option<serde::de::IgnoredAny>,
}

/// What a walk of owners reads, as the object has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Owned {
    metadata: OwnedMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OwnedMetadata {
    owner_references: Option<Value>,
}

/// What `kubectl apply` keeps beside the object: the object again.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Version {
    fn new(version: &ObjectVersion, bare: bool) -> Self {
        let head: Option<Head> = serde_json::from_str(&version.json).ok();
        let is_known = head.is_some();
        let head = head.unwrap_or_default();
        let text = |value: Option<Value>| value.and_then(|one| one.as_str().map(str::to_owned));
        let created = head.metadata.creation_timestamp.unwrap_or(Value::Null);
        Self {
            from_ms: version.seen_from_ms,
            to_ms: i64::MAX,
            seen_from_ms: version.seen_from_ms,
            seen_to_ms: version.seen_to_ms.max(version.seen_from_ms),
            uid: version.uid.clone().or_else(|| text(head.metadata.uid)),
            is_known,
            managed: head.metadata.managed_fields.is_some(),
            created_ms: json::time_ms(&created, &[]),
            bare,
            slim: false,
            json: Arc::clone(&version.json),
            body: OnceLock::new(),
            marks: OnceLock::new(),
        }
    }

    /// Its owner references alone, in their place, for one look.
    pub(super) fn owners(&self) -> Value {
        let owned: Owned = serde_json::from_str(&self.json).unwrap_or_default();
        serde_json::json!({"metadata": {"ownerReferences": owned.metadata.owner_references}})
    }

    /// Its labels and annotations alone, in their place, kept from the first look on. The body is the
    /// one that the caller has parsed for other reasons.
    pub(super) fn marks(&self, body: &Value) -> &Value {
        self.marks.get_or_init(|| {
            let of = |field: &str| json::get(body, &["metadata", field]).clone();
            let (labels, mut annotations) = (of("labels"), of("annotations"));
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.remove(APPLIED);
            }
            serde_json::json!({"metadata": {"labels": labels, "annotations": annotations}})
        })
    }

    /// Whether its text has a word: what does not need no parsing for it.
    pub(super) fn mentions(&self, word: &str) -> bool {
        self.json.contains(word)
    }

    /// The body, kept from the first look on. One that is no JSON still existed: its times count, its
    /// content is unknown.
    pub(super) fn body(&self) -> &Value {
        self.body.get_or_init(|| self.parse())
    }

    /// The body for one look.
    pub(super) fn peek(&self) -> Cow<'_, Value> {
        match self.body.get() {
            Some(body) => Cow::Borrowed(body),
            None => Cow::Owned(self.parse()),
        }
    }

    fn parse(&self) -> Value {
        let mut body: Value = serde_json::from_str(&self.json).unwrap_or(Value::Null);
        if self.bare
            && let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("managedFields");
        }
        if self.slim
            && let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut)
        {
            spec.retain(|field, _| field == "nodeName");
        }
        body
    }

    /// The same version with nothing kept.
    fn afresh(&self) -> Self {
        Self {
            uid: self.uid.clone(),
            json: Arc::clone(&self.json),
            body: OnceLock::new(),
            marks: OnceLock::new(),
            ..*self
        }
    }

    /// Whether both say the same; in kinds whose field owners nobody asks for, but for those.
    fn says_the_same(&self, other: &Self) -> bool {
        self.json == other.json || (self.bare && self.peek() == other.peek())
    }
    pub(super) fn holds(&self, ms: i64) -> bool {
        self.from_ms <= ms && ms < self.to_ms
    }

    pub(super) fn created_ms(&self) -> Option<i64> {
        self.created_ms
    }
}

/// All objects of one cluster over time.
#[derive(Debug, Default)]
pub(super) struct ObjectStore {
    lives: BTreeMap<Key, Vec<Version>>,
    listings: BTreeMap<String, BTreeSet<i64>>,
    kinds: BTreeSet<String>,
}

/// Kinds whose fields nobody is asked to have changed: the largest part of such an object is who owns
/// which of its fields.
const UNASKED: &[&str] = &[
    "pod",
    "node",
    "service",
    "namespace",
    "replicaset.apps",
    "endpointslice.discovery.k8s.io",
    "resourceslice.resource.k8s.io",
];

impl ObjectStore {
    pub(super) fn new(versions: &[ObjectVersion], snapshots: &[SnapshotList]) -> Self {
        let mut listings: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for list in snapshots {
            listings
                .entry(list.kind.to_ascii_lowercase())
                .or_default()
                .insert(list.ts_ms);
        }
        let mut lives: BTreeMap<Key, Vec<Version>> = BTreeMap::new();
        for version in versions {
            let kind = kind_of(&version.api_version, &version.kind);
            let bare = UNASKED.contains(&kind.as_str());
            lives
                .entry(Key::new(&kind, &version.namespace, &version.name))
                .or_default()
                .push(Version::new(version, bare));
        }
        let kinds: BTreeSet<String> = lives.keys().map(|key| key.kind.clone()).collect();
        let mut store = Self {
            lives: BTreeMap::new(),
            listings,
            kinds,
        };
        let listed: BTreeMap<String, BTreeSet<i64>> = store
            .kinds
            .iter()
            .map(|kind| (kind.clone(), store.listings_of(kind)))
            .collect();
        let none = BTreeSet::new();
        for (key, life) in &mut lives {
            settle(life, listed.get(&key.kind).unwrap_or(&none));
            if key.kind == "pod" {
                for index in 1..life.len() {
                    life[index - 1].slim = life[index - 1].uid == life[index].uid;
                }
            }
        }
        store.lives = lives;
        store
    }

    /// Some objects with all their versions and nothing kept: what a caller parses of them goes with it.
    pub(super) fn part<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Self {
        let lives = keys
            .into_iter()
            .filter_map(|key| {
                let versions = self.lives.get(key)?;
                Some((key.clone(), versions.iter().map(Version::afresh).collect()))
            })
            .collect();
        Self {
            lives,
            ..Self::default()
        }
    }

    /// The times at which snapshots listed a kind, found or not.
    pub(super) fn listings_of(&self, kind: &str) -> BTreeSet<i64> {
        let bare = kind.split('.').next().unwrap_or(kind);
        [kind, bare]
            .iter()
            .filter_map(|name| self.listings.get(*name))
            .flatten()
            .copied()
            .collect()
    }

    pub(super) fn versions(&self, key: &Key) -> &[Version] {
        self.lives.get(key).map_or(&[], Vec::as_slice)
    }

    /// The version in force, else the one nearest in time: a controller seen only last week
    /// still names its owner.
    pub(super) fn nearest(&self, key: &Key, ms: i64) -> Option<&Version> {
        self.versions(key).iter().min_by_key(|version| {
            if ms < version.from_ms {
                version.from_ms.saturating_sub(ms)
            } else if ms >= version.to_ms {
                ms.saturating_sub(version.to_ms).saturating_add(1)
            } else {
                0
            }
        })
    }

    /// All objects of a kind, in order of namespace and name.
    pub(super) fn of_kind<'a>(
        &'a self,
        kind: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a [Version])> {
        let start = Key::new(kind, "", "");
        self.lives
            .range(start..)
            .take_while(move |(key, _)| key.kind == kind)
            .map(|(key, versions)| (key, versions.as_slice()))
    }

    /// The objects of a kind in one namespace, in order of name.
    pub(super) fn in_namespace<'a>(
        &'a self,
        kind: &'a str,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a [Version])> {
        self.lives
            .range(Key::new(kind, namespace, "")..)
            .take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
            .map(|(key, versions)| (key, versions.as_slice()))
    }

    /// The key of an object that is known by bare kind only, as kube-state-metrics has it.
    pub(super) fn by_bare_kind(&self, kind: &str, namespace: &str, name: &str) -> Option<&Key> {
        let bare = kind.to_ascii_lowercase();
        let prefix = format!("{bare}.");
        self.kinds
            .range(bare.clone()..)
            .take_while(|kind| kind.starts_with(&bare))
            .filter(|kind| **kind == bare || kind.starts_with(&prefix))
            .find_map(|kind| self.lives.get_key_value(&Key::new(kind, namespace, name)))
            .map(|(key, _)| key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.lives.keys()
    }
}

/// Turns the times in which versions were seen into the times in which they hold.
fn settle(life: &mut Vec<Version>, listed: &BTreeSet<i64>) {
    life.sort_by(|a, b| {
        (a.seen_from_ms, a.seen_to_ms, &a.uid)
            .cmp(&(b.seen_from_ms, b.seen_to_ms, &b.uid))
            .then_with(|| a.json.cmp(&b.json))
    });
    // The same version seen in two ingest windows is one version.
    let mut merged: Vec<Version> = Vec::with_capacity(life.len());
    for version in life.drain(..) {
        let gone = merged
            .last()
            .is_some_and(|last| missing(listed, last.seen_to_ms, version.seen_from_ms).is_some());
        match merged.last_mut() {
            Some(last) if !gone && last.uid == version.uid && last.says_the_same(&version) => {
                last.seen_to_ms = last.seen_to_ms.max(version.seen_to_ms);
            }
            _ => merged.push(version),
        }
    }
    let created: Vec<Option<i64>> = merged.iter().map(Version::created_ms).collect();
    let seen: Vec<(i64, i64)> = merged
        .iter()
        .map(|version| (version.seen_from_ms, version.seen_to_ms))
        .collect();
    let uids: Vec<Option<String>> = merged.iter().map(|version| version.uid.clone()).collect();
    for (index, version) in merged.iter_mut().enumerate() {
        let same_as_before = index > 0 && uids[index - 1] == uids[index];
        let gone_before =
            index > 0 && missing(listed, seen[index - 1].1, version.seen_from_ms).is_some();
        version.from_ms = if index == 0 || !same_as_before || gone_before {
            // Its own birth is exact; before the first sight its content is the best guess.
            let earliest = if index == 0 {
                i64::MIN
            } else {
                seen[index - 1].1.saturating_add(1)
            };
            created[index]
                .unwrap_or(version.seen_from_ms)
                .clamp(earliest.min(version.seen_from_ms), version.seen_from_ms)
        } else {
            version.seen_from_ms
        };
    }
    for index in 0..merged.len() {
        let next_from = merged.get(index + 1).map_or(i64::MAX, |next| next.from_ms);
        let next_seen = seen.get(index + 1).map_or(i64::MAX, |next| next.0);
        let gone = missing(listed, seen[index].1, next_seen);
        let version = &mut merged[index];
        version.to_ms = gone.unwrap_or(i64::MAX).min(next_from).max(version.from_ms);
    }
    *life = merged;
}

/// The first listing strictly between two sights, at which the object was not there.
fn missing(listed: &BTreeSet<i64>, after_ms: i64, before_ms: i64) -> Option<i64> {
    if after_ms >= before_ms {
        return None;
    }
    listed
        .range((
            std::ops::Bound::Excluded(after_ms),
            std::ops::Bound::Excluded(before_ms),
        ))
        .next()
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(from: i64, to: i64, uid: &str, body: &str) -> ObjectVersion {
        ObjectVersion {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "a".into(),
            name: "p".into(),
            uid: Some(uid.into()),
            json: body.into(),
            seen_from_ms: from,
            seen_to_ms: to,
        }
    }

    fn lists(times: &[i64]) -> Vec<SnapshotList> {
        times
            .iter()
            .map(|ts_ms| SnapshotList {
                ts_ms: *ts_ms,
                kind: "Pod".into(),
            })
            .collect()
    }

    fn spans(store: &ObjectStore) -> Vec<(i64, i64)> {
        store
            .versions(&Key::new("pod", "a", "p"))
            .iter()
            .map(|version| (version.from_ms, version.to_ms))
            .collect()
    }

    #[test]
    fn a_listing_without_the_object_ends_it() {
        let store = ObjectStore::new(
            &[version(100, 200, "u", "{}")],
            &lists(&[100, 200, 300, 400]),
        );
        assert_eq!(spans(&store), vec![(100, 300)]);
    }

    #[test]
    fn without_a_later_listing_it_goes_on() {
        let store = ObjectStore::new(&[version(100, 200, "u", "{}")], &lists(&[100, 200]));
        assert_eq!(spans(&store), vec![(100, i64::MAX)]);
    }

    #[test]
    fn it_begins_at_its_creation_and_a_change_at_its_first_sight() {
        let born = r#"{"metadata":{"creationTimestamp":"1970-01-01T00:00:00.050Z"},"a":1}"#;
        let grown = r#"{"metadata":{"creationTimestamp":"1970-01-01T00:00:00.050Z"},"a":2}"#;
        let store = ObjectStore::new(
            &[version(100, 200, "u", born), version(300, 300, "u", grown)],
            &lists(&[100, 200, 300]),
        );
        assert_eq!(spans(&store), vec![(50, 300), (300, i64::MAX)]);
    }

    #[test]
    fn a_reinstalled_object_begins_at_its_own_birth() {
        let reborn = r#"{"metadata":{"creationTimestamp":"1970-01-01T00:00:00.250Z"}}"#;
        let store = ObjectStore::new(
            &[version(100, 200, "u", "{}"), version(300, 300, "w", reborn)],
            &lists(&[100, 200, 300]),
        );
        assert_eq!(spans(&store), vec![(100, 250), (250, i64::MAX)]);
    }

    #[test]
    fn hostile_bodies_are_objects_without_content() {
        let deep = "[".repeat(100_000);
        let store = ObjectStore::new(&[version(1, 1, "u", &deep)], &[]);
        assert_eq!(spans(&store), vec![(1, i64::MAX)]);
    }
}
