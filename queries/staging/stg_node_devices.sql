/*---
name: stg_node_devices
title: Activity over all devices of a node whose holders no source maps to slots
order: 140
grain: [node, from_ms]
requires: [stg_holders, stg_slot_devices, stg_engine_spans, stg_slices]
params: {}
---*/
WITH nodes_inferred AS (
  SELECT DISTINCT node FROM stg_holders WHERE how = 'inferred'
),
existing AS (
  SELECT s.node, s.slot, CASE WHEN s.mig_instance IS NULL THEN '' ELSE s.slice END AS device,
    MIN(s.from_ms) AS from_ms, MAX(s.to_ms) AS to_ms
  FROM stg_slices AS s
  JOIN nodes_inferred AS n ON n.node = s.node
  WHERE s.slice_kind <> 'rest'
  GROUP BY s.node, s.slot, CASE WHEN s.mig_instance IS NULL THEN '' ELSE s.slice END
),
holders AS (
  SELECT h.node, h.slot, h.slice, h.namespace, h.replica, h.from_ms, h.to_ms
  FROM stg_holders AS h
  JOIN nodes_inferred AS n ON n.node = h.node
),
replicas AS (
  SELECT node, namespace, replica, MIN(from_ms) AS from_ms, MAX(to_ms) AS to_ms
  FROM holders
  GROUP BY node, namespace, replica
),
working AS (
  -- Slots whose holder's own counters show work explain as many active devices.
  SELECT h.node, GREATEST(h.from_ms, e.from_ms) AS from_ms, LEAST(h.to_ms, e.to_ms) AS to_ms
  FROM holders AS h
  JOIN stg_engine_spans AS e ON e.namespace = h.namespace AND e.replica = h.replica
  WHERE e.state = 1 AND e.from_ms < h.to_ms AND e.to_ms > h.from_ms
),
spans AS (
  SELECT node, from_ms, to_ms, 1 AS devices, 0 AS replicas, 0 AS held, 0 AS known, 0 AS active,
    0 AS active_by_median, 0 AS high, 0 AS hardware_idle, 0 AS working
  FROM existing
  UNION ALL
  SELECT node, from_ms, to_ms, 0, 1, 0, 0, 0, 0, 0, 0, 0 FROM replicas
  UNION ALL
  SELECT node, from_ms, to_ms, 0, 0, 1, 0, 0, 0, 0, 0, 0 FROM holders
  UNION ALL
  SELECT node, from_ms, to_ms, 0, 0, 0, 0, 0, 0, 0, 0, 1 FROM working
  UNION ALL
  SELECT s.node, s.from_ms, s.to_ms, 0, 0, 0, 1, s.active, s.active_by_median, 1 - s.low,
    s.hardware_idle, 0
  FROM stg_slot_devices AS s
  JOIN nodes_inferred AS n ON n.node = s.node
),
points AS (
  SELECT node, t, SUM(devices) AS devices, SUM(replicas) AS replicas, SUM(held) AS held,
    SUM(known) AS known, SUM(active) AS active, SUM(active_by_median) AS active_by_median,
    SUM(high) AS high, SUM(hardware_idle) AS hardware_idle, SUM(working) AS working
  FROM (
    SELECT node, from_ms AS t, devices, replicas, held, known, active, active_by_median, high,
      hardware_idle, working
    FROM spans
    UNION ALL
    SELECT node, to_ms, -devices, -replicas, -held, -known, -active, -active_by_median, -high,
      -hardware_idle, -working
    FROM spans
  ) AS events
  GROUP BY node, t
),
running AS (
  SELECT node, t, SUM(devices) OVER w AS devices, SUM(replicas) OVER w AS replicas,
    SUM(held) OVER w AS held, SUM(known) OVER w AS known, SUM(active) OVER w AS active,
    SUM(active_by_median) OVER w AS active_by_median, SUM(high) OVER w AS high,
    SUM(hardware_idle) OVER w AS hardware_idle, SUM(working) OVER w AS working
  FROM points
  WINDOW w AS (PARTITION BY node ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
judged AS (
  SELECT node, t,
    CASE WHEN replicas > 1 THEN 1 ELSE 0 END AS shared,
    CASE WHEN devices > 0 AND known >= devices THEN 1 ELSE 0 END AS known,
    CASE WHEN active > 0 THEN 1 ELSE 0 END AS active,
    CASE WHEN active_by_median > 0 THEN 1 ELSE 0 END AS active_by_median,
    CASE WHEN active > working THEN 1 ELSE 0 END AS unexplained,
    CASE WHEN active > held THEN 1 ELSE 0 END AS beyond_held,
    CASE WHEN devices > 0 AND known >= devices AND high = 0 THEN 1 ELSE 0 END AS low,
    CASE WHEN devices > 0 AND known >= devices AND hardware_idle >= devices - working
      THEN 1 ELSE 0 END AS hardware_idle
  FROM running
),
changed AS (
  SELECT *, shared + 2 * known + 4 * active + 8 * active_by_median + 16 * unexplained
      + 32 * beyond_held + 64 * low + 128 * hardware_idle AS state,
    LAG(shared + 2 * known + 4 * active + 8 * active_by_median + 16 * unexplained
      + 32 * beyond_held + 64 * low + 128 * hardware_idle)
      OVER (PARTITION BY node ORDER BY t) AS before
  FROM judged
),
bounded AS (
  SELECT *, t AS from_ms, LEAD(t) OVER (PARTITION BY node ORDER BY t) AS to_ms
  FROM changed
  WHERE before IS NULL OR before <> state
)
SELECT node, from_ms, to_ms, CAST(shared AS BIGINT) AS shared, CAST(known AS BIGINT) AS known,
  CAST(active AS BIGINT) AS active, CAST(active_by_median AS BIGINT) AS active_by_median,
  CAST(unexplained AS BIGINT) AS unexplained, CAST(beyond_held AS BIGINT) AS beyond_held,
  CAST(low AS BIGINT) AS low, CAST(hardware_idle AS BIGINT) AS hardware_idle
FROM bounded
WHERE to_ms IS NOT NULL
ORDER BY node, from_ms
