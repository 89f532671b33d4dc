//! Owns the ingest of a live cluster: one snapshot, checked to be of the same cluster as before, added
//! to its day as a window of its own.

use super::RULES_VERSION;
use super::client::ClusterApi;
use super::error::KubernetesError;
use super::increment::increment;
use super::snapshot::Snapshot;
use crate::ingest::driver::{IngestReport, Job, Outcome, ReadWindow, WindowReport};
use crate::ingest::error::IngestError;
use crate::ingest::sink::ObjectSink;
use crate::model::TimeWindow;
use crate::model::canonical::sha256_hex;
use crate::model::time::format_ms;

/// Takes a snapshot and keeps what changed since the last one of the day.
pub async fn ingest_live<S: ObjectSink>(
    api: &ClusterApi,
    name: &str,
    cluster: &str,
    sink: &S,
    now_ms: i64,
) -> Result<IngestReport, IngestError> {
    let job = Job {
        sink,
        name,
        cluster,
        source_kind: "kubernetes",
        selector_digest: sha256_hex(RULES_VERSION.as_bytes()),
        force: false,
    };
    // A day may hold many snapshots, so each is a window as short as can be.
    let window = TimeWindow::new(now_ms, now_ms + 1);
    let day = TimeWindow::day_of(now_ms);
    let lake_error = |source| job.lake_error(window, source);
    let known = sink.known_day(name, day).await.map_err(lake_error)?;
    if let Some(last_ms) = known.last_ms().filter(|last_ms| *last_ms >= now_ms) {
        return Err(IngestError::from(KubernetesError::Clock {
            name: name.to_owned(),
            now: format_ms(now_ms),
            last: format_ms(last_ms),
        }));
    }
    let pinned = sink.cluster_uid(cluster).await.map_err(lake_error)?;
    let snapshot = job.while_alive(Snapshot::take(api), window).await??;
    if let (Some(pinned), Some(found)) = (&pinned, &snapshot.cluster_uid)
        && pinned != found
    {
        return Err(IngestError::from(KubernetesError::OtherCluster {
            cluster: cluster.to_owned(),
            pinned: pinned.clone(),
            found: found.clone(),
        }));
    }
    let made = increment(cluster, &known, &snapshot, now_ms)?;
    let mut report = job.report();
    report.snapshot = Some(snapshot.counts());
    let of_window = WindowReport {
        start_ms: window.start_ms,
        end_ms: window.end_ms,
        outcome: Outcome::Unchanged,
        series: made.new_versions,
        samples: made.sightings,
        stale_markers: 0,
        series_rejected: 0,
        series_duplicate: 0,
        rows: made.tables.iter().map(|t| (t.table, t.rows())).collect(),
        replicas: std::collections::BTreeMap::new(),
    };
    if made.is_empty {
        report.windows.push(of_window);
        return Ok(report);
    }
    let read = ReadWindow {
        window,
        report: of_window,
        tables: made.tables,
        source_end_ms: None,
        settles_ms: None,
        check: None,
    };
    report.windows.push(job.keep(read).await?);
    Ok(report)
}
