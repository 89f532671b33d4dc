//! Owns the reading of exported snapshots: folders, files, lists. Bounded, and exact about which
//! file is at fault.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::fold::{DayFold, ListedObject};
use super::redact::redact;
use crate::ingest::error::{ExportError, IngestError};
use crate::ingest::rows::TableBatches;
use crate::model::TimeWindow;
use crate::model::time::{format_ms, parse_ms};

/// Bytes of JSON in one file, after decompression.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Bytes of a name that Kubernetes gave: its own limit is 253.
const MAX_NAME_BYTES: usize = 512;

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
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
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
        Ok(first.zip(last).map(|(from, to)| TimeWindow::new(*from, to + 1)))
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
            let mut empty_kinds = Vec::new();
            for path in entries(folder)? {
                if is_hidden(&path) || !is_list_file(&path) {
                    continue;
                }
                let list = self.read_list(&path)?;
                let before = objects.len();
                secrets_skipped += take_list(&path, list, &mut objects)?;
                if objects.len() == before {
                    empty_kinds.extend(kind_of_file(&path));
                }
            }
            any = true;
            fold.add(*ts_ms, &empty_kinds, objects);
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
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
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
    path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'))
}

fn file_stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".json").or_else(|| name.strip_suffix(".json.gz"))
}

fn is_list_file(path: &Path) -> bool {
    file_stem(path).is_some()
}

/// The kind that an empty list of that file name would hold: `pods.json` → `pod`,
/// `scaledobjects.keda.sh.json` → `scaledobject.keda.sh`.
fn kind_of_file(path: &Path) -> Option<String> {
    let stem = file_stem(path)?.to_ascii_lowercase();
    let (resource, group) = stem.split_once('.').map_or((stem.as_str(), None), |(r, g)| (r, Some(g)));
    let kind = if let Some(base) = resource.strip_suffix("ies") {
        format!("{base}y")
    } else if ["sses", "xes", "ches"].iter().any(|plural| resource.ends_with(plural)) {
        resource.strip_suffix("es").unwrap_or(resource).to_owned()
    } else {
        resource.strip_suffix('s').unwrap_or(resource).to_owned()
    };
    Some(group.map_or_else(|| kind.clone(), |group| format!("{kind}.{group}")))
}

/// Adds the objects of a list, an array or a single object; returns how many Secrets it skipped.
fn take_list(
    path: &Path,
    list: Value,
    objects: &mut Vec<ListedObject>,
) -> Result<u64, ExportError> {
    let Value::Object(mut map) = list else {
        return match list {
            Value::Array(items) => take_items(path, items, None, objects),
            _ => Err(misshapen(path, "it is neither an object nor an array".to_owned())),
        };
    };
    let text = |name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    match (map.remove("items"), kind) {
        (Some(Value::Array(items)), kind) => {
            // `PodList` holds Pods that do not repeat their kind; `List` holds anything.
            let element = kind.as_deref().and_then(|k| k.strip_suffix("List"));
            let element = element.filter(|k| !k.is_empty()).map(str::to_owned);
            take_items(path, items, api_version.zip(element), objects)
        }
        (Some(_), _) => Err(misshapen(path, "its items are not an array".to_owned())),
        (None, Some(kind)) if kind.ends_with("List") => {
            Err(misshapen(path, "it has no items".to_owned()))
        }
        (None, _) => take_items(path, vec![Value::Object(map)], None, objects),
    }
}

fn take_items(
    path: &Path,
    items: Vec<Value>,
    element: Option<(String, String)>,
    objects: &mut Vec<ListedObject>,
) -> Result<u64, ExportError> {
    let mut secrets_skipped = 0;
    for (index, mut item) in items.into_iter().enumerate() {
        let lacks = |what: &str| misshapen(path, format!("item {index} has no usable {what}"));
        let Value::Object(map) = &mut item else {
            return Err(misshapen(path, format!("item {index} is no object")));
        };
        if let Some((api_version, kind)) = &element {
            map.entry("apiVersion").or_insert_with(|| api_version.clone().into());
            map.entry("kind").or_insert_with(|| kind.clone().into());
        }
        let short = |text: &str| !text.is_empty() && text.len() <= MAX_NAME_BYTES;
        let top = |name: &str| item.get(name).and_then(Value::as_str).filter(|t| short(t));
        let meta = |name: &str| {
            let value = item.get("metadata").and_then(|m| m.get(name));
            value.and_then(Value::as_str).filter(|t| short(t)).map(str::to_owned)
        };
        let api_version = top("apiVersion").ok_or_else(|| lacks("apiVersion"))?.to_owned();
        let kind = top("kind").ok_or_else(|| lacks("kind"))?.to_owned();
        let name = meta("name").ok_or_else(|| lacks("metadata.name"))?;
        let (namespace, uid) = (meta("namespace"), meta("uid"));
        let resource_version = meta("resourceVersion");
        if !redact(&kind, &mut item) {
            secrets_skipped += 1;
            continue;
        }
        objects.push(ListedObject {
            api_version,
            kind,
            namespace,
            name,
            uid,
            resource_version,
            json: item.to_string(),
        });
    }
    Ok(secrets_skipped)
}
