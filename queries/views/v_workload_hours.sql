-- Demand and pressure by workload and hour, with p50 and p95 of latencies from bucket counts.
WITH cumulative AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    hour_ms,
    histogram,
    le_micro,
    observations,
    MAX(observations) OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name, hour_ms, histogram
    ) AS total
  FROM workload_latency_hours
),
quantiles AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    hour_ms,
    MIN(CASE WHEN histogram = 'ttft' AND total > 0 AND observations * 2 >= total THEN le_micro END) AS ttft_p50_micro,
    MIN(CASE WHEN histogram = 'ttft' AND total > 0 AND observations * 20 >= total * 19 THEN le_micro END) AS ttft_p95_micro,
    MIN(CASE WHEN histogram = 'itl' AND total > 0 AND observations * 2 >= total THEN le_micro END) AS itl_p50_micro,
    MIN(CASE WHEN histogram = 'itl' AND total > 0 AND observations * 20 >= total * 19 THEN le_micro END) AS itl_p95_micro
  FROM cumulative
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms
)
SELECT
  h.cluster,
  h.namespace,
  h.workload_kind,
  h.workload_name,
  to_timestamp_millis(h.hour_ms) AS hour,
  h.requests,
  h.prompt_tokens,
  h.output_tokens,
  h.prefix_hit_tokens,
  h.queue_max,
  h.running_max,
  h.rejected,
  h.preemptions,
  CAST(h.kv_usage_ppm_max AS DOUBLE) / CAST(1000000 AS DOUBLE) AS kv_usage_peak,
  CAST(q.ttft_p50_micro AS DOUBLE) / CAST(1000000 AS DOUBLE) AS ttft_p50_seconds,
  CAST(q.ttft_p95_micro AS DOUBLE) / CAST(1000000 AS DOUBLE) AS ttft_p95_seconds,
  CAST(q.itl_p50_micro AS DOUBLE) / CAST(1000000 AS DOUBLE) AS itl_p50_seconds,
  CAST(q.itl_p95_micro AS DOUBLE) / CAST(1000000 AS DOUBLE) AS itl_p95_seconds,
  CASE
    WHEN h.cfs_periods > 0
    THEN CAST(h.cfs_throttled_periods AS DOUBLE) / CAST(h.cfs_periods AS DOUBLE)
  END AS throttle_ratio,
  CAST(h.replica_ms AS DOUBLE) / CAST(3600000 AS DOUBLE) AS replica_hours,
  CAST(h.known_ms AS DOUBLE) / CAST(3600000 AS DOUBLE) AS known_hours
FROM workload_hours h
LEFT JOIN quantiles q
  ON q.cluster = h.cluster
  AND q.namespace = h.namespace
  AND q.workload_kind = h.workload_kind
  AND q.workload_name = h.workload_name
  AND q.hour_ms = h.hour_ms
