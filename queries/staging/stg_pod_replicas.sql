/*---
name: stg_pod_replicas
title: The replica and workload of each pod name
order: 40
grain: [namespace, pod]
requires: [stg_pods, gpu_holders]
params: {}
---*/
WITH said AS (
  SELECT namespace, pod, replica, workload_kind, workload_name, gpu_milli, model, team, from_ms
  FROM stg_pods
  UNION ALL
  -- A pod that only telemetry knows (it held a GPU) has a holder row and no pod row.
  SELECT namespace, pod, COALESCE(replica, pod), workload_kind, workload_name, 0, '', '',
    valid_from_ms - 100000000000000
  FROM gpu_holders
  WHERE cluster = $cluster
    AND valid_to_ms > $day_start_ms - $margin_ms
    AND valid_from_ms < $day_end_ms + $margin_ms
),
latest AS (
  SELECT namespace, pod, replica, workload_kind, workload_name, model, team,
    MAX(gpu_milli) OVER (PARTITION BY namespace, pod) AS gpu_milli,
    ROW_NUMBER() OVER (PARTITION BY namespace, pod
      ORDER BY from_ms DESC, replica, workload_kind, workload_name) AS place
  FROM said
)
SELECT namespace, pod, replica, workload_kind, workload_name, gpu_milli, model, team
FROM latest
WHERE place = 1
ORDER BY namespace, pod
