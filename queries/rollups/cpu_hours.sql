/*---
name: cpu_hours
title: CPU of each workload's containers by the hour, on each node
order: 118
parts: workloads
grain: [namespace, workload_kind, workload_name, container, node, hour_ms]
requires: [stg_cpu_increases, stg_pod_replicas, stg_engine_increases]
params:
  one_core_low_percent: {type: int, unit: "% of a core", default: 90, why: "a process with one busy thread stays just below one core"}
  one_core_high_percent: {type: int, unit: "% of a core", default: 115, why: "its helpers take a tenth of a core beside it"}
---*/
WITH engine_containers AS (
  SELECT DISTINCT namespace, pod, container FROM stg_engine_increases WHERE container <> ''
),
engine_pods AS (
  SELECT DISTINCT namespace, pod FROM stg_engine_increases
),
used AS (
  SELECT r.namespace, r.workload_kind, r.workload_name, c.container, COALESCE(c.node, '') AS node,
    c.to_ms - c.to_ms % 3600000 AS hour_ms, c.pod, c.to_ms - c.from_ms AS span_ms,
    c.cpu_ms, c.periods, c.throttled, c.pressure_ms,
    -- Where nothing names the engine's container, all of a pod with an engine may be it.
    CASE WHEN e.container IS NOT NULL OR (p.pod IS NOT NULL AND n.namespace IS NULL) THEN 1 ELSE 0 END AS is_engine
  FROM stg_cpu_increases AS c
  JOIN stg_pod_replicas AS r ON r.namespace = c.namespace AND r.pod = c.pod
  LEFT JOIN engine_containers AS e
    ON e.namespace = c.namespace AND e.pod = c.pod AND e.container = c.container
  LEFT JOIN engine_pods AS p ON p.namespace = c.namespace AND p.pod = c.pod
  LEFT JOIN (SELECT DISTINCT namespace, pod FROM engine_containers) AS n
    ON n.namespace = c.namespace AND n.pod = c.pod
  WHERE c.to_ms >= $day_start_ms AND c.to_ms < $day_end_ms
)
SELECT namespace, workload_kind, workload_name, container, node, hour_ms,
  CAST(MAX(is_engine) AS BIGINT) AS is_engine,
  CAST(COUNT(DISTINCT pod) AS BIGINT) AS pods,
  CAST(SUM(span_ms) AS BIGINT) AS known_ms,
  CAST(SUM(cpu_ms) AS BIGINT) AS cpu_ms,
  -- The most that one container used between two scrapes, in thousandths of a core.
  CAST(MAX(CASE WHEN span_ms > 0
    THEN CAST(CAST(cpu_ms * 1000 - (cpu_ms * 1000) % span_ms AS DOUBLE) / CAST(span_ms AS DOUBLE) AS BIGINT)
    ELSE 0 END) AS BIGINT) AS peak_milli,
  CAST(SUM(CASE WHEN cpu_ms * 100 >= span_ms * $one_core_low_percent
    AND cpu_ms * 100 <= span_ms * $one_core_high_percent THEN span_ms ELSE 0 END) AS BIGINT) AS one_core_ms,
  CAST(SUM(periods) AS BIGINT) AS cfs_periods,
  CAST(SUM(throttled) AS BIGINT) AS cfs_throttled_periods,
  CAST(SUM(CASE WHEN pressure_ms IS NOT NULL THEN span_ms ELSE 0 END) AS BIGINT) AS pressure_known_ms,
  CAST(SUM(COALESCE(pressure_ms, 0)) AS BIGINT) AS pressure_ms
FROM used
GROUP BY namespace, workload_kind, workload_name, container, node, hour_ms
ORDER BY namespace, workload_kind, workload_name, container, node, hour_ms
