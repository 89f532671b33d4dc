/*---
name: restart_hours
title: Restarts of each workload's containers for want of memory, by the hour
order: 246
grain: [namespace, workload_kind, workload_name, hour_ms]
requires: [misc_samples, series, stg_pod_replicas]
params:
  lookback_ms: {type: int, unit: ms, default: 1800000, why: "the increase into the day's first sample needs the sample before it"}
  reason_hold_ms: {type: int, unit: ms, default: 600000, why: "why a container ended stands in another series, whose sample may lie a few scrapes away"}
---*/
-- Only containers that were killed for memory are followed: a fleet's other restarts say nothing here.
WITH killed AS (
  SELECT series_fp,
    MIN(split_part(split_part(labels_json, '"namespace":"', 2), '"', 1)) AS namespace,
    MIN(split_part(split_part(labels_json, '"pod":"', 2), '"', 1)) AS pod,
    MIN(split_part(split_part(labels_json, '"container":"', 2), '"', 1)) AS container
  FROM series
  WHERE cluster = $cluster AND metric = 'kube_pod_container_status_last_terminated_reason'
    AND labels_json LIKE '%"reason":"OOMKilled"%'
  GROUP BY series_fp
),
reasons AS (
  SELECT k.namespace, k.pod, k.container,
    CAST(round(extract(epoch FROM m.ts) * 1000) AS BIGINT) AS ts_ms
  FROM killed AS k
  JOIN misc_samples AS m ON m.series_fp = k.series_fp
  WHERE m.cluster = $cluster AND m.metric = 'kube_pod_container_status_last_terminated_reason'
    AND m.value = 1
),
counters AS (
  SELECT s.series_fp,
    MIN(split_part(split_part(s.labels_json, '"namespace":"', 2), '"', 1)) AS namespace,
    MIN(split_part(split_part(s.labels_json, '"pod":"', 2), '"', 1)) AS pod,
    MIN(split_part(split_part(s.labels_json, '"container":"', 2), '"', 1)) AS container
  FROM series AS s
  WHERE s.cluster = $cluster AND s.metric = 'kube_pod_container_status_restarts_total'
  GROUP BY s.series_fp
),
followed AS (
  SELECT c.series_fp, c.namespace, c.pod, c.container
  FROM counters AS c
  WHERE EXISTS (
    SELECT 1 FROM killed AS k
    WHERE k.namespace = c.namespace AND k.pod = c.pod AND k.container = c.container)
),
counted AS (
  SELECT f.series_fp, f.namespace, f.pod, f.container,
    CAST(round(extract(epoch FROM m.ts) * 1000) AS BIGINT) AS ts_ms,
    CAST(round(m.value) AS BIGINT) AS restarts
  -- The few first: an engine builds its table of the left side, and the right one is a fleet's.
  FROM followed AS f
  JOIN misc_samples AS m ON m.series_fp = f.series_fp
  WHERE m.cluster = $cluster AND m.metric = 'kube_pod_container_status_restarts_total'
    AND m.value >= 0 AND m.value < 1000000000
),
increased AS (
  SELECT namespace, pod, container, ts_ms,
    restarts - LAG(restarts) OVER (PARTITION BY series_fp ORDER BY ts_ms) AS more
  FROM counted
  WHERE ts_ms >= $day_start_ms - $lookback_ms AND ts_ms < $day_end_ms
),
-- The newest restart is for memory where the reason says so then or in the scrapes after it. Several
-- between two scrapes are one: only the last one's reason is known.
judged AS (
  SELECT DISTINCT i.namespace, i.pod, i.container, i.ts_ms
  FROM increased AS i
  JOIN reasons AS r
    ON r.namespace = i.namespace AND r.pod = i.pod AND r.container = i.container
    AND r.ts_ms >= i.ts_ms AND r.ts_ms <= i.ts_ms + $reason_hold_ms
  WHERE i.more > 0 AND i.ts_ms >= $day_start_ms
)
SELECT j.namespace, p.workload_kind, p.workload_name, j.ts_ms - j.ts_ms % 3600000 AS hour_ms,
  CAST(COUNT(*) AS BIGINT) AS oom_restarts
FROM judged AS j
JOIN stg_pod_replicas AS p ON p.namespace = j.namespace AND p.pod = j.pod
GROUP BY j.namespace, p.workload_kind, p.workload_name, j.ts_ms - j.ts_ms % 3600000
ORDER BY j.namespace, p.workload_kind, p.workload_name, hour_ms
