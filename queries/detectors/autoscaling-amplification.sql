/*---
id: autoscaling-amplification
version: 1.0.0
title: Replicas that a scaler added where more replicas could not help
status: stable
severity: medium
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts, workload_hours]
order: 60
window: {default: 14d, min: 3d}
params:
  min_added_gpu_hours: {type: int, unit: GPU-hours, default: 24, why: "a day of one GPU in a fortnight: less is a burst"}
  min_starved_percent: {type: int, unit: percent of the hour's GPU time, default: 10, why: "a tenth of an hour held back is what a scaler's five-minute window sees"}
  min_preemptions: {type: int, unit: preemptions an hour, default: 12, why: "one every five minutes: the KV cache is full as a rule, not once"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "what was seen must speak for the window"}
false_positives:
  - demand that rose at the same time as the CPU held the GPU back
remediation:
  action: fix-cause-first
  text: end the cause (CPU limit, too small a KV cache), then let the scaler come down by itself
references:
  - https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
rationale: >-
  A queue grows because the CPU starves the GPU, or because the KV cache is too small, and the scaler
  answers with more of the same. Counted is what was held above the scaler's minimum in such hours. It
  claims nothing: the same seconds are starved, surplus or misplaced, and those rules claim them.
---*/
WITH hours AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    hour_ms,
    CAST(SUM(ms) AS BIGINT) AS held_ms,
    CAST(SUM(CASE WHEN class = 'starved' THEN ms ELSE 0 END) AS BIGINT) AS starved_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms
),
causes AS (
  SELECT
    h.*,
    w.min_replicas * w.gpu_milli_per_replica * 3600 AS minimum_ms,
    h.starved_ms > 0 AND h.starved_ms * 100 >= h.held_ms * $min_starved_percent AS by_cpu,
    COALESCE(d.preemptions, 0) >= $min_preemptions AS by_memory
  FROM hours AS h
  INNER JOIN workload_facts AS w
    ON h.cluster = w.cluster
    AND h.namespace = w.namespace
    AND h.workload_kind = w.workload_kind
    AND h.workload_name = w.workload_name
  LEFT JOIN workload_hours AS d
    ON h.cluster = d.cluster
    AND h.namespace = d.namespace
    AND h.workload_kind = d.workload_kind
    AND h.workload_name = d.workload_name
    AND h.hour_ms = d.hour_ms
),
added AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(held_ms) AS BIGINT) AS total_ms,
    CAST(SUM(unknown_ms) AS BIGINT) AS unknown_ms,
    CAST(SUM(CASE WHEN by_cpu AND held_ms - unknown_ms > minimum_ms
      THEN held_ms - unknown_ms - minimum_ms ELSE 0 END) AS BIGINT) AS by_cpu_ms,
    CAST(SUM(CASE WHEN NOT by_cpu AND by_memory AND held_ms - unknown_ms > minimum_ms
      THEN held_ms - unknown_ms - minimum_ms ELSE 0 END) AS BIGINT) AS by_memory_ms
  FROM causes
  GROUP BY cluster, namespace, workload_kind, workload_name
),
judged AS (
  SELECT
    w.*,
    COALESCE(a.total_ms, 0) AS total_ms,
    COALESCE(a.unknown_ms, 0) AS unknown_ms,
    COALESCE(a.by_cpu_ms, 0) AS by_cpu_ms,
    COALESCE(a.by_memory_ms, 0) AS by_memory_ms,
    COALESCE(a.by_cpu_ms, 0) + COALESCE(a.by_memory_ms, 0) AS added_ms,
    CAST(CAST(COALESCE(a.by_cpu_ms, 0) + COALESCE(a.by_memory_ms, 0) + 180000 - (COALESCE(a.by_cpu_ms, 0) + COALESCE(a.by_memory_ms, 0) + 180000) % 360000 AS DOUBLE) / 360000.0 AS BIGINT) AS tenths,
    CASE
      WHEN w.workload_class IN ('batch', 'training', 'notebook', 'system') THEN 'skip'
      WHEN COALESCE(a.total_ms, 0) = 0 OR w.autoscaler IS NULL OR w.min_replicas IS NULL THEN 'skip'
      WHEN (a.total_ms - a.unknown_ms) * 100 < a.total_ms * $min_coverage_percent
        THEN 'undetermined'
      WHEN a.by_cpu_ms + a.by_memory_ms > 0
        AND a.by_cpu_ms + a.by_memory_ms >= $min_added_gpu_hours * 3600000 THEN 'alarm'
      ELSE 'ok'
    END AS status
  FROM workload_facts AS w
  LEFT JOIN added AS a
    ON w.cluster = a.cluster
    AND w.namespace = a.namespace
    AND w.workload_kind = a.workload_kind
    AND w.workload_name = a.workload_name
),
texts AS (
  SELECT
    j.*,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS added_hours,
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
  'medium' AS confidence,
  model,
  gpu_product,
  team,
  headline,
  'its scaler held ' || added_hours || ' GPU-hours above its minimum while more replicas could not help' AS because,
  CASE
    WHEN status = 'skip' AND total_ms = 0 THEN 'It held no GPU in the closed hours of the window.'
    WHEN status = 'skip' AND autoscaler IS NULL THEN 'Nothing scales it.'
    WHEN status = 'skip' AND min_replicas IS NULL THEN 'The minimum of its scaler is unknown.'
    WHEN status = 'skip' THEN 'It is no serving workload (' || workload_class || ').'
    WHEN status = 'undetermined' THEN 'Too much of its time is unknown for what was seen to speak for the window.'
    WHEN status = 'alarm' AND by_cpu_ms >= by_memory_ms THEN 'The CPU held its GPUs back, the queue grew, and the '
      || 'scaler answered with replicas: ' || added_hours || ' GPU-hours above its minimum in such hours. '
      || 'Nothing is claimed here: what is starved is claimed where the CPU is judged.'
    WHEN status = 'alarm' THEN 'Its KV cache was full and requests were preempted, and the scaler answered '
      || 'with replicas: ' || added_hours || ' GPU-hours above its minimum in such hours. Nothing is claimed here.'
    ELSE 'What its scaler added in hours in which it was starved or preempted is below the threshold: '
      || added_hours || ' GPU-hours.'
  END AS reason,
  existed_ms,
  alive_at_end AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  CASE WHEN by_cpu_ms >= by_memory_ms THEN 'Feed the GPUs first (see the CPU finding); the scaler then comes down by itself.'
    ELSE 'Give the KV cache room first; the scaler then comes down by itself.' END AS remedy,
  CAST(NULL AS VARCHAR) AS remedy_action,
  CAST(NULL AS VARCHAR) AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed,
  'low' AS remedy_risk,
  'none by itself' AS remedy_disruption,
  added_ms AS cost_gpu_ms,
  price_key AS cost_price_key,
  CASE WHEN added_ms = 0 THEN 'none' WHEN by_cpu_ms >= by_memory_ms THEN 'cpu' ELSE 'kv-cache' END AS ev_cause,
  total_ms AS ev_held_gpu_ms,
  by_cpu_ms AS ev_added_while_starved_gpu_ms,
  by_memory_ms AS ev_added_while_preempting_gpu_ms,
  unknown_ms AS ev_unknown_gpu_ms
FROM texts
ORDER BY cluster, namespace, workload_kind, workload_name
