//! Owns what a snapshot of a live cluster adds to its day. Pure.
//!
//! The first snapshot of a UTC day writes every object, so that a day stands on its own. A later one
//! is compared with what the day holds: a kind of which nothing changed writes nothing. Of a kind
//! that changed it writes the listing, each new version whole, and for each object that stayed the
//! same a row without a body, which extends `seen_to` of that version to now. Earlier rows are never
//! rewritten; a version's span is the least `seen_from` to the greatest `seen_to` of its rows.

use std::collections::{BTreeMap, BTreeSet};

use super::snapshot::{KindState, Snapshot};
use super::tables::{Key, ObjectTables};
use crate::ingest::rows::{RowError, TableBatches};
use crate::model::workload::kind_of;

/// A version of an object: `None` as a resourceVersion never equals another.
type Version = (Key, Option<String>);

/// What the day holds of a source before the snapshot.
#[derive(Debug, Clone, Default)]
pub struct KnownDay {
    listings: BTreeMap<String, KnownKind>,
    versions: BTreeMap<Version, i64>,
}

#[derive(Debug, Clone, Default)]
struct KnownKind {
    last_ms: i64,
    state: String,
    listed_ms: Option<i64>,
}

/// A row of `objects`, without its body.
#[derive(Debug, Clone, Default)]
pub struct KnownObject {
    pub api_version: String,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub seen_to_ms: i64,
}

impl KnownDay {
    /// Takes a row of `snapshots`.
    pub fn add_listing(&mut self, kind: &str, ts_ms: i64, state: &str) {
        let known = self.listings.entry(kind.to_owned()).or_default();
        if ts_ms >= known.last_ms {
            known.last_ms = ts_ms;
            state.clone_into(&mut known.state);
        }
        if state == KindState::Listed.name() {
            known.listed_ms = known.listed_ms.max(Some(ts_ms));
        }
    }

    /// Takes a row of `objects`.
    pub fn add_object(&mut self, object: KnownObject) {
        let key = Key {
            api_version: object.api_version,
            kind: object.kind,
            namespace: object.namespace,
            name: object.name,
            uid: object.uid,
        };
        let seen = self
            .versions
            .entry((key, object.resource_version))
            .or_insert(i64::MIN);
        *seen = object.seen_to_ms.max(*seen);
    }

    /// The newest snapshot of the day.
    pub(super) fn last_ms(&self) -> Option<i64> {
        self.listings.values().map(|known| known.last_ms).max()
    }
}

/// The rows that a snapshot adds.
#[derive(Debug)]
pub(super) struct Increment {
    pub tables: Vec<TableBatches>,
    pub new_versions: u64,
    pub sightings: u64,
    pub is_empty: bool,
}

pub(super) fn increment(
    cluster: &str,
    known: &KnownDay,
    snapshot: &Snapshot,
    ts_ms: i64,
) -> Result<Increment, RowError> {
    // What was there when each kind was last listed.
    let mut standing: BTreeMap<String, BTreeSet<&Version>> = BTreeMap::new();
    for (version, seen_to_ms) in &known.versions {
        let kind = kind_of(&version.0.api_version, &version.0.kind);
        let listed_ms = known.listings.get(&kind).and_then(|known| known.listed_ms);
        if listed_ms == Some(*seen_to_ms) {
            standing.entry(kind).or_default().insert(version);
        }
    }
    let mut tables = ObjectTables::new(cluster)?;
    let (mut new_versions, mut sightings, mut is_empty) = (0, 0, true);
    for list in &snapshot.lists {
        let before = known.listings.get(&list.kind);
        let same_state = before.is_some_and(|before| before.state == list.state.name());
        if list.state != KindState::Listed {
            if !same_state {
                tables.listing(ts_ms, &list.kind, &list.state, 0)?;
                is_empty = false;
            }
            continue;
        }
        let now: Vec<Version> = list
            .objects
            .iter()
            .map(|object| (Key::of(object), object.resource_version.clone()))
            .collect();
        let was = standing.get(&list.kind);
        let same_objects = now.len() == was.map_or(0, BTreeSet::len)
            && now
                .iter()
                .all(|version| version.1.is_some() && was.is_some_and(|was| was.contains(version)));
        if same_state && same_objects {
            continue;
        }
        is_empty = false;
        let count = i64::try_from(now.len()).unwrap_or(i64::MAX);
        tables.listing(ts_ms, &list.kind, &list.state, count)?;
        for (version, object) in now.iter().zip(&list.objects) {
            let is_known = version.1.is_some() && known.versions.contains_key(version);
            let body = (!is_known).then_some(object.json.as_str());
            tables.object(&version.0, version.1.as_deref(), body, ts_ms, ts_ms)?;
            new_versions += u64::from(!is_known);
            sightings += 1;
        }
    }
    Ok(Increment {
        tables: tables.finish()?,
        new_versions,
        sightings,
        is_empty,
    })
}

