//! Owns the reading of exported snapshots: folders, files, lists. Bounded, and exact about which
//! file is at fault.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::files::{self, SUMMARY};
use super::fold::DayFold;
use super::lists::take_list;
use super::snapshot::KindState;
use crate::ingest::error::{ExportError, IngestError};
use crate::ingest::rows::TableBatches;
use crate::model::TimeWindow;
use crate::model::time::{format_ms, parse_ms};
use crate::model::workload::kind_of;

/// Bytes of JSON in one file, after decompression.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// A folder of snapshot folders.
#[derive(Debug, Clone)]
pub struct KubernetesExport {
    root: PathBuf,
    max_file_bytes: u64,
}

/// The objects of one UTC day.
#[derive(Debug)]
pub struct DayOfObjects {
    /// `objects` and `snapshots`.
    pub tables: Vec<TableBatches>,
    /// Rows of `objects`, and how many objects all snapshots of the day held together.
    pub versions: u64,
    pub sightings: u64,
    pub secrets_skipped: u64,
}

impl KubernetesExport {
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            max_file_bytes: MAX_FILE_BYTES,
        }
    }

    /// The snapshots by time.
    pub fn snapshots(&self) -> Result<BTreeMap<i64, PathBuf>, ExportError> {
        let mut found = BTreeMap::new();
        for path in entries(&self.root)? {
            if is_hidden(&path) || !path.is_dir() {
                continue;
            }
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            let Some(ts_ms) = parse_ms(name) else {
                return Err(ExportError::FolderName { path });
            };
            if found.insert(ts_ms, path).is_some() {
                return Err(ExportError::SameTime {
                    path: self.root.clone(),
                    time: format_ms(ts_ms),
                });
            }
        }
        Ok(found)
    }

    /// The half-open span of the snapshots; `None` without any.
    pub fn extent(&self) -> Result<Option<TimeWindow>, ExportError> {
        let snapshots = self.snapshots()?;
        let (first, last) = (snapshots.keys().next(), snapshots.keys().next_back());
        Ok(first
            .zip(last)
            .map(|(from, to)| TimeWindow::new(*from, to + 1)))
    }

    /// Reads and folds the snapshots of one day; `None` if there is none.
    pub fn read_day(
        &self,
        cluster: &str,
        day: TimeWindow,
    ) -> Result<Option<DayOfObjects>, IngestError> {
        let snapshots = self.snapshots()?;
        let mut fold = DayFold::default();
        let mut secrets_skipped = 0;
        let mut any = false;
        for (ts_ms, folder) in snapshots.range(day.start_ms..day.end_ms) {
            let mut objects = Vec::new();
            let mut kinds = self.states(folder)?;
            for path in entries(folder)? {
                if is_hidden(&path) || !is_list_file(&path) {
                    continue;
                }
                let list = self.read_list(&path)?;
                let taken = take_list(list).map_err(|reason| misshapen(&path, reason))?;
                secrets_skipped += taken.secrets_skipped;
                if taken.objects.is_empty() {
                    let said = taken.element.map(|(api, kind)| kind_of(&api, &kind));
                    let kind = said.or_else(|| kind_of_file(&path));
                    kinds.extend(kind.map(|kind| (kind, KindState::Listed)));
                }
                objects.extend(taken.objects);
            }
            any = true;
            fold.add(*ts_ms, kinds, objects);
        }
        if !any {
            return Ok(None);
        }
        Ok(Some(DayOfObjects {
            tables: fold.tables(cluster)?,
            versions: fold.versions(),
            sightings: fold.sightings,
            secrets_skipped,
        }))
    }

    /// What a snapshot of ours says of kinds that it has no list of; nothing where there is none.
    fn states(&self, folder: &Path) -> Result<Vec<(String, KindState)>, ExportError> {
        let path = folder.join(SUMMARY);
        if !path.is_file() {
            return Ok(Vec::new());
        }
        files::states(&self.read_list(&path)?).map_err(|reason| misshapen(&path, reason))
    }

    fn read_list(&self, path: &Path) -> Result<Value, ExportError> {
        let io_error = |source| ExportError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io_error)?;
        let reader: Box<dyn Read> = if path.extension().is_some_and(|e| e == "gz") {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut bytes = Vec::new();
        // One byte more than allowed tells "exactly at the limit" from "beyond it".
        let read = reader.take(self.max_file_bytes + 1).read_to_end(&mut bytes);
        read.map_err(|source| match source.kind() {
            io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof => {
                misshapen(path, format!("it cannot be decompressed ({source})"))
            }
            _ => io_error(source),
        })?;
        if bytes.len() as u64 > self.max_file_bytes {
            return Err(ExportError::TooLarge {
                path: path.to_owned(),
                limit: self.max_file_bytes,
            });
        }
        serde_json::from_slice(&bytes).map_err(|e| misshapen(path, e.to_string()))
    }
}

fn misshapen(path: &Path, reason: String) -> ExportError {
    ExportError::List {
        path: path.to_owned(),
        reason,
    }
}

/// What a folder holds, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let io_error = |source| ExportError::Io {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error)? {
        paths.push(entry.map_err(io_error)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_none_or(|name| name.to_string_lossy().starts_with('.'))
}

fn file_stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".json")
        .or_else(|| name.strip_suffix(".json.gz"))
}

fn is_list_file(path: &Path) -> bool {
    file_stem(path).is_some()
}

/// The kind that an empty list of that file name would hold: `pods.json` → `pod`,
/// `scaledobjects.keda.sh.json` → `scaledobject.keda.sh`.
fn kind_of_file(path: &Path) -> Option<String> {
    let stem = file_stem(path)?.to_ascii_lowercase();
    let (resource, group) = stem
        .split_once('.')
        .map_or((stem.as_str(), None), |(r, g)| (r, Some(g)));
    let kind = if let Some(base) = resource.strip_suffix("ies") {
        format!("{base}y")
    } else if ["sses", "xes", "ches"]
        .iter()
        .any(|plural| resource.ends_with(plural))
    {
        resource.strip_suffix("es").unwrap_or(resource).to_owned()
    } else {
        resource.strip_suffix('s').unwrap_or(resource).to_owned()
    };
    Some(group.map_or_else(|| kind.clone(), |group| format!("{kind}.{group}")))
}
