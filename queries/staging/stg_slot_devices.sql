/*---
name: stg_slot_devices
title: Known activity of each slot's device, or of each MIG instance
order: 120
grain: [node, slot, device, from_ms]
requires: [stg_gpu_spans, stg_slices]
params: {}
---*/
WITH devices AS (
  -- A MIG instance is a device of its own; all other slices of a slot share one (device '').
  SELECT node, slot, CASE WHEN mig_instance IS NULL THEN '' ELSE slice END AS device,
    gpu_uuid, gpu, COALESCE(mig_instance, '') AS mig_instance,
    MIN(from_ms) AS from_ms, MAX(to_ms) AS to_ms
  FROM stg_slices
  WHERE slice_kind <> 'rest'
  GROUP BY node, slot, CASE WHEN mig_instance IS NULL THEN '' ELSE slice END, gpu_uuid, gpu,
    COALESCE(mig_instance, '')
),
placed AS (
  SELECT d.node, d.slot, d.device, GREATEST(s.from_ms, d.from_ms) AS from_ms,
    LEAST(s.to_ms, d.to_ms) AS to_ms, s.active, s.active_by_median, s.low, s.hardware_idle
  FROM stg_gpu_spans AS s
  JOIN devices AS d
    ON d.node = s.node AND d.gpu_uuid = s.uuid AND d.mig_instance = s.mig_instance
  WHERE s.from_ms < d.to_ms AND s.to_ms > d.from_ms
  UNION ALL
  SELECT d.node, d.slot, d.device, GREATEST(s.from_ms, d.from_ms), LEAST(s.to_ms, d.to_ms),
    s.active, s.active_by_median, s.low, s.hardware_idle
  FROM stg_gpu_spans AS s
  JOIN devices AS d
    ON d.node = s.node AND d.gpu = s.gpu AND d.mig_instance = s.mig_instance
  WHERE d.gpu_uuid IS NULL AND s.from_ms < d.to_ms AND s.to_ms > d.from_ms
),
events AS (
  SELECT node, slot, device, from_ms AS t, 1 AS known, active, active_by_median,
    1 - low AS high, 1 - hardware_idle AS busy
  FROM placed
  UNION ALL
  SELECT node, slot, device, to_ms, -1, -active, -active_by_median, low - 1, hardware_idle - 1
  FROM placed
),
points AS (
  SELECT node, slot, device, t, SUM(known) AS known, SUM(active) AS active,
    SUM(active_by_median) AS active_by_median, SUM(high) AS high, SUM(busy) AS busy
  FROM events
  GROUP BY node, slot, device, t
),
running AS (
  SELECT node, slot, device, t, SUM(known) OVER w AS known, SUM(active) OVER w AS active,
    SUM(active_by_median) OVER w AS active_by_median, SUM(high) OVER w AS high,
    SUM(busy) OVER w AS busy
  FROM points
  WINDOW w AS (PARTITION BY node, slot, device ORDER BY t
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
judged AS (
  SELECT node, slot, device, t,
    CASE WHEN known > 0 THEN 1 ELSE 0 END AS known,
    CASE WHEN active > 0 THEN 1 ELSE 0 END AS active,
    CASE WHEN active_by_median > 0 THEN 1 ELSE 0 END AS active_by_median,
    CASE WHEN known > 0 AND high = 0 THEN 1 ELSE 0 END AS low,
    CASE WHEN known > 0 AND active = 0 AND busy = 0 THEN 1 ELSE 0 END AS hardware_idle
  FROM running
),
changed AS (
  SELECT *, known + 2 * active + 4 * active_by_median + 8 * low + 16 * hardware_idle AS state,
    LAG(known + 2 * active + 4 * active_by_median + 8 * low + 16 * hardware_idle)
      OVER (PARTITION BY node, slot, device ORDER BY t) AS before
  FROM judged
),
bounded AS (
  SELECT node, slot, device, t AS from_ms,
    LEAD(t) OVER (PARTITION BY node, slot, device ORDER BY t) AS to_ms,
    known, active, active_by_median, low, hardware_idle
  FROM changed
  WHERE before IS NULL OR before <> state
)
SELECT node, slot, device, from_ms, to_ms, CAST(active AS BIGINT) AS active,
  CAST(active_by_median AS BIGINT) AS active_by_median, CAST(low AS BIGINT) AS low,
  CAST(hardware_idle AS BIGINT) AS hardware_idle
FROM bounded
WHERE known = 1 AND to_ms IS NOT NULL
ORDER BY node, slot, device, from_ms
