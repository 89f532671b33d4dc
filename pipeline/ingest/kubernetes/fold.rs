//! Owns the folding of one day's snapshots: every version of an object once, with the first and the
//! last snapshot that saw it. Pure.

use std::collections::BTreeMap;

use super::lists::ListedObject;
use super::snapshot::KindState;
use super::tables::{Key, ObjectTables};
use crate::ingest::rows::{RowError, TableBatches};
use crate::model::workload::kind_of;

#[derive(Debug)]
struct Seen {
    resource_version: Option<String>,
    json: String,
    from_ms: i64,
    to_ms: i64,
}

#[derive(Debug)]
struct Listing {
    state: KindState,
    objects: i64,
}

/// The versions of one day.
#[derive(Debug, Default)]
pub(super) struct DayFold {
    versions: BTreeMap<Key, Vec<Seen>>,
    /// Objects by listing time and `kind.group`; a kind that was listed and empty has none.
    listed: BTreeMap<(i64, String), Listing>,
    /// When each kind was listed before the snapshot at hand.
    previous: BTreeMap<String, i64>,
    pub sightings: u64,
}

impl DayFold {
    /// Adds a whole snapshot; snapshots come in the order of time. `kinds` are those of which it
    /// says more than its objects do: listed and empty, absent, forbidden or failed.
    pub(super) fn add(
        &mut self,
        ts_ms: i64,
        kinds: Vec<(String, KindState)>,
        objects: Vec<ListedObject>,
    ) {
        for (kind, state) in kinds {
            let listing = Listing { state, objects: 0 };
            self.listed.insert((ts_ms, kind), listing);
        }
        for object in objects {
            let listed_kind = kind_of(&object.api_version, &object.kind);
            let previous = self.previous.get(&listed_kind).copied();
            let listing = self.listed.entry((ts_ms, listed_kind)).or_insert(Listing {
                state: KindState::Listed,
                objects: 0,
            });
            listing.objects += 1;
            self.sightings += 1;
            let key = Key::of(&object);
            let versions = self.versions.entry(key).or_default();
            match versions.last_mut() {
                // The same version, unless a listing in between did not have the object.
                Some(last)
                    if last.is_version(object.resource_version.as_deref(), &object.json)
                        && (previous == Some(last.to_ms) || last.to_ms == ts_ms) =>
                {
                    last.to_ms = ts_ms;
                }
                _ => versions.push(Seen {
                    resource_version: object.resource_version,
                    json: object.json,
                    from_ms: ts_ms,
                    to_ms: ts_ms,
                }),
            }
        }
        let now = self
            .listed
            .range((ts_ms, String::new())..)
            .filter(|(_, listing)| listing.state == KindState::Listed)
            .map(|((_, kind), _)| kind.clone());
        for kind in now.collect::<Vec<_>>() {
            self.previous.insert(kind, ts_ms);
        }
    }

    pub(super) fn versions(&self) -> u64 {
        self.versions
            .values()
            .map(|versions| versions.len() as u64)
            .sum()
    }

    pub(super) fn tables(&self, cluster: &str) -> Result<Vec<TableBatches>, RowError> {
        let mut tables = ObjectTables::new(cluster)?;
        for (key, versions) in &self.versions {
            for seen in versions {
                let version = seen.resource_version.as_deref();
                tables.object(key, version, Some(&seen.json), seen.from_ms, seen.to_ms)?;
            }
        }
        for ((ts_ms, kind), listing) in &self.listed {
            tables.listing(*ts_ms, kind, &listing.state, listing.objects)?;
        }
        tables.finish()
    }
}

impl Seen {
    fn is_version(&self, resource_version: Option<&str>, json: &str) -> bool {
        match (&self.resource_version, resource_version) {
            (Some(known), Some(other)) => known == other,
            (None, None) => self.json == json,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(version: &str) -> ListedObject {
        ListedObject {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: Some("chat".to_owned()),
            name: "p".to_owned(),
            uid: Some("u".to_owned()),
            resource_version: Some(version.to_owned()),
            json: format!("{{\"v\":{version}}}"),
        }
    }

    fn empty(kind: &str) -> Vec<(String, KindState)> {
        vec![(kind.to_owned(), KindState::Listed)]
    }

    fn seen(fold: &DayFold) -> Vec<(String, i64, i64)> {
        fold.versions
            .values()
            .flatten()
            .map(|s| (s.resource_version.clone().unwrap(), s.from_ms, s.to_ms))
            .collect()
    }

    #[test]
    fn a_version_is_kept_once_from_its_first_to_its_last_sighting() {
        let mut fold = DayFold::default();
        fold.add(10, vec![], vec![pod("1")]);
        fold.add(20, vec![], vec![pod("1")]);
        fold.add(30, vec![], vec![pod("2")]);
        assert_eq!(
            seen(&fold),
            [("1".to_owned(), 10, 20), ("2".to_owned(), 30, 30)]
        );
    }

    #[test]
    fn a_listing_without_the_object_ends_it_and_a_snapshot_without_the_kind_does_not() {
        let mut fold = DayFold::default();
        fold.add(10, vec![], vec![pod("1")]);
        fold.add(20, empty("node"), vec![]);
        fold.add(30, vec![], vec![pod("1")]);
        fold.add(40, empty("pod"), vec![]);
        fold.add(50, vec![], vec![pod("1")]);
        assert_eq!(
            seen(&fold),
            [("1".to_owned(), 10, 30), ("1".to_owned(), 50, 50)]
        );
        let listing = &fold.listed[&(40, "pod".to_owned())];
        assert_eq!((&listing.state, listing.objects), (&KindState::Listed, 0));
        assert_eq!(fold.sightings, 3);
    }
    #[test]
    fn a_kind_that_could_not_be_read_ends_nothing() {
        let mut fold = DayFold::default();
        fold.add(10, vec![], vec![pod("1")]);
        let failed = KindState::Failed("timeout".to_owned());
        fold.add(20, vec![("pod".to_owned(), failed)], vec![]);
        fold.add(30, vec![], vec![pod("1")]);
        assert_eq!(seen(&fold), [("1".to_owned(), 10, 30)]);
    }
}
