//! Owns the rows of `objects` and `snapshots`: one way for exports and for the live API.

use super::lists::ListedObject;
use super::snapshot::KindState;
use crate::ingest::rows::{Cell, RowError, TableBatches, TableRows};
use crate::lake::schema;

/// An object; a reinstalled one is another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub api_version: String,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    pub uid: Option<String>,
}

impl Key {
    pub(super) fn of(object: &ListedObject) -> Self {
        Self {
            api_version: object.api_version.clone(),
            kind: object.kind.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone(),
        }
    }
}

/// The rows of a window.
pub(super) struct ObjectTables<'a> {
    cluster: &'a str,
    objects: TableRows,
    snapshots: TableRows,
}

impl<'a> ObjectTables<'a> {
    pub(super) fn new(cluster: &'a str) -> Result<Self, RowError> {
        let spec = |name| {
            schema::table(name).ok_or(RowError::Cell {
                table: "tables.rs",
                column: name,
            })
        };
        Ok(Self {
            cluster,
            objects: TableRows::new(spec("objects")?)?,
            snapshots: TableRows::new(spec("snapshots")?)?,
        })
    }

    /// A version and when it was seen; no body where an earlier row of the day has it.
    pub(super) fn object(
        &mut self,
        key: &Key,
        resource_version: Option<&str>,
        json: Option<&str>,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<(), RowError> {
        self.objects.push(&[
            Cell::Text(self.cluster),
            Cell::Text(&key.api_version),
            Cell::Text(&key.kind),
            Cell::text(key.namespace.as_deref()),
            Cell::Text(&key.name),
            Cell::text(key.uid.as_deref()),
            Cell::text(resource_version),
            Cell::text(json),
            Cell::Time(from_ms),
            Cell::Time(to_ms),
        ])
    }

    /// What became of a kind at one time.
    pub(super) fn listing(
        &mut self,
        ts_ms: i64,
        kind: &str,
        state: &KindState,
        objects: i64,
    ) -> Result<(), RowError> {
        let (count, detail) = match state {
            KindState::Listed => (Cell::Int(objects), None),
            KindState::Failed(reason) => (Cell::Null, Some(reason.as_str())),
            KindState::Absent | KindState::Forbidden => (Cell::Null, None),
        };
        self.snapshots.push(&[
            Cell::Text(self.cluster),
            Cell::Time(ts_ms),
            Cell::Text(kind),
            count,
            Cell::Text(state.name()),
            Cell::text(detail),
        ])
    }

    pub(super) fn finish(self) -> Result<Vec<TableBatches>, RowError> {
        Ok(vec![self.objects.finish()?, self.snapshots.finish()?])
    }
}
