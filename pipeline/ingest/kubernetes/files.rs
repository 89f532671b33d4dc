//! Owns snapshots as files: one folder, one list a kind as `kubectl get -o json` would write it, and
//! a summary of what has no list. It is there whole or not at all; `export` reads it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::error::KubernetesError;
use super::snapshot::{KindList, KindState, Snapshot};
use crate::model::time::format_ms;

/// The file beside the lists; not called `.json`, so that it is no list.
pub(super) const SUMMARY: &str = "snapshot.summary";

impl Snapshot {
    /// Writes the snapshot as a folder in `out`, named by its time, and says where it is.
    pub fn write(&self, out: &Path, taken_ms: i64) -> Result<PathBuf, KubernetesError> {
        let failed = |source| KubernetesError::Write {
            path: out.to_owned(),
            source,
        };
        let time = format_ms(taken_ms).replace(':', "-");
        let folder = out.join(&time);
        // Readers skip what is hidden, so they never see half of it.
        let unfinished = out.join(format!(".{time}.{}.unfinished", std::process::id()));
        fs::create_dir_all(&unfinished).map_err(failed)?;
        let written = self.write_into(&unfinished, &time).and_then(|()| {
            if folder.exists() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("there is a snapshot of {time} already"),
                ));
            }
            fs::rename(&unfinished, &folder)
        });
        if let Err(source) = written {
            let _ = fs::remove_dir_all(&unfinished);
            return Err(failed(source));
        }
        // The rename lasts only once the folder that holds it is on disk.
        File::open(out).and_then(|f| f.sync_all()).map_err(failed)?;
        Ok(folder)
    }

    fn write_into(&self, folder: &Path, time: &str) -> io::Result<()> {
        for list in &self.lists {
            if list.state == KindState::Listed {
                write_list(&folder.join(format!("{}.json", list.resource)), list)?;
            }
        }
        let kinds: Vec<Value> = self.lists.iter().map(summary).collect();
        let summary = json!({
            "time": time,
            "clusterUid": self.cluster_uid,
            "codeVersion": env!("CARGO_PKG_VERSION"),
            "kinds": kinds,
        });
        let mut file = File::create(folder.join(SUMMARY))?;
        file.write_all(format!("{summary:#}\n").as_bytes())?;
        file.sync_all()
    }
}

fn write_list(path: &Path, list: &KindList) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let head = json!({"resourceVersion": list.resource_version.clone().unwrap_or_default()});
    write!(
        out,
        "{{\"apiVersion\":{},\"kind\":{},\"metadata\":{head},\"items\":[",
        Value::from(list.api_version.as_str()),
        Value::from(format!("{}List", list.kind_name)),
    )?;
    for (index, object) in list.objects.iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        out.write_all(object.json.as_bytes())?;
    }
    out.write_all(b"\n]}\n")?;
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()
}

fn summary(list: &KindList) -> Value {
    let reason = match &list.state {
        KindState::Failed(reason) => Some(reason.as_str()),
        _ => None,
    };
    json!({"kind": list.kind, "state": list.state.name(), "reason": reason})
}

/// The kinds of a summary that have no list.
pub(super) fn states(summary: &Value) -> Result<Vec<(String, KindState)>, String> {
    let kinds = summary["kinds"].as_array().ok_or("it has no kinds")?;
    let mut states = Vec::new();
    for entry in kinds {
        let kind = entry["kind"].as_str().filter(|kind| !kind.is_empty());
        let kind = kind.ok_or("one of its kinds has no name")?;
        let state = match entry["state"].as_str() {
            Some("listed") => continue,
            Some("absent") => KindState::Absent,
            Some("forbidden") => KindState::Forbidden,
            Some("failed") => {
                KindState::Failed(entry["reason"].as_str().unwrap_or_default().to_owned())
            }
            _ => return Err(format!("kind {kind} has no known state")),
        };
        states.push((kind.to_owned(), state));
    }
    Ok(states)
}
