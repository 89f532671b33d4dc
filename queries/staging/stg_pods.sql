/*---
name: stg_pods
title: Pod states with days joined again
order: 30
grain: [namespace, pod, from_ms]
requires: [pods]
params: {}
---*/
WITH clean AS (
  SELECT namespace, pod, COALESCE(uid, '') AS uid, state, workload_kind, workload_name,
    COALESCE(replica, pod) AS replica, workload_class,
    CASE WHEN standby_declared THEN 1 ELSE 0 END AS standby,
    COALESCE(gpu_milli, 0) AS gpu_milli, COALESCE(model, '') AS model, COALESCE(team, '') AS team,
    valid_from_ms AS from_ms,
    -- A pod has one state at a time: a later row ends an earlier one.
    LEAST(valid_to_ms, COALESCE(LEAD(valid_from_ms) OVER (
      PARTITION BY namespace, pod ORDER BY valid_from_ms, valid_to_ms, state), valid_to_ms)) AS to_ms
  FROM pods
  WHERE cluster = $cluster
    AND valid_to_ms > $day_start_ms - $margin_ms
    AND valid_from_ms < $day_end_ms + $margin_ms
),
marked AS (
  SELECT namespace, pod, uid, state, workload_kind, workload_name, replica, workload_class,
    standby, gpu_milli, model, team, from_ms, to_ms,
    CASE
      WHEN LAG(to_ms) OVER w = from_ms AND LAG(uid) OVER w = uid AND LAG(state) OVER w = state
        AND LAG(workload_kind) OVER w = workload_kind
        AND LAG(workload_name) OVER w = workload_name
        AND LAG(replica) OVER w = replica AND LAG(workload_class) OVER w = workload_class
        AND LAG(standby) OVER w = standby AND LAG(gpu_milli) OVER w = gpu_milli
        AND LAG(model) OVER w = model AND LAG(team) OVER w = team
      THEN 0 ELSE 1
    END AS begins
  FROM clean
  WHERE to_ms > from_ms
  WINDOW w AS (PARTITION BY namespace, pod ORDER BY from_ms)
),
islands AS (
  SELECT namespace, pod, uid, state, workload_kind, workload_name, replica, workload_class,
    standby, gpu_milli, model, team, from_ms, to_ms,
    SUM(begins) OVER (PARTITION BY namespace, pod ORDER BY from_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island
  FROM marked
)
SELECT namespace, pod, uid, state, workload_kind, workload_name, replica, workload_class,
  CAST(standby AS BIGINT) AS standby, gpu_milli, model, team,
  MIN(from_ms) AS from_ms, MAX(to_ms) AS to_ms
FROM islands
GROUP BY namespace, pod, uid, state, workload_kind, workload_name, replica, workload_class,
  standby, gpu_milli, model, team, island
ORDER BY namespace, pod, from_ms
