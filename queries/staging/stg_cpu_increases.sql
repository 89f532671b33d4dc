/*---
name: stg_cpu_increases
title: CPU used, waited for and throttled periods of each container between two scrapes
order: 100
parts: workloads
grain: [namespace, pod, container, from_ms]
requires: [container_samples, stg_pod_replicas, stg_engine_increases]
params:
  lookback_ms: {type: int, unit: ms, default: 1800000, why: "the increase into the span's first scrape needs the scrape before it"}
  default_scrape_interval_ms: {type: int, unit: ms, default: 60000, why: "a target scraped once has no spacing; one minute is Prometheus' own default"}
  cover_percent: {type: int, unit: "%", default: 250, why: "a sample holds 2.5 x its target's interval: one lost scrape is bridged, two are not"}
---*/
WITH raw AS (
  SELECT namespace, pod, container, node,
    CAST(round(extract(epoch FROM ts) * 1000) AS BIGINT) AS ts_ms,
    COALESCE(scrape_interval_ms, $default_scrape_interval_ms) AS scrape_interval_ms,
    CASE WHEN cpu_seconds_total >= 0 AND cpu_seconds_total < 9000000000000 THEN CAST(round(cpu_seconds_total * 1000) AS BIGINT) END AS cpu,
    CASE WHEN cfs_periods_total >= 0 AND cfs_periods_total < 9000000000000000 THEN CAST(round(cfs_periods_total) AS BIGINT) END AS periods,
    CASE WHEN cfs_throttled_periods_total >= 0 AND cfs_throttled_periods_total < 9000000000000000 THEN CAST(round(cfs_throttled_periods_total) AS BIGINT) END AS throttled,
    CASE WHEN cpu_pressure_waiting_seconds_total >= 0 AND cpu_pressure_waiting_seconds_total < 9000000000000 THEN CAST(round(cpu_pressure_waiting_seconds_total * 1000) AS BIGINT) END AS pressure
  FROM container_samples
  -- The pause container and the pod's own cgroup would count the same work twice.
  WHERE cluster = $cluster AND container <> '' AND container <> 'POD'
),
-- Pods that the inventory knows: those with GPUs or engines, and what stands before them.
serving AS (
  SELECT namespace, pod FROM stg_pod_replicas
  UNION
  SELECT namespace, pod FROM stg_engine_increases
),
one AS (
  SELECT r.namespace, r.pod, r.container, r.ts_ms,
    MAX(r.scrape_interval_ms) AS scrape_interval_ms,
    MAX(r.node) AS node,
    MAX(r.cpu) AS cpu, MAX(r.periods) AS periods, MAX(r.throttled) AS throttled,
    MAX(r.pressure) AS pressure
  FROM raw AS r
  JOIN serving AS s ON s.namespace = r.namespace AND s.pod = r.pod
  WHERE r.ts_ms >= $day_start_ms - $margin_ms - $lookback_ms
    AND r.ts_ms < $day_end_ms + $margin_ms + $lookback_ms
  GROUP BY r.namespace, r.pod, r.container, r.ts_ms
),
paired AS (
  SELECT namespace, pod, container, LAG(ts_ms) OVER w AS from_ms, ts_ms AS to_ms,
    CAST(CAST(scrape_interval_ms * $cover_percent
      - (scrape_interval_ms * $cover_percent) % 100 AS DOUBLE) / CAST(100 AS DOUBLE) AS BIGINT) AS cover_ms,
    cpu, LAG(cpu) OVER w AS cpu_0, periods, LAG(periods) OVER w AS periods_0,
    throttled, LAG(throttled) OVER w AS throttled_0,
    pressure, LAG(pressure) OVER w AS pressure_0, node
  FROM one
  WINDOW w AS (PARTITION BY namespace, pod, container ORDER BY ts_ms)
)
SELECT namespace, pod, container, from_ms, to_ms,
  COALESCE(CASE WHEN cpu < cpu_0 THEN cpu ELSE cpu - cpu_0 END, 0) AS cpu_ms,
  COALESCE(CASE WHEN periods < periods_0 THEN periods ELSE periods - periods_0 END, 0) AS periods,
  COALESCE(CASE WHEN throttled < throttled_0 THEN throttled ELSE throttled - throttled_0 END, 0) AS throttled,
  CASE WHEN pressure < pressure_0 THEN pressure ELSE pressure - pressure_0 END AS pressure_ms,
  node
FROM paired
WHERE from_ms IS NOT NULL AND to_ms - from_ms <= cover_ms
ORDER BY namespace, pod, container, from_ms
