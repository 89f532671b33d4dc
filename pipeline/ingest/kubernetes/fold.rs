//! Owns the folding of one day's snapshots: every version of an object once, with the first and the
//! last snapshot that saw it. Pure.

use std::collections::BTreeMap;

use crate::ingest::rows::{Cell, RowError, TableBatches, TableRows};
use crate::lake::schema;
use crate::model::workload::kind_of;

/// An object as a list held it, redacted.
#[derive(Debug, Clone)]
pub(super) struct ListedObject {
    pub api_version: String,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub json: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    api_version: String,
    kind: String,
    namespace: Option<String>,
    name: String,
    uid: Option<String>,
}

#[derive(Debug)]
struct Seen {
    resource_version: Option<String>,
    json: String,
    from_ms: i64,
    to_ms: i64,
}

/// The versions of one day.
#[derive(Debug, Default)]
pub(super) struct DayFold {
    versions: BTreeMap<Key, Vec<Seen>>,
    /// Objects by listing time and `kind.group`; a kind that was listed and empty has none.
    listed: BTreeMap<(i64, String), i64>,
    /// When each kind was listed before the snapshot at hand.
    previous: BTreeMap<String, i64>,
    pub sightings: u64,
}

impl DayFold {
    /// Adds a whole snapshot; snapshots come in the order of time.
    pub(super) fn add(&mut self, ts_ms: i64, empty_kinds: &[String], objects: Vec<ListedObject>) {
        for kind in empty_kinds {
            self.listed.entry((ts_ms, kind.clone())).or_default();
        }
        for object in objects {
            let listed_kind = kind_of(&object.api_version, &object.kind);
            let previous = self.previous.get(&listed_kind).copied();
            *self.listed.entry((ts_ms, listed_kind)).or_default() += 1;
            self.sightings += 1;
            let key = Key {
                api_version: object.api_version,
                kind: object.kind,
                namespace: object.namespace,
                name: object.name,
                uid: object.uid,
            };
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
        let now = self.listed.range((ts_ms, String::new())..).map(|((_, kind), _)| kind.clone());
        for kind in now.collect::<Vec<_>>() {
            self.previous.insert(kind, ts_ms);
        }
    }

    pub(super) fn versions(&self) -> u64 {
        self.versions.values().map(|versions| versions.len() as u64).sum()
    }

    pub(super) fn tables(&self, cluster: &str) -> Result<Vec<TableBatches>, RowError> {
        let spec = |name| {
            schema::table(name).ok_or(RowError::Cell {
                table: "tables.rs",
                column: name,
            })
        };
        let mut objects = TableRows::new(spec("objects")?)?;
        for (key, versions) in &self.versions {
            for seen in versions {
                objects.push(&[
                    Cell::Text(cluster),
                    Cell::Text(&key.api_version),
                    Cell::Text(&key.kind),
                    Cell::text(key.namespace.as_deref()),
                    Cell::Text(&key.name),
                    Cell::text(key.uid.as_deref()),
                    Cell::text(seen.resource_version.as_deref()),
                    Cell::Text(&seen.json),
                    Cell::Time(seen.from_ms),
                    Cell::Time(seen.to_ms),
                ])?;
            }
        }
        let mut snapshots = TableRows::new(spec("snapshots")?)?;
        for ((ts_ms, kind), count) in &self.listed {
            snapshots.push(&[
                Cell::Text(cluster),
                Cell::Time(*ts_ms),
                Cell::Text(kind),
                Cell::Int(*count),
            ])?;
        }
        Ok(vec![objects.finish()?, snapshots.finish()?])
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
        fold.add(10, &[], vec![pod("1")]);
        fold.add(20, &[], vec![pod("1")]);
        fold.add(30, &[], vec![pod("2")]);
        assert_eq!(seen(&fold), [("1".to_owned(), 10, 20), ("2".to_owned(), 30, 30)]);
    }

    #[test]
    fn a_listing_without_the_object_ends_it_and_a_snapshot_without_the_kind_does_not() {
        let mut fold = DayFold::default();
        fold.add(10, &[], vec![pod("1")]);
        fold.add(20, &["node".to_owned()], vec![]);
        fold.add(30, &[], vec![pod("1")]);
        fold.add(40, &["pod".to_owned()], vec![]);
        fold.add(50, &[], vec![pod("1")]);
        assert_eq!(seen(&fold), [("1".to_owned(), 10, 30), ("1".to_owned(), 50, 50)]);
        assert_eq!(fold.listed.get(&(40, "pod".to_owned())), Some(&0));
        assert_eq!(fold.sightings, 3);
    }
}
