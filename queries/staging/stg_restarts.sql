/*---
name: stg_restarts
title: Moments at which a replica began anew
order: 90
parts: workloads
grain: [namespace, replica, restart_ms]
requires: [stg_engine_increases, stg_pod_replicas, stg_pods]
params: {}
---*/
WITH ready AS (
  SELECT namespace, replica, state, from_ms,
    LAG(state) OVER (PARTITION BY namespace, pod ORDER BY from_ms) AS before,
    LAG(to_ms) OVER (PARTITION BY namespace, pod ORDER BY from_ms) AS before_to_ms
  FROM stg_pods
),
restarts AS (
  SELECT i.namespace, COALESCE(r.replica, i.pod) AS replica, i.from_ms AS restart_ms
  FROM stg_engine_increases AS i
  LEFT JOIN stg_pod_replicas AS r ON r.namespace = i.namespace AND r.pod = i.pod
  WHERE i.reset = 1
  UNION ALL
  SELECT namespace, replica, from_ms
  FROM ready
  WHERE state = 'ready' AND before IS NOT NULL AND (before <> 'ready' OR before_to_ms < from_ms)
)
SELECT DISTINCT namespace, replica, restart_ms
FROM restarts
ORDER BY namespace, replica, restart_ms
