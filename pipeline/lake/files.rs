//! Owns what is known of one data file, in the log or not yet in it, and its Delta actions.

use std::collections::HashMap;

use deltalake_core::kernel::{Add, LogicalFileView, Remove};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::TimeWindow;

use super::paths;
use super::schema::TableSpec;

/// The values of a table's two partition columns, as text (a date is `YYYY-MM-DD`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionKey {
    /// `date` or `run_id`.
    pub first: String,
    /// `source` or `cluster`.
    pub second: String,
}

impl PartitionKey {
    #[must_use]
    pub fn new(first: impl Into<String>, second: impl Into<String>) -> Self {
        Self {
            first: first.into(),
            second: second.into(),
        }
    }
}

/// One immutable Parquet file of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Below the table's root.
    pub path: String,
    pub partition: PartitionKey,
    pub size_bytes: u64,
    pub rows: u64,
    /// When the log first named it; `None` before that.
    pub modified_ms: Option<i64>,
    /// Delta's statistics, as JSON text.
    pub stats: String,
}

impl DataFile {
    pub(crate) fn from_log(spec: &TableSpec, view: &LogicalFileView) -> Option<Self> {
        let mut values = view.partition_values_map();
        let [first, second] = spec.partition_columns();
        let stats = view.stats().unwrap_or_else(|| "{}".to_owned());
        let rows = serde_json::from_str::<Value>(&stats).ok()?["numRecords"].as_u64()?;
        Some(Self {
            path: view.path().into_owned(),
            partition: PartitionKey::new(values.remove(first.name)??, values.remove(second.name)??),
            size_bytes: u64::try_from(view.size()).ok()?,
            rows,
            modified_ms: Some(view.modification_time()),
            stats,
        })
    }

    /// The ingest window that the file holds, for raw tables; of a compacted file, from the
    /// first to the last of its windows.
    #[must_use]
    pub fn window(&self) -> Option<TimeWindow> {
        paths::window_of(&self.path)
    }

    /// Whether the file holds several windows.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        paths::is_compacted(&self.path)
    }

    fn partition_values(&self, spec: &TableSpec) -> HashMap<String, Option<String>> {
        let [first, second] = spec.partition_columns();
        HashMap::from([
            (first.name.to_owned(), Some(self.partition.first.clone())),
            (second.name.to_owned(), Some(self.partition.second.clone())),
        ])
    }

    /// `data_change`: whether the table's rows are others after the commit.
    pub(crate) fn add(&self, spec: &TableSpec, now_ms: i64, data_change: bool) -> Add {
        Add {
            path: self.path.clone(),
            partition_values: self.partition_values(spec),
            size: self.size_bytes as i64,
            modification_time: self.modified_ms.unwrap_or(now_ms),
            data_change,
            stats: Some(self.stats.clone()),
            ..Add::default()
        }
    }

    pub(crate) fn remove(&self, spec: &TableSpec, now_ms: i64, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            data_change,
            deletion_timestamp: Some(now_ms),
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values(spec)),
            size: Some(self.size_bytes as i64),
            ..Remove::default()
        }
    }
}

/// Files written for one partition of one table that no commit names yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    pub table: String,
    pub partition: PartitionKey,
    pub files: Vec<DataFile>,
}

impl Staged {
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}
