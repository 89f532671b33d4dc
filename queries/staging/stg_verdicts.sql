/*---
name: stg_verdicts
title: What each moment of a slice says by itself, before runs are known
order: 160
grain: [node, slot, slice, from_ms]
requires: [stg_slice_segments, stg_slices, stg_holders, stg_engine_spans]
params: {}
---*/
WITH observed AS (
  SELECT DISTINCT namespace, replica, 1 AS has_engine FROM stg_engine_spans
),
bits AS (
  SELECT g.*, s.slice_kind, s.unavailable,
    COALESCE(h.namespace, '') AS namespace, COALESCE(h.pod, '') AS pod,
    COALESCE(h.workload_kind, '') AS workload_kind, COALESCE(h.workload_name, '') AS workload_name,
    COALESCE(o.has_engine, 0) AS has_engine,
    CASE WHEN g.holder_id > 0 AND g.gone = 0 AND s.slice_kind <> 'rest' THEN 1 ELSE 0 END AS held,
    -- Holders that no source maps to a slot are judged by their node's devices.
    CASE WHEN g.inferred > 0 THEN CASE WHEN g.node_bits % 64 >= 32 THEN 1 ELSE 0 END
      WHEN g.sharers > 1 THEN 1 ELSE 0 END AS shared,
    CASE WHEN g.inferred > 0 THEN g.node_bits
      WHEN g.sharers > 1 THEN g.device_bits ELSE g.replica_bits END AS evidence
  FROM stg_slice_segments AS g
  JOIN stg_slices AS s ON s.slice_id = g.slice_id
  LEFT JOIN stg_holders AS h ON h.holder_id = g.holder_id
  LEFT JOIN observed AS o ON o.namespace = h.namespace AND o.replica = h.replica
),
facts AS (
  SELECT *,
    evidence % 2 AS known,
    CASE WHEN evidence % 4 >= 2 THEN 1 ELSE 0 END AS active,
    CASE WHEN evidence % 8 >= 4 THEN 1 ELSE 0 END AS active_by_median,
    CASE WHEN evidence % 2 = 1 AND evidence % 16 >= 8 THEN 1 ELSE 0 END AS low,
    CASE WHEN evidence % 2 = 1 AND evidence % 32 >= 16 THEN 1 ELSE 0 END AS hardware_idle,
    CASE WHEN inferred > 0 AND evidence % 128 >= 64 THEN 1
      WHEN inferred > 0 AND shared = 1 THEN 0
      WHEN evidence % 4 >= 2 THEN 1 ELSE 0 END AS unexplained,
    CASE WHEN device_bits % 4 >= 2 AND sharers = 0
      AND (node_bits = 0 OR node_bits % 256 >= 128) THEN 1 ELSE 0 END AS active_unheld
  FROM bits
),
worked AS (
  SELECT *,
    CASE
      WHEN held = 0 THEN 0
      -- The holder's own counters count whatever its readiness and its node say.
      WHEN engine_work > 0 THEN 1
      WHEN ready = 0 OR down > 0 OR shared = 1 THEN 0
      WHEN non_serving > 0 THEN active
      -- Without engine series activity is nobody's measured work.
      WHEN has_engine = 0 THEN 0
      -- Beside counters at probe level the median decides: a probe moves the GPU too.
      WHEN engine_quiet > 0 THEN active_by_median
      ELSE active
    END AS works
  FROM facts
)
SELECT node, slot, slice, from_ms, to_ms, slice_id, holder_id,
  CASE WHEN held = 1 THEN namespace ELSE '' END AS namespace,
  CASE WHEN held = 1 THEN pod ELSE '' END AS pod,
  CASE WHEN held = 1 THEN workload_kind ELSE '' END AS workload_kind,
  CASE WHEN held = 1 THEN workload_name ELSE '' END AS workload_name,
  CAST(has_engine AS BIGINT) AS has_engine, restart_ms,
  CAST(CASE WHEN declared > 0 THEN 1 ELSE 0 END AS BIGINT) AS declared,
  CAST(CASE WHEN asleep > 0 THEN 1 ELSE 0 END AS BIGINT) AS asleep,
  CASE
    WHEN works = 1 AND non_serving > 0 THEN 'non_serving'
    WHEN works = 1 AND (engine_work > 0 OR queued > 0) AND throttled > 0 AND low = 1 AND shared = 0
      THEN 'starved'
    WHEN works = 1 THEN 'work'
    WHEN unavailable = 1 THEN 'unavailable'
    WHEN held = 0 AND slice_kind <> 'rest' AND active_unheld = 1 THEN 'active'
    WHEN held = 0 THEN 'unallocated'
    WHEN down > 0 THEN 'pending'
    WHEN non_serving > 0 THEN 'non_serving'
    WHEN ready = 0 THEN 'unknown'
    WHEN has_engine = 1 AND engine_quiet = 0 THEN 'unknown'
    WHEN has_engine = 1 AND queued > 0 AND throttled > 0 AND low = 1 AND shared = 0 THEN 'starved'
    -- On a shared device the counters are all that speaks of this holder.
    WHEN has_engine = 1 AND shared = 1 THEN 'quiet'
    -- Counters miss real requests: without the GPU's word nothing is quiet.
    WHEN has_engine = 1 AND known = 0 THEN 'unknown'
    WHEN has_engine = 1 THEN 'quiet'
    WHEN unexplained = 1 THEN 'active'
    WHEN known = 1 AND hardware_idle = 1 THEN 'quiet'
    ELSE 'unknown'
  END AS verdict
FROM worked
ORDER BY node, slot, slice, from_ms
