/*---
id: unallocated-capacity
version: 1.0.0
title: GPUs that nobody holds
status: stable
severity: medium
grain: [cluster, instance_type, gpu_product]
requires: [ledger]
claims: [unallocated]
order: 10
window: {default: 14d, min: 3d}
params:
  min_unallocated_gpu_hours: {type: int, unit: GPU-hours, default: 24, why: "a day of one GPU: less is the slack in which pods come and go"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "below it nobody knows who held the rest of the time"}
false_positives:
  - capacity kept free on purpose for fail-over or for a launch
  - a reservation that is paid for whether nodes exist or not
remediation:
  action: return-capacity
  text: drain and return nodes, or pack the workloads of this instance type on fewer of them
references:
  - https://kubernetes.io/docs/concepts/cluster-administration/node-autoscaling/
rationale: >-
  A GPU that no pod holds is paid for and can serve nobody. What a MIG layout or a share leaves over
  counts too: it is bought and cannot be held.
---*/
WITH slots AS (
  SELECT
    cluster,
    COALESCE(instance_type, '') AS instance_type,
    COALESCE(gpu_product, '') AS gpu_product,
    node,
    slot,
    hour_ms,
    SUM(ms) AS existed_ms,
    SUM(CASE WHEN class = 'unallocated' THEN ms ELSE 0 END) AS unallocated_ms,
    SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS unknown_ms,
    SUM(CASE WHEN class = 'unallocated' AND slice = 'rest' THEN ms ELSE 0 END) AS rest_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent'
  GROUP BY cluster, COALESCE(instance_type, ''), COALESCE(gpu_product, ''), node, slot, hour_ms
),
hours AS (
  SELECT
    cluster,
    instance_type,
    gpu_product,
    hour_ms,
    SUM(existed_ms) AS capacity_ms,
    MAX(existed_ms) AS longest_ms,
    SUM(unallocated_ms) AS unallocated_ms,
    SUM(unknown_ms) AS unknown_ms,
    SUM(rest_ms) AS rest_ms
  FROM slots
  GROUP BY cluster, instance_type, gpu_product, hour_ms
),
sums AS (
  SELECT
    cluster,
    instance_type,
    gpu_product,
    CAST(SUM(capacity_ms) AS BIGINT) AS capacity_ms,
    CAST(SUM(longest_ms) AS BIGINT) AS existed_ms,
    CAST(SUM(unallocated_ms) AS BIGINT) AS unallocated_ms,
    CAST(SUM(unknown_ms) AS BIGINT) AS unknown_ms,
    CAST(SUM(rest_ms) AS BIGINT) AS rest_ms,
    MAX(hour_ms) AS last_hour_ms
  FROM hours
  GROUP BY cluster, instance_type, gpu_product
),
judged AS (
  SELECT
    s.*,
    -- Tenths of a GPU-hour, rounded half up.
    CAST(CAST(unallocated_ms + 180000 - (unallocated_ms + 180000) % 360000 AS DOUBLE) / 360000.0
      AS BIGINT) AS tenths,
    CASE
      WHEN unallocated_ms >= $min_unallocated_gpu_hours * 3600000 THEN 'alarm'
      WHEN (capacity_ms - unknown_ms) * 100 < capacity_ms * $min_coverage_percent
        THEN 'undetermined'
      ELSE 'ok'
    END AS status
  FROM sums AS s
),
texts AS (
  SELECT
    j.*,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS unallocated_hours
  FROM judged AS j
)
SELECT
  cluster,
  instance_type,
  gpu_product,
  CAST($window_start_ms AS BIGINT) AS window_start_ms,
  CAST($window_end_ms AS BIGINT) AS window_end_ms,
  status,
  CASE WHEN capacity_ms > 0
    THEN CAST(capacity_ms - unknown_ms AS DOUBLE) / CAST(capacity_ms AS DOUBLE) END AS coverage,
  CASE WHEN (capacity_ms - unknown_ms) * 100 >= capacity_ms * $min_coverage_percent
    THEN 'high' ELSE 'medium' END AS confidence,
  CAST(NULL AS VARCHAR) AS model,
  CAST(NULL AS VARCHAR) AS team,
  CASE WHEN gpu_product = '' THEN 'free capacity' ELSE 'free ' || gpu_product END
    || CASE WHEN instance_type = '' THEN ' on nodes of unknown type'
      ELSE ' on ' || instance_type END AS headline,
  'nobody held it for ' || unallocated_hours || ' GPU-hours' AS because,
  CASE status
    WHEN 'alarm' THEN 'No pod held ' || unallocated_hours
      || ' GPU-hours of schedulable capacity in the window.'
    WHEN 'undetermined' THEN
      'Who held these GPUs is unknown for too much of the window to call the rest in use.'
    ELSE 'Free capacity stayed below the threshold: ' || unallocated_hours || ' GPU-hours.'
  END AS reason,
  existed_ms,
  CAST(CASE WHEN last_hour_ms + 3600000 >= $window_end_ms THEN 1 ELSE 0 END AS BIGINT) AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  'Pack the workloads of ' || CASE WHEN instance_type = '' THEN 'these nodes'
    ELSE instance_type END || ' on fewer nodes and return what is then empty.' AS remedy,
  'return-capacity' AS remedy_action,
  CAST(NULL AS VARCHAR) AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed,
  'medium' AS remedy_risk,
  'pods that share a node with free GPUs move once' AS remedy_disruption,
  capacity_ms AS ev_capacity_gpu_ms,
  unallocated_ms AS ev_unallocated_gpu_ms,
  rest_ms AS ev_unholdable_rest_gpu_ms,
  unknown_ms AS ev_unknown_gpu_ms
FROM texts
ORDER BY cluster, instance_type, gpu_product
