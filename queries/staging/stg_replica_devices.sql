/*---
name: stg_replica_devices
title: Activity over all devices that a replica holds
order: 130
grain: [namespace, replica, from_ms]
requires: [stg_holders, stg_slices, stg_slot_devices]
params: {}
---*/
WITH slice_devices AS (
  SELECT DISTINCT node, slot, slice, CASE WHEN mig_instance IS NULL THEN '' ELSE slice END AS device
  FROM stg_slices
),
held AS (
  -- Two slices of one device held by one replica are one device.
  SELECT h.namespace, h.replica, h.node, h.slot, d.device,
    MIN(h.from_ms) AS from_ms, MAX(h.to_ms) AS to_ms, h.pod
  FROM stg_holders AS h
  JOIN slice_devices AS d ON d.node = h.node AND d.slot = h.slot AND d.slice = h.slice
  GROUP BY h.namespace, h.replica, h.node, h.slot, d.device, h.pod
),
events AS (
  SELECT namespace, replica, from_ms AS t, 1 AS held, 0 AS known, 0 AS active,
    0 AS active_by_median, 0 AS high, 0 AS hardware_idle
  FROM held
  UNION ALL
  SELECT namespace, replica, to_ms, -1, 0, 0, 0, 0, 0
  FROM held
  UNION ALL
  SELECT h.namespace, h.replica, GREATEST(h.from_ms, s.from_ms), 0, 1, s.active,
    s.active_by_median, 1 - s.low, s.hardware_idle
  FROM held AS h
  JOIN stg_slot_devices AS s ON s.node = h.node AND s.slot = h.slot AND s.device = h.device
  WHERE s.from_ms < h.to_ms AND s.to_ms > h.from_ms
  UNION ALL
  SELECT h.namespace, h.replica, LEAST(h.to_ms, s.to_ms), 0, -1, -s.active,
    -s.active_by_median, s.low - 1, -s.hardware_idle
  FROM held AS h
  JOIN stg_slot_devices AS s ON s.node = h.node AND s.slot = h.slot AND s.device = h.device
  WHERE s.from_ms < h.to_ms AND s.to_ms > h.from_ms
),
points AS (
  SELECT namespace, replica, t, SUM(held) AS held, SUM(known) AS known, SUM(active) AS active,
    SUM(active_by_median) AS active_by_median, SUM(high) AS high,
    SUM(hardware_idle) AS hardware_idle
  FROM events
  GROUP BY namespace, replica, t
),
running AS (
  SELECT namespace, replica, t, SUM(held) OVER w AS held, SUM(known) OVER w AS known,
    SUM(active) OVER w AS active, SUM(active_by_median) OVER w AS active_by_median,
    SUM(high) OVER w AS high, SUM(hardware_idle) OVER w AS hardware_idle
  FROM points
  WINDOW w AS (PARTITION BY namespace, replica ORDER BY t
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
judged AS (
  -- One active device is enough for work; rest needs every device to be known.
  SELECT namespace, replica, t,
    CASE WHEN held > 0 AND known >= held THEN 1 ELSE 0 END AS known,
    CASE WHEN active > 0 THEN 1 ELSE 0 END AS active,
    CASE WHEN active_by_median > 0 THEN 1 ELSE 0 END AS active_by_median,
    CASE WHEN held > 0 AND known >= held AND high = 0 THEN 1 ELSE 0 END AS low,
    CASE WHEN held > 0 AND hardware_idle >= held THEN 1 ELSE 0 END AS hardware_idle
  FROM running
),
changed AS (
  SELECT *, known + 2 * active + 4 * active_by_median + 8 * low + 16 * hardware_idle AS state,
    LAG(known + 2 * active + 4 * active_by_median + 8 * low + 16 * hardware_idle)
      OVER (PARTITION BY namespace, replica ORDER BY t) AS before
  FROM judged
),
bounded AS (
  SELECT namespace, replica, t AS from_ms,
    LEAD(t) OVER (PARTITION BY namespace, replica ORDER BY t) AS to_ms, state,
    known, active, active_by_median, low, hardware_idle
  FROM changed
  WHERE before IS NULL OR before <> state
)
SELECT namespace, replica, from_ms, to_ms, CAST(known AS BIGINT) AS known,
  CAST(active AS BIGINT) AS active, CAST(active_by_median AS BIGINT) AS active_by_median,
  CAST(low AS BIGINT) AS low, CAST(hardware_idle AS BIGINT) AS hardware_idle
FROM bounded
WHERE state > 0 AND to_ms IS NOT NULL
ORDER BY namespace, replica, from_ms
