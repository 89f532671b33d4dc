/*---
name: stg_throttled_spans
title: When the CPU quota held a replica's containers back
order: 110
parts: workloads
grain: [namespace, replica, container, from_ms]
requires: [stg_cpu_increases, stg_pod_replicas, stg_engine_increases]
params:
  throttled_percent: {type: int, unit: "%", default: 25, why: "a quarter of all scheduling periods cut short is felt in every token"}
---*/
WITH engine_containers AS (
  SELECT DISTINCT namespace, pod, container FROM stg_engine_increases WHERE container <> ''
),
named AS (
  SELECT c.namespace, c.pod, c.container, c.from_ms, c.to_ms, c.periods, c.throttled,
    CASE WHEN e.container IS NULL THEN 0 ELSE 1 END AS is_engine,
    MAX(CASE WHEN e.container IS NULL THEN 0 ELSE 1 END)
      OVER (PARTITION BY c.namespace, c.pod) AS pod_has_engine
  FROM stg_cpu_increases AS c
  LEFT JOIN engine_containers AS e
    ON e.namespace = c.namespace AND e.pod = c.pod AND e.container = c.container
),
buckets AS (
  -- A throttled sidecar does not starve the engine beside it.
  SELECT namespace, pod, container, to_ms - to_ms % 300000 AS bucket_ms,
    MIN(from_ms) AS from_ms, MAX(to_ms) AS to_ms,
    SUM(periods) AS periods, SUM(throttled) AS throttled
  FROM named
  WHERE is_engine = 1 OR pod_has_engine = 0
  GROUP BY namespace, pod, container, to_ms - to_ms % 300000
)
SELECT b.namespace, COALESCE(r.replica, b.pod) AS replica, b.container, b.from_ms, b.to_ms
FROM buckets AS b
LEFT JOIN stg_pod_replicas AS r ON r.namespace = b.namespace AND r.pod = b.pod
WHERE b.periods > 0 AND b.throttled * 100 >= b.periods * $throttled_percent
ORDER BY namespace, replica, container, from_ms, to_ms
