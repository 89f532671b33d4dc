/*---
id: stuck-rollout
version: 1.0.0
title: GPUs held by pods that never became ready
status: stable
severity: high
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts]
claims: [pending]
order: 15
window: {default: 14d, min: 3d}
params:
  min_stuck_hours: {type: int, unit: hours in a row, default: 3, why: "the largest images and weights are pulled and loaded within an hour; three whole hours without readiness is no start"}
  min_stuck_gpu_hours: {type: int, unit: GPU-hours, default: 6, why: "two GPUs for one stuck stretch: less is over before anybody reads this"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "what was seen must speak for the window"}
false_positives:
  - weights that come over a slow link for hours, once
  - a readiness gate that waits for a person
remediation:
  action: roll-back
  text: roll back, or free the GPUs until the cause of the failing start is mended
references:
  - https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#failed-deployment
rationale: >-
  A pod that pulls, crashes or waits holds its GPU from the moment it is scheduled. Starts are short;
  whole hours of it in a row, at least three, are a rollout that does not get anywhere. The first and
  the last part of an hour stay out of the claim.
---*/
-- Slices of which anything was pending: only these hours are looked into.
WITH waited AS (
  SELECT DISTINCT cluster, node, slot, slice, hour_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class = 'pending' AND workload_name <> ''
),
-- Hours that a slice's holder spent without becoming ready, from end to end.
slice_hours AS (
  SELECT
    l.cluster,
    l.namespace,
    l.workload_kind,
    l.workload_name,
    COALESCE(l.instance_type, '') AS instance_type,
    COALESCE(l.gpu_product, '') AS gpu_product,
    l.price_key,
    l.node,
    l.slot,
    l.slice,
    l.hour_ms,
    CAST(SUM(CASE WHEN l.class = 'pending' THEN l.ms ELSE 0 END) AS BIGINT) AS pending_ms,
    CAST(SUM(CASE WHEN l.class = 'pending' THEN 0 ELSE l.ms END) AS BIGINT) AS other_ms
  FROM ledger AS l
  INNER JOIN waited AS w
    ON l.cluster = w.cluster
    AND l.node = w.node
    AND l.slot = w.slot
    AND l.slice = w.slice
    AND l.hour_ms = w.hour_ms
  WHERE l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class <> 'absent' AND l.workload_name <> ''
  GROUP BY l.cluster, l.namespace, l.workload_kind, l.workload_name, COALESCE(l.instance_type, ''),
    COALESCE(l.gpu_product, ''), l.price_key, l.node, l.slot, l.slice, l.hour_ms
),
-- Hours in a row have the same difference to their rank.
islands AS (
  SELECT
    h.*,
    hour_ms - 3600000 * ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name, node, slot, slice
      ORDER BY hour_ms, price_key, instance_type, gpu_product
    ) AS island
  FROM slice_hours AS h
  WHERE pending_ms > 0 AND other_ms = 0
),
lengths AS (
  SELECT
    i.*,
    COUNT(*) OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name, node, slot, slice, island
    ) AS hours_in_a_row
  FROM islands AS i
),
stuck AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    instance_type,
    gpu_product,
    price_key,
    hour_ms,
    CAST(SUM(pending_ms) AS BIGINT) AS stuck_ms,
    MAX(hours_in_a_row) AS longest_hours
  FROM lengths
  WHERE hours_in_a_row >= $min_stuck_hours
  GROUP BY cluster, namespace, workload_kind, workload_name, instance_type, gpu_product, price_key,
    hour_ms
),
found_stuck AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(stuck_ms) AS BIGINT) AS stuck_ms,
    CAST(MAX(longest_hours) AS BIGINT) AS longest_hours
  FROM stuck
  GROUP BY cluster, namespace, workload_kind, workload_name
),
sums AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(ms) AS BIGINT) AS total_ms,
    CAST(SUM(CASE WHEN class = 'pending' THEN ms ELSE 0 END) AS BIGINT) AS pending_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name
),
judged AS (
  SELECT
    w.*,
    COALESCE(s.total_ms, 0) AS total_ms,
    COALESCE(s.pending_ms, 0) AS pending_ms,
    COALESCE(s.unknown_ms, 0) AS unknown_ms,
    COALESCE(f.stuck_ms, 0) AS stuck_ms,
    COALESCE(f.longest_hours, 0) AS longest_hours,
    CAST(CAST(COALESCE(f.stuck_ms, 0) + 180000 - (COALESCE(f.stuck_ms, 0) + 180000) % 360000 AS DOUBLE) / 360000.0 AS BIGINT) AS tenths,
    CASE
      WHEN COALESCE(s.total_ms, 0) = 0 THEN 'skip'
      WHEN f.stuck_ms >= $min_stuck_gpu_hours * 3600000 THEN 'alarm'
      WHEN (s.total_ms - s.unknown_ms) * 100 < s.total_ms * $min_coverage_percent
        THEN 'undetermined'
      ELSE 'ok'
    END AS status
  FROM workload_facts AS w
  LEFT JOIN sums AS s
    ON w.cluster = s.cluster
    AND w.namespace = s.namespace
    AND w.workload_kind = s.workload_kind
    AND w.workload_name = s.workload_name
  LEFT JOIN found_stuck AS f
    ON w.cluster = f.cluster
    AND w.namespace = f.namespace
    AND w.workload_kind = f.workload_kind
    AND w.workload_name = f.workload_name
),
texts AS (
  SELECT
    j.*,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS stuck_hours,
    workload_name || COALESCE(' (' || COALESCE(model, model_raw) || ')', '')
      || COALESCE(' on ' || gpu_product, '') AS headline
  FROM judged AS j
)
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  CAST($window_start_ms AS BIGINT) AS window_start_ms,
  CAST($window_end_ms AS BIGINT) AS window_end_ms,
  status AS status,
  CASE WHEN total_ms > 0
    THEN CAST(total_ms - unknown_ms AS DOUBLE) / CAST(total_ms AS DOUBLE) END AS coverage,
  'high' AS confidence,
  model,
  gpu_product,
  team,
  headline,
  'its pods held GPUs for ' || stuck_hours || ' GPU-hours without becoming ready' AS because,
  CASE status
    WHEN 'skip' THEN 'It held no GPU in the closed hours of the window.'
    WHEN 'undetermined' THEN 'Too much of its time is unknown for what was seen to speak for the window.'
    WHEN 'alarm' THEN 'Pods of it held GPUs and were not ready for up to '
      || CAST(longest_hours AS VARCHAR) || ' whole hours in a row: ' || stuck_hours || ' GPU-hours.'
    ELSE 'No stretch without readiness was long enough: ' || stuck_hours || ' GPU-hours.'
  END AS reason,
  existed_ms,
  alive_at_end AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  'Roll back what does not start, or scale it down until its cause is mended.' AS remedy,
  'roll-back' AS remedy_action,
  CAST(NULL AS VARCHAR) AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed,
  'low' AS remedy_risk,
  'none: what is rolled back never served' AS remedy_disruption,
  total_ms AS ev_held_gpu_ms,
  pending_ms AS ev_pending_gpu_ms,
  stuck_ms AS ev_stuck_gpu_ms,
  longest_hours AS ev_longest_hours_in_a_row,
  unknown_ms AS ev_unknown_gpu_ms
FROM texts
ORDER BY cluster, namespace, workload_kind, workload_name
