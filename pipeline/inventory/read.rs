//! Owns the way from the lake to the fold's inputs: the queries of `queries/inventory/`, one cluster
//! and one span of days at a time. It concludes nothing.

use std::collections::BTreeMap;

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use super::input::{
    GpuPodSpan, GpuSpan, Inputs, MetricSeries, ObjectVersion, SnapshotList, ValueRun,
};
use crate::lake::columns::{ColumnError, float, int, text, text_at};
use crate::lake::{LakeError, read_only_sql};
use crate::model::TimeWindow;
use crate::model::time::date_of;

/// Spacing assumed where a target was scraped once only.
const DEFAULT_INTERVAL_MS: i64 = 60_000;

/// Inventory that could not be read back from the lake.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read the inventory of cluster `{cluster}`: {source}")]
    Lake { cluster: String, source: LakeError },
    #[error(transparent)]
    Column(#[from] ColumnError),
}

struct Reader<'a> {
    session: &'a SessionContext,
    cluster: &'a str,
    evidence: TimeWindow,
    hold_ms: i64,
}

impl Reader<'_> {
    async fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>, ReadError> {
        let text = |value: String| ScalarValue::Utf8(Some(value));
        let last_ms = (self.evidence.end_ms - 1).max(self.evidence.start_ms);
        let all = [
            ("cluster", text(self.cluster.to_owned())),
            ("from_date", text(date_of(self.evidence.start_ms))),
            ("to_date", text(date_of(last_ms))),
            ("hold_ms", ScalarValue::Int64(Some(self.hold_ms))),
            (
                "default_interval_ms",
                ScalarValue::Int64(Some(DEFAULT_INTERVAL_MS)),
            ),
        ];
        let used: Vec<(&str, ScalarValue)> = all
            .into_iter()
            .filter(|(name, _)| sql.contains(&format!("${name}")))
            .collect();
        let failed = |source| ReadError::Lake {
            cluster: self.cluster.to_owned(),
            source,
        };
        read_only_sql(self.session, sql, used)
            .await
            .map_err(failed)?
            .collect()
            .await
            .map_err(|cause| failed(LakeError::sql("read the inventory's evidence", cause)))
    }
}

/// Fills `inputs` (whose cluster and window are set) from the lake's raw tables.
///
/// Evidence is read from `evidence`, which reaches beyond the window on both sides: an interval that
/// began before it must be known as such.
pub async fn read(
    session: &SessionContext,
    mut inputs: Inputs,
    evidence: TimeWindow,
) -> Result<Inputs, ReadError> {
    let cluster = inputs.cluster.clone();
    let mut reader = Reader {
        session,
        cluster: &cluster,
        evidence,
        hold_ms: 0,
    };
    for batch in reader
        .rows(include_str!(
            "../../queries/inventory/kube_state_interval.sql"
        ))
        .await?
    {
        let gaps = int(&batch, "gap_ms")?;
        if batch.num_rows() > 0 {
            inputs.series_interval_ms = gaps.value(0).max(1);
        }
    }
    // A sample holds for at most 2.5 intervals of its target.
    reader.hold_ms = inputs.series_interval_ms.saturating_mul(5) / 2;

    for batch in reader
        .rows(include_str!("../../queries/inventory/objects.sql"))
        .await?
    {
        let (api, kind) = (text(&batch, "api_version")?, text(&batch, "kind")?);
        let (namespace, name) = (text(&batch, "namespace")?, text(&batch, "name")?);
        let (uid, json) = (text(&batch, "uid")?, text(&batch, "object_json")?);
        let (from, to) = (int(&batch, "seen_from_ms")?, int(&batch, "seen_to_ms")?);
        inputs
            .objects
            .extend((0..batch.num_rows()).map(|row| ObjectVersion {
                api_version: api.value(row).to_owned(),
                kind: kind.value(row).to_owned(),
                namespace: namespace.value(row).to_owned(),
                name: name.value(row).to_owned(),
                uid: text_at(&uid, row),
                json: json.value(row).into(),
                seen_from_ms: from.value(row),
                seen_to_ms: to.value(row),
            }));
    }
    for batch in reader
        .rows(include_str!("../../queries/inventory/snapshots.sql"))
        .await?
    {
        let (ts, kind) = (int(&batch, "ts_ms")?, text(&batch, "kind")?);
        inputs
            .snapshots
            .extend((0..batch.num_rows()).map(|row| SnapshotList {
                ts_ms: ts.value(row),
                kind: kind.value(row).to_owned(),
            }));
    }
    let mut last_labels = String::new();
    for batch in reader
        .rows(include_str!("../../queries/inventory/kube_state_runs.sql"))
        .await?
    {
        series_runs(&batch, &mut last_labels, &mut inputs.series)?;
    }
    for batch in reader
        .rows(include_str!("../../queries/inventory/scaler_runs.sql"))
        .await?
    {
        scaler_runs(&batch, &mut inputs.series)?;
    }
    for batch in reader
        .rows(include_str!("../../queries/inventory/gpu_pod_spans.sql"))
        .await?
    {
        let (node, gpu, uuid) = (
            text(&batch, "node")?,
            text(&batch, "gpu")?,
            text(&batch, "uuid")?,
        );
        let mig = text(&batch, "mig_instance")?;
        let (namespace, pod) = (text(&batch, "namespace")?, text(&batch, "pod")?);
        let (first, last) = (int(&batch, "first_ms")?, int(&batch, "last_ms")?);
        inputs
            .gpu_pod_spans
            .extend((0..batch.num_rows()).map(|row| GpuPodSpan {
                node: node.value(row).to_owned(),
                gpu: gpu.value(row).to_owned(),
                uuid: uuid.value(row).to_owned(),
                mig_instance: text_at(&mig, row),
                namespace: namespace.value(row).to_owned(),
                pod: pod.value(row).to_owned(),
                first_ms: first.value(row),
                last_ms: last.value(row),
            }));
    }
    for batch in reader
        .rows(include_str!("../../queries/inventory/gpu_spans.sql"))
        .await?
    {
        let (node, gpu, uuid) = (
            text(&batch, "node")?,
            text(&batch, "gpu")?,
            text(&batch, "uuid")?,
        );
        let (mig, profile) = (text(&batch, "mig_instance")?, text(&batch, "mig_profile")?);
        let (model, target) = (text(&batch, "model_name")?, text(&batch, "target")?);
        let (first, last) = (int(&batch, "first_ms")?, int(&batch, "last_ms")?);
        let interval = int(&batch, "interval_ms")?;
        inputs
            .gpu_spans
            .extend((0..batch.num_rows()).map(|row| GpuSpan {
                node: node.value(row).to_owned(),
                gpu: gpu.value(row).to_owned(),
                uuid: uuid.value(row).to_owned(),
                mig_instance: text_at(&mig, row),
                mig_profile: text_at(&profile, row),
                model_name: text_at(&model, row),
                target: target.value(row).to_owned(),
                first_ms: first.value(row),
                last_ms: last.value(row),
                interval_ms: interval.value(row),
            }));
    }
    for batch in reader
        .rows(include_str!("../../queries/inventory/pod_models.sql"))
        .await?
    {
        let (namespace, pod) = (text(&batch, "namespace")?, text(&batch, "pod")?);
        let model = text(&batch, "model_name")?;
        inputs.pod_models.extend((0..batch.num_rows()).map(|row| {
            let key = (namespace.value(row).to_owned(), pod.value(row).to_owned());
            (key, model.value(row).to_owned())
        }));
    }
    Ok(inputs)
}

