/*---
name: stg_slice_segments
title: Every slice cut at each change of what is known about it
order: 150
grain: [node, slot, slice, from_ms]
requires: [stg_slices, stg_holders, stg_pods, stg_engine_spans, stg_restarts, stg_slot_devices, stg_replica_devices, stg_node_devices, stg_throttled_spans]
params: {}
---*/
WITH slice_keys AS (
  SELECT DISTINCT node, slot, slice,
    CASE WHEN mig_instance IS NULL THEN '' ELSE slice END AS device
  FROM stg_slices
),
inferred_nodes AS (
  SELECT DISTINCT node FROM stg_holders WHERE how = 'inferred'
),
sharers AS (
  SELECT DISTINCT h.node, h.slot, k.device, h.namespace, h.replica, h.from_ms, h.to_ms
  FROM stg_holders AS h
  JOIN slice_keys AS k ON k.node = h.node AND k.slot = h.slot AND k.slice = h.slice
),
-- Several slices of one device held by one replica at once are one sharer.
sharer_points AS (
  SELECT node, slot, device, namespace, replica, t, SUM(v) AS v
  FROM (
    SELECT node, slot, device, namespace, replica, from_ms AS t, 1 AS v FROM sharers
    UNION ALL
    SELECT node, slot, device, namespace, replica, to_ms, -1 FROM sharers
  ) AS e
  GROUP BY node, slot, device, namespace, replica, t
),
sharer_counts AS (
  SELECT node, slot, device, namespace, replica, t,
    SUM(v) OVER (PARTITION BY node, slot, device, namespace, replica ORDER BY t
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS n
  FROM sharer_points
),
sharer_steps AS (
  SELECT node, slot, device, t,
    CASE WHEN n > 0 THEN 1 ELSE 0 END - COALESCE(LAG(CASE WHEN n > 0 THEN 1 ELSE 0 END) OVER (
      PARTITION BY node, slot, device, namespace, replica ORDER BY t), 0) AS v
  FROM sharer_counts
),
spans AS (
  SELECT node, slot, slice, from_ms, to_ms, 'slice' AS kind, slice_id AS v FROM stg_slices
  UNION ALL
  SELECT node, slot, slice, from_ms, to_ms, 'holder', holder_id FROM stg_holders
  UNION ALL
  SELECT h.node, h.slot, h.slice, GREATEST(h.from_ms, p.from_ms), LEAST(h.to_ms, p.to_ms),
    CASE WHEN p.state = 'ready' THEN 'ready' WHEN p.state = 'terminated' THEN 'gone'
      ELSE 'down' END, 1
  FROM stg_holders AS h
  JOIN stg_pods AS p ON p.namespace = h.namespace AND p.pod = h.pod
  WHERE p.from_ms < h.to_ms AND p.to_ms > h.from_ms
  UNION ALL
  SELECT h.node, h.slot, h.slice, GREATEST(h.from_ms, p.from_ms), LEAST(h.to_ms, p.to_ms),
    'own kind', 1
  FROM stg_holders AS h
  JOIN stg_pods AS p ON p.namespace = h.namespace AND p.pod = h.pod
  WHERE p.from_ms < h.to_ms AND p.to_ms > h.from_ms
    AND p.workload_class IN ('batch', 'training', 'notebook')
  UNION ALL
  SELECT h.node, h.slot, h.slice, GREATEST(h.from_ms, p.from_ms), LEAST(h.to_ms, p.to_ms),
    'declared', 1
  FROM stg_holders AS h
  JOIN stg_pods AS p ON p.namespace = h.namespace AND p.pod = h.pod
  WHERE p.from_ms < h.to_ms AND p.to_ms > h.from_ms AND p.standby = 1
  UNION ALL
  SELECT h.node, h.slot, h.slice, GREATEST(h.from_ms, e.from_ms), LEAST(h.to_ms, e.to_ms),
    CASE WHEN e.state = 1 THEN 'engine work' WHEN e.state = 2 THEN 'engine quiet'
      ELSE 'engine hole' END, 1
  FROM stg_holders AS h
  JOIN stg_engine_spans AS e ON e.namespace = h.namespace AND e.replica = h.replica
  WHERE e.from_ms < h.to_ms AND e.to_ms > h.from_ms
  UNION ALL
  SELECT h.node, h.slot, h.slice, GREATEST(h.from_ms, e.from_ms), LEAST(h.to_ms, e.to_ms),
    'queued', 1
  FROM stg_holders AS h
  JOIN stg_engine_spans AS e ON e.namespace = h.namespace AND e.replica = h.replica
  WHERE e.queued = 1 AND e.from_ms < h.to_ms AND e.to_ms > h.from_ms
  UNION ALL
  SELECT h.node, h.slot, h.slice, GREATEST(h.from_ms, e.from_ms), LEAST(h.to_ms, e.to_ms),
    'asleep', 1
  FROM stg_holders AS h
  JOIN stg_engine_spans AS e ON e.namespace = h.namespace AND e.replica = h.replica
  WHERE e.asleep = 1 AND e.from_ms < h.to_ms AND e.to_ms > h.from_ms
  UNION ALL
  SELECT h.node, h.slot, h.slice, GREATEST(h.from_ms, c.from_ms), LEAST(h.to_ms, c.to_ms),
    'throttled', 1
  FROM stg_holders AS h
  JOIN stg_throttled_spans AS c ON c.namespace = h.namespace AND c.replica = h.replica
  WHERE c.from_ms < h.to_ms AND c.to_ms > h.from_ms
  UNION ALL
  -- All of a replica's devices, seen from each slice it holds.
  SELECT h.node, h.slot, h.slice, GREATEST(h.from_ms, d.from_ms), LEAST(h.to_ms, d.to_ms),
    'replica', d.known + 2 * d.active + 4 * d.active_by_median + 8 * d.low + 16 * d.hardware_idle
  FROM stg_holders AS h
  JOIN stg_replica_devices AS d ON d.namespace = h.namespace AND d.replica = h.replica
  WHERE d.from_ms < h.to_ms AND d.to_ms > h.from_ms
  UNION ALL
  -- The slice's own device.
  SELECT k.node, k.slot, k.slice, d.from_ms, d.to_ms,
    'device', 1 + 2 * d.active + 4 * d.active_by_median + 8 * d.low + 16 * d.hardware_idle
  FROM slice_keys AS k
  JOIN stg_slot_devices AS d ON d.node = k.node AND d.slot = k.slot AND d.device = k.device
  UNION ALL
  SELECT k.node, k.slot, k.slice, d.from_ms, d.to_ms,
    'node', d.known + 2 * d.active + 4 * d.active_by_median + 8 * d.low + 16 * d.hardware_idle
      + 32 * d.shared + 64 * d.unexplained + 128 * d.beyond_held
  FROM slice_keys AS k
  JOIN inferred_nodes AS n ON n.node = k.node
  JOIN stg_node_devices AS d ON d.node = k.node
  UNION ALL
  SELECT h.node, h.slot, h.slice, h.from_ms, h.to_ms, 'inferred', 1
  FROM stg_holders AS h
  WHERE h.how = 'inferred'
),
events AS (
  SELECT node, slot, slice, from_ms AS t, kind, v FROM spans
  UNION ALL
  SELECT node, slot, slice, to_ms, kind, -v FROM spans
  UNION ALL
  SELECT k.node, k.slot, k.slice, s.t, 'sharers', s.v
  FROM slice_keys AS k
  JOIN sharer_steps AS s ON s.node = k.node AND s.slot = k.slot AND s.device = k.device
  WHERE s.v <> 0
  UNION ALL
  SELECT h.node, h.slot, h.slice, r.restart_ms, 'restart', 1
  FROM stg_holders AS h
  JOIN stg_restarts AS r ON r.namespace = h.namespace AND r.replica = h.replica
  WHERE r.restart_ms >= h.from_ms AND r.restart_ms < h.to_ms
  UNION ALL
  -- Hours cut every slice: no segment crosses one.
  SELECT k.node, k.slot, k.slice, $day_start_ms + c.hour * 3600000, 'hour', 0
  FROM slice_keys AS k
  CROSS JOIN (
    VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15),
      (16), (17), (18), (19), (20), (21), (22), (23), (24)
  ) AS c(hour)
),
points AS (
  SELECT node, slot, slice, t,
    SUM(CASE WHEN kind = 'slice' THEN v ELSE 0 END) AS slice_id,
    SUM(CASE WHEN kind = 'holder' THEN v ELSE 0 END) AS holder_id,
    SUM(CASE WHEN kind = 'ready' THEN v ELSE 0 END) AS ready,
    SUM(CASE WHEN kind = 'down' THEN v ELSE 0 END) AS down,
    SUM(CASE WHEN kind = 'gone' THEN v ELSE 0 END) AS gone,
    SUM(CASE WHEN kind = 'own kind' THEN v ELSE 0 END) AS non_serving,
    SUM(CASE WHEN kind = 'declared' THEN v ELSE 0 END) AS declared,
    SUM(CASE WHEN kind = 'engine work' THEN v ELSE 0 END) AS engine_work,
    SUM(CASE WHEN kind = 'engine quiet' THEN v ELSE 0 END) AS engine_quiet,
    SUM(CASE WHEN kind = 'engine hole' THEN v ELSE 0 END) AS engine_hole,
    SUM(CASE WHEN kind = 'queued' THEN v ELSE 0 END) AS queued,
    SUM(CASE WHEN kind = 'asleep' THEN v ELSE 0 END) AS asleep,
    SUM(CASE WHEN kind = 'throttled' THEN v ELSE 0 END) AS throttled,
    SUM(CASE WHEN kind = 'replica' THEN v ELSE 0 END) AS replica_bits,
    SUM(CASE WHEN kind = 'device' THEN v ELSE 0 END) AS device_bits,
    SUM(CASE WHEN kind = 'node' THEN v ELSE 0 END) AS node_bits,
    SUM(CASE WHEN kind = 'inferred' THEN v ELSE 0 END) AS inferred,
    SUM(CASE WHEN kind = 'sharers' THEN v ELSE 0 END) AS sharers,
    MAX(CASE WHEN kind = 'restart' THEN 1 ELSE 0 END) AS restart
  FROM events
  GROUP BY node, slot, slice, t
),
running AS (
  SELECT node, slot, slice, t AS from_ms,
    LEAD(t) OVER (PARTITION BY node, slot, slice ORDER BY t) AS to_ms,
    SUM(slice_id) OVER w AS slice_id, SUM(holder_id) OVER w AS holder_id,
    SUM(ready) OVER w AS ready, SUM(down) OVER w AS down, SUM(gone) OVER w AS gone,
    SUM(non_serving) OVER w AS non_serving, SUM(declared) OVER w AS declared,
    SUM(engine_work) OVER w AS engine_work, SUM(engine_quiet) OVER w AS engine_quiet,
    SUM(engine_hole) OVER w AS engine_hole, SUM(queued) OVER w AS queued,
    SUM(asleep) OVER w AS asleep, SUM(throttled) OVER w AS throttled,
    SUM(replica_bits) OVER w AS replica_bits, SUM(device_bits) OVER w AS device_bits,
    SUM(node_bits) OVER w AS node_bits, SUM(inferred) OVER w AS inferred,
    SUM(sharers) OVER w AS sharers,
    MAX(CASE WHEN restart = 1 THEN t END) OVER w AS restart_ms
  FROM points
  WINDOW w AS (PARTITION BY node, slot, slice ORDER BY t
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
SELECT node, slot, slice, from_ms, to_ms,
  CAST(slice_id AS BIGINT) AS slice_id, CAST(holder_id AS BIGINT) AS holder_id,
  CAST(ready AS BIGINT) AS ready, CAST(down AS BIGINT) AS down, CAST(gone AS BIGINT) AS gone,
  CAST(non_serving AS BIGINT) AS non_serving, CAST(declared AS BIGINT) AS declared,
  CAST(engine_work AS BIGINT) AS engine_work, CAST(engine_quiet AS BIGINT) AS engine_quiet,
  CAST(engine_hole AS BIGINT) AS engine_hole, CAST(queued AS BIGINT) AS queued,
  CAST(asleep AS BIGINT) AS asleep, CAST(throttled AS BIGINT) AS throttled,
  CAST(replica_bits AS BIGINT) AS replica_bits, CAST(device_bits AS BIGINT) AS device_bits,
  CAST(node_bits AS BIGINT) AS node_bits, CAST(inferred AS BIGINT) AS inferred,
  CAST(sharers AS BIGINT) AS sharers, restart_ms
FROM running
WHERE slice_id > 0 AND to_ms IS NOT NULL
ORDER BY node, slot, slice, from_ms
