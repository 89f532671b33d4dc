/*---
name: stg_holders
title: Who holds which slice, with days joined again
order: 50
grain: [holder_id]
requires: [gpu_holders]
params: {}
---*/
WITH clean AS (
  SELECT node, slot, slice, namespace, pod, workload_kind, workload_name,
    COALESCE(replica, pod) AS replica, COALESCE(how, '') AS how, valid_from_ms AS from_ms,
    -- A slice has one holder at a time: a later row ends an earlier one.
    LEAST(valid_to_ms, COALESCE(LEAD(valid_from_ms) OVER (
      PARTITION BY node, slot, slice ORDER BY valid_from_ms, valid_to_ms, namespace, pod),
      valid_to_ms)) AS to_ms
  FROM gpu_holders
  WHERE cluster = $cluster
    AND valid_to_ms > $day_start_ms - $margin_ms
    AND valid_from_ms < $day_end_ms + $margin_ms
),
marked AS (
  SELECT node, slot, slice, namespace, pod, workload_kind, workload_name, replica, how,
    from_ms, to_ms,
    CASE
      WHEN LAG(to_ms) OVER w = from_ms AND LAG(namespace) OVER w = namespace
        AND LAG(pod) OVER w = pod AND LAG(workload_kind) OVER w = workload_kind
        AND LAG(workload_name) OVER w = workload_name AND LAG(replica) OVER w = replica
        AND LAG(how) OVER w = how
      THEN 0 ELSE 1
    END AS begins
  FROM clean
  WHERE to_ms > from_ms
  WINDOW w AS (PARTITION BY node, slot, slice ORDER BY from_ms)
),
islands AS (
  SELECT node, slot, slice, namespace, pod, workload_kind, workload_name, replica, how,
    from_ms, to_ms,
    SUM(begins) OVER (PARTITION BY node, slot, slice ORDER BY from_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island
  FROM marked
),
joined AS (
  SELECT node, slot, slice, namespace, pod, workload_kind, workload_name, replica, how,
    MIN(from_ms) AS from_ms, MAX(to_ms) AS to_ms
  FROM islands
  GROUP BY node, slot, slice, namespace, pod, workload_kind, workload_name, replica, how, island
)
SELECT CAST(ROW_NUMBER() OVER (ORDER BY node, slot, slice, from_ms) AS BIGINT) AS holder_id,
  node, slot, slice, namespace, pod, workload_kind, workload_name, replica, how, from_ms, to_ms
FROM joined
ORDER BY holder_id