/// Rows come ordered by series, so the runs of one follow each other.
fn series_runs(
    batch: &RecordBatch,
    last_labels: &mut String,
    out: &mut Vec<MetricSeries>,
) -> Result<(), ReadError> {
    let (metric, labels) = (text(batch, "metric")?, text(batch, "labels_json")?);
    let (first, last) = (int(batch, "first_ms")?, int(batch, "last_ms")?);
    let value = float(batch, "value")?;
    for row in 0..batch.num_rows() {
        let run = ValueRun {
            first_ms: first.value(row),
            last_ms: last.value(row),
            value: value.value(row),
        };
        let same = out
            .last()
            .is_some_and(|series| series.metric == metric.value(row))
            && last_labels.as_str() == labels.value(row);
        if !same {
            last_labels.clear();
            last_labels.push_str(labels.value(row));
            // Written by ingest as canonical JSON; a series whose labels cannot be read names nothing.
            let labels: BTreeMap<String, String> =
                serde_json::from_str(labels.value(row)).unwrap_or_default();
            out.push(MetricSeries {
                metric: metric.value(row).to_owned(),
                labels,
                runs: Vec::new(),
            });
        }
        if let Some(series) = out.last_mut() {
            series.runs.push(run);
        }
    }
    Ok(())
}

/// The same for autoscalers, whose wide rows name them by columns.
fn scaler_runs(batch: &RecordBatch, out: &mut Vec<MetricSeries>) -> Result<(), ReadError> {
    let metric = text(batch, "metric")?;
    let (namespace, name) = (text(batch, "namespace")?, text(batch, "scaler_name")?);
    let (first, last) = (int(batch, "first_ms")?, int(batch, "last_ms")?);
    let value = float(batch, "value")?;
    for row in 0..batch.num_rows() {
        let labels = BTreeMap::from([
            ("namespace".to_owned(), namespace.value(row).to_owned()),
            (
                "horizontalpodautoscaler".to_owned(),
                name.value(row).to_owned(),
            ),
        ]);
        let run = ValueRun {
            first_ms: first.value(row),
            last_ms: last.value(row),
            value: value.value(row),
        };
        match out.last_mut() {
            Some(series) if series.metric == metric.value(row) && series.labels == labels => {
                series.runs.push(run);
            }
            _ => out.push(MetricSeries {
                metric: metric.value(row).to_owned(),
                labels,
                runs: vec![run],
            }),
        }
    }
    Ok(())
}
