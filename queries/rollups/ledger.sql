/*---
name: ledger
title: Where every millisecond of every slot went
order: 300
grain: [node, slot, hour_ms, slice, namespace, workload_kind, workload_name, class]
requires: [stg_classes, stg_slices, stg_pod_replicas, workloads]
params: {}
---*/
WITH today AS (
  -- Segments are cut at hours, so one lies wholly inside or outside the day.
  SELECT c.node, c.slot, c.slice, c.from_ms - c.from_ms % 3600000 AS hour_ms,
    c.from_ms, c.to_ms, c.to_ms - c.from_ms AS ms, c.slice_id, c.namespace, c.pod,
    c.workload_kind, c.workload_name, c.class, c.quiet_confidence, s.share_num, s.share_den
  FROM stg_classes AS c
  JOIN stg_slices AS s ON s.slice_id = c.slice_id
  WHERE c.from_ms >= $day_start_ms AND c.to_ms <= $day_end_ms
),
-- The slot exists while any of its slices does.
slot_points AS (
  SELECT node, slot, hour_ms, t, SUM(v) AS v
  FROM (
    SELECT node, slot, hour_ms, from_ms AS t, 1 AS v FROM today
    UNION ALL
    SELECT node, slot, hour_ms, to_ms, -1 FROM today
  ) AS e
  GROUP BY node, slot, hour_ms, t
),
slot_segments AS (
  SELECT node, slot, hour_ms, t,
    LEAD(t) OVER (PARTITION BY node, slot, hour_ms ORDER BY t) AS to_ms,
    SUM(v) OVER (PARTITION BY node, slot, hour_ms ORDER BY t
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS n
  FROM slot_points
),
slot_hours AS (
  SELECT node, slot, hour_ms, SUM(to_ms - t) AS existing_ms
  FROM slot_segments
  WHERE n > 0 AND to_ms IS NOT NULL
  GROUP BY node, slot, hour_ms
),
-- A slice's exact part of the hour: whole milliseconds and billionths of one.
slice_layouts AS (
  SELECT node, slot, slice, hour_ms, share_num, share_den, SUM(ms) AS ms
  FROM today
  GROUP BY node, slot, slice, hour_ms, share_num, share_den
),
slice_parts AS (
  SELECT node, slot, slice, hour_ms, SUM(ms) AS slice_ms,
    SUM(CAST(CAST(ms * share_num - (ms * share_num) % share_den AS DOUBLE)
      / CAST(share_den AS DOUBLE) AS BIGINT)) AS whole_ms,
    SUM(CAST(CAST(((ms * share_num) % share_den) * 1000000000
      - (((ms * share_num) % share_den) * 1000000000) % share_den AS DOUBLE)
      / CAST(share_den AS DOUBLE) AS BIGINT)) AS rest
  FROM slice_layouts
  GROUP BY node, slot, slice, hour_ms
),
carried AS (
  SELECT node, slot, slice, hour_ms, slice_ms,
    whole_ms + CAST(CAST(rest - rest % 1000000000 AS DOUBLE)
      / CAST(1000000000 AS DOUBLE) AS BIGINT) AS whole_ms,
    rest % 1000000000 AS rest
  FROM slice_parts
),
-- The milliseconds that flooring left over go to the largest remainders, in slice order.
slice_dealt AS (
  SELECT c.node, c.slot, c.slice, c.hour_ms, c.slice_ms,
    c.whole_ms + CASE WHEN ROW_NUMBER() OVER (PARTITION BY c.node, c.slot, c.hour_ms
        ORDER BY c.rest DESC, c.slice) <= h.existing_ms - SUM(c.whole_ms) OVER (
          PARTITION BY c.node, c.slot, c.hour_ms) THEN 1 ELSE 0 END AS share_ms
  FROM carried AS c
  JOIN slot_hours AS h ON h.node = c.node AND h.slot = c.slot AND h.hour_ms = c.hour_ms
),
parts AS (
  SELECT node, slot, slice, hour_ms, namespace, workload_kind, workload_name, class,
    SUM(ms) AS ms, MAX(slice_id) AS slice_id, MAX(quiet_confidence) AS quiet_confidence,
    MAX(pod) AS pod
  FROM today
  GROUP BY node, slot, slice, hour_ms, namespace, workload_kind, workload_name, class
),
scaled AS (
  SELECT p.*, d.share_ms, d.slice_ms,
    CAST(CAST(p.ms * d.share_ms - (p.ms * d.share_ms) % d.slice_ms AS DOUBLE)
      / CAST(d.slice_ms AS DOUBLE) AS BIGINT) AS whole_ms,
    (p.ms * d.share_ms) % d.slice_ms AS rest
  FROM parts AS p
  JOIN slice_dealt AS d
    ON d.node = p.node AND d.slot = p.slot AND d.slice = p.slice AND d.hour_ms = p.hour_ms
),
dealt AS (
  SELECT *,
    whole_ms + CASE WHEN ROW_NUMBER() OVER (PARTITION BY node, slot, slice, hour_ms
        ORDER BY rest DESC, namespace, workload_kind, workload_name, class)
      <= share_ms - SUM(whole_ms) OVER (PARTITION BY node, slot, slice, hour_ms)
      THEN 1 ELSE 0 END AS dealt_ms
  FROM scaled
),
named AS (
  SELECT namespace, workload_kind, workload_name, model, team,
    ROW_NUMBER() OVER (PARTITION BY namespace, workload_kind, workload_name
      ORDER BY valid_from_ms DESC, valid_to_ms DESC) AS place
  FROM workloads
  WHERE cluster = $cluster AND valid_to_ms > $day_start_ms AND valid_from_ms < $day_end_ms
)
SELECT d.node, d.slot, d.slice, d.hour_ms, d.namespace, d.workload_kind, d.workload_name, d.class,
  CAST(d.dealt_ms AS BIGINT) AS ms,
  s.gpu_uuid, s.gpu_product, s.instance_type, s.price_key,
  COALESCE(NULLIF(r.model, ''), w.model) AS model,
  COALESCE(NULLIF(r.team, ''), w.team) AS team,
  d.quiet_confidence,
  $day_end_ms + $margin_ms <= $data_end_ms AS final
FROM dealt AS d
JOIN stg_slices AS s ON s.slice_id = d.slice_id
LEFT JOIN stg_pod_replicas AS r ON r.namespace = d.namespace AND r.pod = d.pod
LEFT JOIN named AS w ON w.namespace = d.namespace AND w.workload_kind = d.workload_kind
  AND w.workload_name = d.workload_name AND w.place = 1
WHERE d.dealt_ms > 0
ORDER BY d.node, d.slot, d.hour_ms, d.slice, d.namespace, d.workload_kind, d.workload_name, d.class
