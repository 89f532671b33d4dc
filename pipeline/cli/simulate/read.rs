//! Owns the way from a publication to what a replay needs: workloads, their demand in buckets, who served,
//! how long pods start, what the present scaler said, prices. `simulate` asks it.

use std::collections::BTreeMap;

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::cli::error::CliError;
use crate::lake::columns::{float, int, int_at, text, text_at, usd, usd_at};
use crate::lake::{LakeError, read_only_sql};
use crate::model::TimeWindow;
use crate::model::time::date_of;
use crate::model::workload::WorkloadId;
use crate::simulate::demand::BUCKET_MS;

/// A workload as it last was in the window.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Subject {
    pub id: WorkloadId,
    pub replicas: Option<i64>,
    pub gpu_milli: i64,
    pub slo_ttft_ms: Option<i64>,
    pub slo_source: Option<String>,
    /// Tokens a second that one replica was estimated to take in and to give out inside the SLO.
    pub capacity: Option<(f64, f64)>,
    /// Requests that one replica has room for at a time.
    pub at_once: Option<i64>,
    pub cpu_request_milli: Option<i64>,
    pub scaler: Option<(String, String)>,
    pub policy: Value,
}

/// What one bucket of a workload held.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Row {
    pub bucket_ms: i64,
    pub known_ms: i64,
    pub replica_ms: i64,
    pub requests: i64,
    pub prompt_tokens: i64,
    pub hit_tokens: i64,
    pub output_tokens: i64,
    pub waiting_requests: i64,
    pub queue_max: Option<i64>,
    pub running_max: Option<i64>,
    pub kv_ppm_max: Option<i64>,
    pub cpu_ms: i64,
}

/// One pod with GPUs.
#[derive(Debug, Clone)]
pub(in crate::cli) struct PodLife {
    pub replica: String,
    pub from_ms: i64,
    pub to_ms: i64,
    pub ready_ms: Option<i64>,
}

/// `(namespace, kind, name)` within a cluster.
pub(in crate::cli) type Key = (String, String, String);

/// What a range of workloads has in the window.
#[derive(Debug, Default)]
pub(in crate::cli) struct Part {
    pub rows: BTreeMap<Key, Vec<Row>>,
    pub pods: BTreeMap<Key, Vec<PodLife>>,
    /// By namespace and scaler: `(bucket_ms, value)`.
    pub values: BTreeMap<(String, String), Vec<(i64, f64)>>,
}

pub(in crate::cli) struct Reader<'s> {
    pub session: &'s SessionContext,
    pub window: TimeWindow,
}