#[cfg(test)]
mod tests {
    use super::super::lists::ListedObject;
    use super::super::snapshot::KindList;
    use super::*;

    fn pod(name: &str, version: &str) -> ListedObject {
        ListedObject {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: Some("chat".to_owned()),
            name: name.to_owned(),
            uid: Some(format!("u-{name}")),
            resource_version: Some(version.to_owned()),
            json: "{}".to_owned(),
        }
    }

    fn snapshot(state: KindState, objects: Vec<ListedObject>) -> Snapshot {
        Snapshot {
            lists: vec![KindList {
                kind: "pod".to_owned(),
                resource: "pods".to_owned(),
                api_version: "v1".to_owned(),
                kind_name: "Pod".to_owned(),
                resource_version: None,
                state,
                objects,
            }],
            cluster_uid: None,
        }
    }

    /// What a snapshot adds, and takes it into the day as the lake would give it back.
    fn add(known: &mut KnownDay, snapshot: &Snapshot, ts_ms: i64) -> (bool, u64, u64) {
        let made = increment("c", known, snapshot, ts_ms).unwrap();
        if !made.is_empty {
            let list = &snapshot.lists[0];
            known.add_listing("pod", ts_ms, list.state.name());
            for object in &list.objects {
                known.add_object(KnownObject {
                    api_version: object.api_version.clone(),
                    kind: object.kind.clone(),
                    namespace: object.namespace.clone(),
                    name: object.name.clone(),
                    uid: object.uid.clone(),
                    resource_version: object.resource_version.clone(),
                    seen_to_ms: ts_ms,
                });
            }
        }
        (made.is_empty, made.new_versions, made.sightings)
    }

    #[test]
    fn only_what_changed_is_written_and_the_rest_of_its_kind_is_seen_again() {
        let mut day = KnownDay::default();
        let both = || vec![pod("a", "1"), pod("b", "1")];
        let listed = |objects| snapshot(KindState::Listed, objects);
        assert_eq!(add(&mut day, &listed(both()), 10), (false, 2, 2));
        assert_eq!(add(&mut day, &listed(both()), 20), (true, 0, 0));
        let changed = vec![pod("a", "1"), pod("b", "2")];
        assert_eq!(add(&mut day, &listed(changed), 30), (false, 1, 2));
        assert_eq!(
            add(&mut day, &listed(vec![pod("a", "1")]), 40),
            (false, 0, 1)
        );
        assert_eq!(add(&mut day, &listed(vec![]), 50), (false, 0, 0));
        assert_eq!(add(&mut day, &listed(vec![]), 60), (true, 0, 0));
    }

    #[test]
    fn a_failure_is_written_once_and_so_is_its_end() {
        let mut day = KnownDay::default();
        let listed = || snapshot(KindState::Listed, vec![pod("a", "1")]);
        let failed = || snapshot(KindState::Failed("x".to_owned()), vec![]);
        assert_eq!(add(&mut day, &listed(), 10), (false, 1, 1));
        assert_eq!(add(&mut day, &failed(), 20), (false, 0, 0));
        assert_eq!(add(&mut day, &failed(), 30), (true, 0, 0));
        assert_eq!(add(&mut day, &listed(), 40), (false, 0, 1));
        assert_eq!(add(&mut day, &listed(), 50), (true, 0, 0));
        assert_eq!(day.last_ms(), Some(40));
    }
}
