/*---
name: own_speed
title: Each workload's own latency by the hour, with the load under which it was seen
grain: [cluster, namespace, workload_kind, workload_name, hour_ms]
requires: [workload_latency_hours, workload_hours]
params:
  min_tokens: {type: int, unit: tokens, default: 500, why: "the mean of fewer inter-token times is the mean of a few requests"}
  max_throttled_percent: {type: int, unit: percent, default: 10, why: "an hour in which the CPU held the engine back says nothing about the GPU"}
order: 92
---*/
WITH bounds AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    hour_ms,
    histogram,
    le_micro,
    observations,
    COALESCE(LAG(le_micro) OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name, hour_ms, histogram
      ORDER BY le_micro
    ), 0) AS below_micro,
    COALESCE(LAG(observations) OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name, hour_ms, histogram
      ORDER BY le_micro
    ), 0) AS below
  FROM workload_latency_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND histogram IN ('itl', 'ttft', 'itl_sum_us', 'ttft_sum_us')
),
-- Where an engine tells no sum, an observation lies in the middle of its bucket, and one beyond the
-- last bound at that bound. That is coarse: half of a first bound of 10 ms is no GPU's speed.
middles AS (
  SELECT
    b.*,
    CASE WHEN observations > below THEN observations - below ELSE 0 END AS n,
    CASE
      WHEN le_micro > 9000000000000000 THEN below_micro
      ELSE CAST(CAST(below_micro + le_micro - (below_micro + le_micro) % 2 AS DOUBLE) / 2.0 AS BIGINT)
    END AS middle_us
  FROM bounds AS b
),
sums AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    hour_ms,
    CAST(SUM(CASE WHEN histogram = 'itl' THEN n ELSE 0 END) AS BIGINT) AS itl_count,
    CAST(SUM(CASE WHEN histogram = 'itl' THEN n * middle_us ELSE 0 END) AS BIGINT) AS itl_middles_us,
    CAST(SUM(CASE WHEN histogram = 'itl_sum_us' THEN n ELSE 0 END) AS BIGINT) AS itl_sum_us,
    CAST(SUM(CASE WHEN histogram = 'ttft' THEN n ELSE 0 END) AS BIGINT) AS ttft_count,
    CAST(SUM(CASE WHEN histogram = 'ttft' THEN n * middle_us ELSE 0 END) AS BIGINT) AS ttft_middles_us,
    CAST(SUM(CASE WHEN histogram = 'ttft_sum_us' THEN n ELSE 0 END) AS BIGINT) AS ttft_sum_us
  FROM middles
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms
)
SELECT
  s.cluster,
  s.namespace,
  s.workload_kind,
  s.workload_name,
  s.hour_ms,
  s.itl_count,
  CASE WHEN s.itl_sum_us > 0 THEN s.itl_sum_us ELSE s.itl_middles_us END AS itl_us,
  s.ttft_count,
  CASE WHEN s.ttft_sum_us > 0 THEN s.ttft_sum_us ELSE s.ttft_middles_us END AS ttft_us,
  h.requests,
  h.prompt_tokens,
  CASE WHEN h.prefix_hit_tokens > h.prompt_tokens THEN h.prompt_tokens
    ELSE h.prefix_hit_tokens END AS prefix_hit_tokens,
  h.output_tokens,
  h.replica_ms
FROM sums AS s
INNER JOIN workload_hours AS h
  ON s.cluster = h.cluster
  AND s.namespace = h.namespace
  AND s.workload_kind = h.workload_kind
  AND s.workload_name = h.workload_name
  AND s.hour_ms = h.hour_ms
WHERE s.itl_count >= $min_tokens
  AND h.replica_ms > 0
  AND h.requests > 0
  AND h.preemptions = 0
  AND h.cfs_throttled_periods * 100 <= h.cfs_periods * $max_throttled_percent
ORDER BY s.cluster, s.namespace, s.workload_kind, s.workload_name, s.hour_ms