impl Reader<'_> {
    async fn rows(
        &self,
        sql: &str,
        more: &[(&'static str, ScalarValue)],
    ) -> Result<Vec<RecordBatch>, CliError> {
        let window = self.window;
        let day = |ms: i64| ScalarValue::from(date_of(ms));
        let mut all = vec![
            ("from_date", day(window.start_ms)),
            ("to_date", day(window.end_ms)),
            ("to_ms", ScalarValue::from(window.end_ms)),
        ];
        all.extend(more.iter().cloned());
        all.retain(|(name, _)| sql.contains(&format!("${name}")));
        let frame = read_only_sql(self.session, sql, all).await?;
        let failed = |cause| LakeError::sql("read what a simulation replays", cause);
        Ok(frame.collect().await.map_err(failed)?)
    }

    pub(in crate::cli) async fn subjects(&self) -> Result<Vec<Subject>, CliError> {
        let sql = include_str!("../../../queries/simulate/replay_subjects.sql");
        let mut out = Vec::new();
        for batch in self.rows(sql, &[]).await? {
            let words = |name| text(&batch, name);
            let numbers = |name| int(&batch, name);
            let ids = (
                words("cluster")?,
                words("namespace")?,
                words("workload_kind")?,
                words("workload_name")?,
            );
            let (replicas, gpus) = (numbers("replicas")?, numbers("gpu_milli_per_replica")?);
            let (slo, slo_source) = (numbers("slo_ttft_p95_ms")?, words("slo_source")?);
            let prefill = numbers("prefill_milli_tokens_per_second")?;
            let decode = numbers("decode_milli_tokens_per_second")?;
            let (cpu, at_once) = (numbers("cpu_request_milli")?, numbers("max_concurrency")?);
            let (kinds, names) = (words("scaler_kind")?, words("scaler_name")?);
            let policies = words("policy_json")?;
            for row in 0..batch.num_rows() {
                let rate = |of| int_at(of, row).map(|milli| milli as f64 / 1000.0);
                out.push(Subject {
                    id: WorkloadId {
                        cluster: ids.0.value(row).to_owned(),
                        namespace: ids.1.value(row).to_owned(),
                        kind: ids.2.value(row).to_owned(),
                        name: ids.3.value(row).to_owned(),
                    },
                    replicas: int_at(&replicas, row),
                    gpu_milli: gpus.value(row),
                    slo_ttft_ms: int_at(&slo, row),
                    slo_source: text_at(&slo_source, row),
                    capacity: rate(&prefill).zip(rate(&decode)),
                    at_once: int_at(&at_once, row),
                    cpu_request_milli: int_at(&cpu, row),
                    scaler: text_at(&kinds, row).zip(text_at(&names, row)),
                    policy: text_at(&policies, row)
                        .and_then(|json| serde_json::from_str(&json).ok())
                        .unwrap_or_default(),
                });
            }
        }
        Ok(out)
    }

    /// The rows of workloads of one cluster, from the first to the last of them in the order of `subjects`.
    pub(in crate::cli) async fn part(&self, subjects: &[Subject]) -> Result<Part, CliError> {
        let (Some(first), Some(last)) = (subjects.first(), subjects.last()) else {
            return Ok(Part::default());
        };
        let bound = |text: &str| ScalarValue::from(text);
        let range = [
            ("cluster", bound(&first.id.cluster)),
            ("first_namespace", bound(&first.id.namespace)),
            ("first_name", bound(&first.id.name)),
            ("last_namespace", bound(&last.id.namespace)),
            ("last_name", bound(&last.id.name)),
        ];
        let mut part = Part::default();
        let sql = include_str!("../../../queries/simulate/replay_demand.sql");
        for batch in self.rows(sql, &range).await? {
            demand(&batch, &mut part)?;
        }
        let sql = include_str!("../../../queries/simulate/replay_pods.sql");
        for batch in self.rows(sql, &range).await? {
            pods(&batch, &mut part)?;
        }
        if subjects.iter().any(Subject::is_scaled_object) {
            let sql = include_str!("../../../queries/simulate/replay_scaler_values.sql");
            for batch in self.rows(sql, &range).await? {
                let (namespace, name) = (text(&batch, "namespace")?, text(&batch, "scaler_name")?);
                let (bucket, value) = (int(&batch, "bucket_ms")?, float(&batch, "metric_value")?);
                for row in 0..batch.num_rows() {
                    let key = (namespace.value(row).to_owned(), name.value(row).to_owned());
                    let told = (bucket.value(row), value.value(row));
                    part.values.entry(key).or_default().push(told);
                }
            }
        }
        Ok(part)
    }

    /// How long pods of the fleet took to become ready in a window, in order.
    pub(in crate::cli) async fn startups(&self, window: TimeWindow) -> Result<Vec<i64>, CliError> {
        let sql = include_str!("../../../queries/simulate/replay_startups.sql");
        let reader = Reader {
            session: self.session,
            window,
        };
        let mut out = Vec::new();
        for batch in reader.rows(sql, &[]).await? {
            out.extend(int(&batch, "startup_ms")?.iter().flatten());
        }
        Ok(out)
    }

    /// Bodies of objects that scale, by `(cluster, namespace, kind in lower case, name)`.
    pub(in crate::cli) async fn manifests(
        &self,
    ) -> Result<BTreeMap<(String, String, String, String), String>, CliError> {
        let sql = include_str!("../../../queries/simulate/replay_manifests.sql");
        let mut out = BTreeMap::new();
        for batch in self.rows(sql, &[]).await? {
            let (cluster, namespace) = (text(&batch, "cluster")?, text(&batch, "namespace")?);
            let (kind, name) = (text(&batch, "kind")?, text(&batch, "name")?);
            let bodies = text(&batch, "object_json")?;
            for row in 0..batch.num_rows() {
                let key = (
                    cluster.value(row).to_owned(),
                    namespace.value(row).to_owned(),
                    kind.value(row).to_ascii_lowercase(),
                    name.value(row).to_owned(),
                );
                out.insert(key, bodies.value(row).to_owned());
            }
        }
        Ok(out)
    }

    /// Dollars of a GPU-hour of each workload over the window; none where any of its time has no price.
    pub(in crate::cli) async fn prices(
        &self,
    ) -> Result<BTreeMap<(String, Key), Decimal>, CliError> {
        let sql = include_str!("../../../queries/simulate/replay_prices.sql");
        let mut sums: BTreeMap<(String, Key), (Decimal, Option<Decimal>)> = BTreeMap::new();
        for batch in self.rows(sql, &[]).await? {
            let keys = keys(&batch)?;
            let cluster = text(&batch, "cluster")?;
            let (ms, price) = (int(&batch, "ms")?, usd(&batch, "price_usd")?);
            for (row, key) in keys.into_iter().enumerate() {
                let key = (cluster.value(row).to_owned(), key);
                let sum = sums
                    .entry(key)
                    .or_insert((Decimal::ZERO, Some(Decimal::ZERO)));
                let ms = Decimal::from(ms.value(row));
                sum.0 += ms;
                sum.1 = sum
                    .1
                    .zip(usd_at(&price, row))
                    .and_then(|(sum, price)| sum.checked_add(ms.checked_mul(price)?));
            }
        }
        Ok(sums
            .into_iter()
            .filter_map(|(key, (ms, cost))| Some((key, cost?.checked_div(ms)?)))
            .collect())
    }
}

impl Subject {
    pub(in crate::cli) fn key(&self) -> Key {
        let id = &self.id;
        (id.namespace.clone(), id.kind.clone(), id.name.clone())
    }

    pub(in crate::cli) fn is_scaled_object(&self) -> bool {
        let is = |(kind, _): &(String, String)| kind == "scaledobject.keda.sh";
        self.scaler.as_ref().is_some_and(is)
    }
}

fn keys(batch: &RecordBatch) -> Result<Vec<Key>, CliError> {
    let namespace = text(batch, "namespace")?;
    let (kind, name) = (text(batch, "workload_kind")?, text(batch, "workload_name")?);
    Ok((0..batch.num_rows())
        .map(|row| {
            (
                namespace.value(row).to_owned(),
                kind.value(row).to_owned(),
                name.value(row).to_owned(),
            )
        })
        .collect())
}

fn demand(batch: &RecordBatch, part: &mut Part) -> Result<(), CliError> {
    let numbers = |name| int(batch, name);
    let bucket = numbers("bucket_ms")?;
    let (known, replica) = (numbers("known_ms")?, numbers("replica_ms")?);
    let (requests, prompt) = (numbers("requests")?, numbers("prompt_tokens")?);
    let (hit, output) = (numbers("hit_tokens")?, numbers("output_tokens")?);
    let (waiting, queue) = (numbers("waiting_requests")?, numbers("queue_max")?);
    let (running, cache) = (numbers("running_max")?, numbers("kv_usage_ppm_max")?);
    let cpu = numbers("cpu_ms")?;
    for (row, key) in keys(batch)?.into_iter().enumerate() {
        part.rows.entry(key).or_default().push(Row {
            bucket_ms: bucket.value(row),
            known_ms: known.value(row),
            replica_ms: replica.value(row),
            requests: requests.value(row),
            prompt_tokens: prompt.value(row),
            hit_tokens: hit.value(row),
            output_tokens: output.value(row),
            waiting_requests: waiting.value(row),
            queue_max: int_at(&queue, row),
            running_max: int_at(&running, row),
            kv_ppm_max: int_at(&cache, row),
            cpu_ms: cpu.value(row),
        });
    }
    Ok(())
}

fn pods(batch: &RecordBatch, part: &mut Part) -> Result<(), CliError> {
    let replica = text(batch, "replica")?;
    let (from, to) = (int(batch, "from_ms")?, int(batch, "to_ms")?);
    let ready = int(batch, "ready_ms")?;
    for (row, key) in keys(batch)?.into_iter().enumerate() {
        part.pods.entry(key).or_default().push(PodLife {
            replica: replica.value(row).to_owned(),
            from_ms: from.value(row),
            to_ms: to.value(row),
            ready_ms: int_at(&ready, row),
        });
    }
    Ok(())
}

/// Milliseconds of each bucket of the window in which a replica had a pod, added up over replicas.
pub(in crate::cli) fn held_ms(pods: &[PodLife], window: TimeWindow) -> Vec<i64> {
    let buckets = ((window.end_ms - window.start_ms) / BUCKET_MS) as usize;
    let mut held = vec![0; buckets];
    let mut spans: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
    for pod in pods {
        let clipped = (
            pod.from_ms.max(window.start_ms),
            pod.to_ms.min(window.end_ms),
        );
        if clipped.0 < clipped.1 {
            spans.entry(&pod.replica).or_default().push(clipped);
        }
    }
    for spans in spans.values_mut() {
        spans.sort_unstable();
        let mut until = i64::MIN;
        for (from, to) in spans.iter() {
            // A replica of several pods is one.
            let mut at = (*from).max(until);
            while at < *to {
                let index = ((at - window.start_ms) / BUCKET_MS) as usize;
                let end = (window.start_ms + (index as i64 + 1) * BUCKET_MS).min(*to);
                held[index] += end - at;
                at = end;
            }
            until = until.max(*to);
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_one_replica_count_once() {
        let pod = |replica: &str, from_ms, to_ms| PodLife {
            replica: replica.to_owned(),
            from_ms,
            to_ms,
            ready_ms: None,
        };
        let pods = [
            pod("a", -5, 200_000),
            pod("a", 100_000, 450_000),
            pod("b", 300_000, 9_000_000),
        ];
        let held = held_ms(&pods, TimeWindow::new(0, 900_000));
        assert_eq!(held, [300_000, 150_000 + 300_000, 300_000]);
    }
}
