//! Owns where a run's files go: a folder, or a prefix of an object store. Whoever reads sees all files of
//! a run or none: a folder is renamed into place, and in a store `latest.json` names a run only when
//! the last of its files, the manifest, lies there.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Datelike as _};
use serde_json::Value;

use super::error::CliError;
use crate::config::Config;
use crate::lake::bucket::Bucket;
use crate::model::TimeWindow;

/// What shows whether a store can be written, and takes the same object whoever asks.
const PROBE: &str = ".idleproof-probe";

/// Where reports lie.
#[derive(Debug)]
pub(super) enum Shelf {
    Folder(PathBuf),
    Bucket(Box<Bucket>),
}

impl Shelf {
    /// Opens a folder or the URL of a store and finds out now whether it can be written.
    pub(super) async fn open(config: &Config, place: &str) -> Result<Self, CliError> {
        if !place.contains("://") {
            let folder = PathBuf::from(place);
            let probe = folder.join(format!(".probe-{}", std::process::id()));
            fs::create_dir_all(&folder)
                .and_then(|()| fs::write(&probe, b""))
                .and_then(|()| fs::remove_file(&probe))
                .map_err(|error| CliError::file("write the report to", &folder, error))?;
            return Ok(Self::Folder(folder));
        }
        let options = config.store_options(&config.file.report.output_options);
        let bucket = Bucket::open(place, &options.into())?;
        bucket.put(PROBE, Bytes::new()).await?;
        Ok(Self::Bucket(Box::new(bucket)))
    }

    /// How people reach a file of it.
    pub(super) fn shown(&self, key: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(key).display().to_string(),
            Self::Bucket(bucket) => format!("{}{key}", bucket.url()),
        }
    }

    /// Puts a run's files, the last of them last. What is there is never replaced.
    pub(super) async fn put(&self, place: &str, files: &[(&str, Vec<u8>)]) -> Result<(), CliError> {
        let bucket = match self {
            Self::Folder(output) => return write_whole(&output.join(place), files),
            Self::Bucket(bucket) => bucket,
        };
        for (name, bytes) in files {
            let key = format!("{place}/{name}");
            let bytes = Bytes::copy_from_slice(bytes);
            if !bucket.put_new(&key, bytes.clone()).await?
                && bucket.get(&key).await?.as_ref() != Some(&bytes)
            {
                return Err(occupied(&self.shown(place)));
            }
        }
        Ok(())
    }

    /// Puts files that belong to no run, unless they are there already: `false`. Who reads sees the last
    /// of them when all are there.
    pub(super) async fn put_once(
        &self,
        place: &str,
        files: &[(&str, Vec<u8>)],
    ) -> Result<bool, CliError> {
        let bucket = match self {
            Self::Folder(output) => {
                let folder = output.join(place);
                return Ok(!folder.exists() && write_whole(&folder, files).map(|()| true)?);
            }
            Self::Bucket(bucket) => bucket,
        };
        let last = files.last().map(|(name, _)| format!("{place}/{name}"));
        if let Some(last) = last
            && bucket.get(&last).await?.is_some()
        {
            return Ok(false);
        }
        for (name, bytes) in files {
            let bytes = Bytes::copy_from_slice(bytes);
            bucket.put(&format!("{place}/{name}"), bytes).await?;
        }
        Ok(true)
    }

    /// Names the newest run.
    pub(super) async fn point_to(&self, place: &str) -> Result<(), CliError> {
        let text = format!("{}\n", Value::from_iter([("path", Value::from(place))]));
        match self {
            Self::Folder(output) => {
                let partial = output.join(format!(".latest-{}", std::process::id()));
                let latest = output.join("latest.json");
                fs::write(&partial, text)
                    .and_then(|()| fs::rename(&partial, &latest))
                    .map_err(|error| CliError::file("write", latest, error))
            }
            Self::Bucket(bucket) => Ok(bucket.put("latest.json", Bytes::from(text)).await?),
        }
    }
}

/// Where the report goes, checked once: a store's folder has nothing beside it for a key.
pub(super) fn output_place(config: &Config) -> Result<String, CliError> {
    let place = config.place(&config.file.report.output);
    if place.contains("://") && config.file.approve.signing_key.is_none() {
        return Err(CliError::Usage(
            "[report] output is an object store: name the pipeline's key in [approve] signing_key, as it \
             must not lie there"
                .to_owned(),
        ));
    }
    Ok(place)
}

/// `YYYY/Www/<publication>`.
pub(super) fn place_of(window: TimeWindow, publication: u64) -> String {
    format!("{}/{publication}", week_of(window))
}

/// `YYYY/Www`, the ISO week of the window's last day.
pub(super) fn week_of(window: TimeWindow) -> String {
    let last = DateTime::from_timestamp_millis(window.end_ms - 1)
        .unwrap_or_default()
        .iso_week();
    format!("{:04}/W{:02}", last.year(), last.week())
}

fn occupied(place: &str) -> CliError {
    // A number is used once, so what lies there is another lake's.
    CliError::Usage(format!(
        "`{place}` exists already, from another lake: choose another output"
    ))
}

/// Writes a folder under another name and renames it: a reader sees all of its files or none.
fn write_whole(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), CliError> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    let partial = parent.join(format!(
        ".partial-{}-{}",
        folder.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let failed = |error| CliError::file("write the report to", folder, error);
    fs::create_dir_all(&partial).map_err(failed)?;
    for (name, bytes) in files {
        fs::write(partial.join(name), bytes).map_err(failed)?;
    }
    if folder.exists() {
        let _ = fs::remove_dir_all(&partial);
        return Err(occupied(&folder.display().to_string()));
    }
    fs::rename(&partial, folder).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::parse_ms;

    #[test]
    fn a_run_lies_by_the_week_of_its_last_day() {
        let window =
            |from: &str, to: &str| TimeWindow::new(parse_ms(from).unwrap(), parse_ms(to).unwrap());
        // Monday's midnight ends the week before.
        let week = window("2026-11-16", "2026-11-23");
        assert_eq!(place_of(week, 7), "2026/W47/7");
        let turn = window("2026-12-20", "2027-01-03");
        assert_eq!(place_of(turn, 12), "2026/W53/12");
    }
}
