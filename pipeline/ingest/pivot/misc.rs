//! Owns narrow series: what no wide table has a column for, sample by sample, and its labels.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::intake::{Intake, MiscSeries};
use crate::ingest::rows::{Cell, RowError, TableRows};

/// A series under its current name and its own labels.
struct Narrow<'s, 'a> {
    metric: &'a str,
    labels_json: String,
    series: &'s MiscSeries<'a>,
}

impl Narrow<'_, '_> {
    /// A stable fingerprint: the first eight bytes of a SHA-256, kept as an integer's bits.
    fn fingerprint(&self) -> i64 {
        let digest = Sha256::new()
            .chain_update(self.metric.as_bytes())
            .chain_update([0])
            .chain_update(self.labels_json.as_bytes())
            .finalize();
        digest.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
    }
}

/// One sample of each series, sorted by metric, fingerprint and time.
pub(super) fn write_samples(
    cluster: &str,
    intake: &mut Intake<'_>,
    rows: &mut TableRows,
) -> Result<(), RowError> {
    let all = intake.misc.len();
    let kept = narrow(intake);
    let duplicates = (all - kept.len()) as u64;
    for ((metric, fingerprint), narrow) in &kept {
        for (ts, value) in narrow.series.times.iter().zip(narrow.series.values.iter()) {
            rows.push(&[
                Cell::Text(cluster),
                Cell::Text(metric),
                Cell::Int(*fingerprint),
                Cell::Time(*ts),
                Cell::Float(*value),
            ])?;
        }
    }
    intake.stats.series_duplicate += duplicates;
    Ok(())
}

pub(super) fn write_series(
    cluster: &str,
    intake: &Intake<'_>,
    rows: &mut TableRows,
) -> Result<(), RowError> {
    for ((metric, fingerprint), narrow) in narrow(intake) {
        let times = &narrow.series.times;
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            continue;
        };
        rows.push(&[
            Cell::Text(cluster),
            Cell::Text(metric),
            Cell::Int(fingerprint),
            Cell::Text(&narrow.labels_json),
            Cell::Time(*first),
            Cell::Time(*last),
            Cell::Int(times.len() as i64),
            Cell::Bool(narrow.series.ended_stale),
        ])?;
    }
    Ok(())
}

/// Every series once: an old name gives way to the current one of its target, and of two series
/// with equal labels the one with more samples stays.
fn narrow<'s, 'a>(intake: &'s Intake<'a>) -> BTreeMap<(&'a str, i64), Narrow<'s, 'a>> {
    let mut kept: BTreeMap<(&'a str, i64), Narrow<'s, 'a>> = BTreeMap::new();
    for series in &intake.misc {
        let canonical = series.alias.canonical.as_str();
        if series.labels.name() != canonical && intake.has_metric(series.target, canonical) {
            continue;
        }
        let narrow = Narrow {
            metric: canonical,
            labels_json: labels_json(intake, series),
            series,
        };
        let key = (canonical, narrow.fingerprint());
        let better = kept.get(&key).is_none_or(|known| {
            (known.series.times.len(), &known.series.times) < (series.times.len(), &series.times)
        });
        if better {
            kept.insert(key, narrow);
        }
    }
    kept
}

fn labels_json(intake: &Intake<'_>, series: &MiscSeries<'_>) -> String {
    let mut labels: BTreeMap<&str, &str> = series
        .labels
        .iter()
        .filter(|(name, _)| *name != "__name__" && !intake.is_replica_label(name))
        .collect();
    if series.alias.exported_wins {
        for (name, value) in series.labels.iter() {
            if let Some(own) = name.strip_prefix("exported_") {
                labels.remove(name);
                labels.insert(own, value);
            }
        }
    }
    // Strings only: this cannot fail, and an empty object would be a wrong answer.
    serde_json::to_string(&labels).unwrap_or_else(|_| "{}".to_owned())
}
