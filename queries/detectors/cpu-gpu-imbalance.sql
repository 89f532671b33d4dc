/*---
id: cpu-gpu-imbalance
version: 1.2.0
title: GPUs held back by a CPU limit while they have requests
status: stable
severity: high
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts, workload_hours, pods]
claims: [starved]
order: 25
window: {default: 14d, min: 3d}
params:
  min_starved_gpu_hours: {type: int, unit: GPU-hours, default: 12, why: "an hour of one GPU on most days of a fortnight: less is a burst"}
  max_cores: {type: int, unit: cores for one GPU, default: 32, why: "no engine of one GPU was seen to use more; a number beyond it is an extrapolation"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "what was seen must speak for the window"}
false_positives:
  - throttling by a noisy neighbour on an overcommitted node, which no limit of this pod ends
remediation:
  action: raise-cpu-limit
  text: raise or remove the CPU limit of the container that feeds the GPU
references:
  - https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
rationale: >-
  Requests wait, the container is throttled, the GPU idles. Once the limit is lifted the same GPU does
  the waiting work in its own time, so starved time is claimed: it is what the limit wastes. Only hours
  in which a queue was seen count: without one the work was merely slower, and it was work. The CPU
  that would do is the limit times all periods over those that were not throttled. The time is the
  GPU's and not the bill's: a GPU goes only where the hour held more replicas than the floor keeps, so
  starved time of a replica that must stay is time won, and nothing of it is realisable.
---*/
WITH limits AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    MAX(cpu_limit_milli) AS limit_milli,
    MAX(gpu_milli) AS pod_gpu_milli
  FROM pods
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms AND gpu_milli > 0
  GROUP BY cluster, namespace, workload_kind, workload_name
),
queues AS (
  SELECT cluster, namespace, workload_kind, workload_name, hour_ms, MAX(queued_ms) AS queued_ms
  FROM workload_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms
),
-- What of an hour's starved time lies above the replicas that stay.
hourly AS (
  SELECT
    l.cluster,
    l.namespace,
    l.workload_kind,
    l.workload_name,
    l.hour_ms,
    CAST(SUM(l.ms) AS BIGINT) AS held_ms,
    CAST(SUM(CASE WHEN l.class = 'starved' AND q.queued_ms > 0 THEN l.ms ELSE 0 END) AS BIGINT) AS starved_ms
  FROM ledger AS l
  INNER JOIN queues AS q
    ON l.cluster = q.cluster
    AND l.namespace = q.namespace
    AND l.workload_kind = q.workload_kind
    AND l.workload_name = q.workload_name
    AND l.hour_ms = q.hour_ms
  WHERE l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class <> 'absent' AND l.workload_name <> '' AND q.queued_ms > 0
  GROUP BY l.cluster, l.namespace, l.workload_kind, l.workload_name, l.hour_ms
),
spare AS (
  SELECT
    h.cluster,
    h.namespace,
    h.workload_kind,
    h.workload_name,
    CAST(SUM(LEAST(h.starved_ms, GREATEST(0, h.held_ms
      - GREATEST(COALESCE(w.floor_replicas, 1), 1) * w.gpu_milli_per_replica * 3600))) AS BIGINT) AS spare_ms
  FROM hourly AS h
  INNER JOIN workload_facts AS w
    ON h.cluster = w.cluster
    AND h.namespace = w.namespace
    AND h.workload_kind = w.workload_kind
    AND h.workload_name = w.workload_name
  WHERE h.starved_ms > 0
  GROUP BY h.cluster, h.namespace, h.workload_kind, h.workload_name
),
sums AS (
  SELECT
    l.cluster,
    l.namespace,
    l.workload_kind,
    l.workload_name,
    CAST(SUM(l.ms) AS BIGINT) AS total_ms,
    CAST(SUM(CASE WHEN l.class = 'starved' AND q.queued_ms > 0 THEN l.ms ELSE 0 END) AS BIGINT) AS starved_ms,
    CAST(SUM(CASE WHEN l.class = 'starved' AND COALESCE(q.queued_ms, 0) = 0 THEN l.ms ELSE 0 END) AS BIGINT)
      AS slow_ms,
    CAST(SUM(CASE WHEN l.class = 'unknown' THEN l.ms ELSE 0 END) AS BIGINT) AS unknown_ms
  FROM ledger AS l
  LEFT JOIN queues AS q
    ON l.cluster = q.cluster
    AND l.namespace = q.namespace
    AND l.workload_kind = q.workload_kind
    AND l.workload_name = q.workload_name
    AND l.hour_ms = q.hour_ms
  WHERE l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class <> 'absent' AND l.workload_name <> ''
  GROUP BY l.cluster, l.namespace, l.workload_kind, l.workload_name
),
cpu AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(cfs_periods) AS BIGINT) AS cfs_periods,
    CAST(SUM(cfs_throttled_periods) AS BIGINT) AS cfs_throttled_periods,
    -- What the limit cut in the hours that matter: quiet ones would dilute it.
    CAST(SUM(CASE WHEN queued_ms > 0 THEN cfs_periods ELSE 0 END) AS BIGINT) AS queued_periods,
    CAST(SUM(CASE WHEN queued_ms > 0 THEN cfs_throttled_periods ELSE 0 END) AS BIGINT) AS queued_throttled,
    CAST(SUM(cpu_ms) AS BIGINT) AS cpu_ms,
    CAST(SUM(queued_ms) AS BIGINT) AS queued_ms,
    CAST(MAX(queue_max) AS BIGINT) AS queue_max
  FROM workload_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
  GROUP BY cluster, namespace, workload_kind, workload_name
),
judged AS (
  SELECT
    w.*,
    COALESCE(s.total_ms, 0) AS total_ms,
    COALESCE(s.starved_ms, 0) AS starved_ms,
    COALESCE(s.slow_ms, 0) AS slow_ms,
    COALESCE(s.unknown_ms, 0) AS unknown_ms,
    COALESCE(e.spare_ms, 0) AS spare_ms,
    m.limit_milli,
    m.pod_gpu_milli,
    COALESCE(c.cfs_periods, 0) AS cfs_periods,
    COALESCE(c.cfs_throttled_periods, 0) AS cfs_throttled_periods,
    c.queued_periods,
    c.queued_throttled,
    COALESCE(c.cpu_ms, 0) AS cpu_ms,
    COALESCE(c.queued_ms, 0) AS queued_ms,
    c.queue_max,
    CAST(CAST(COALESCE(s.starved_ms, 0) + 180000 - (COALESCE(s.starved_ms, 0) + 180000) % 360000
      AS DOUBLE) / 360000.0 AS BIGINT) AS tenths,
    CASE
      WHEN w.workload_class IN ('batch', 'training', 'notebook', 'system') THEN 'skip'
      WHEN COALESCE(s.total_ms, 0) = 0 THEN 'skip'
      WHEN (s.total_ms - s.unknown_ms) * 100 < s.total_ms * $min_coverage_percent
        THEN 'undetermined'
      WHEN s.starved_ms > 0 AND s.starved_ms >= $min_starved_gpu_hours * 3600000 THEN 'alarm'
      -- Without CPU series nothing can be starved, and nothing can be said.
      WHEN COALESCE(c.cfs_periods, 0) = 0 AND COALESCE(c.cpu_ms, 0) = 0 THEN 'undetermined'
      ELSE 'ok'
    END AS status
  FROM workload_facts AS w
  LEFT JOIN sums AS s
    ON w.cluster = s.cluster
    AND w.namespace = s.namespace
    AND w.workload_kind = s.workload_kind
    AND w.workload_name = s.workload_name
  LEFT JOIN cpu AS c
    ON w.cluster = c.cluster
    AND w.namespace = c.namespace
    AND w.workload_kind = c.workload_kind
    AND w.workload_name = c.workload_name
  LEFT JOIN spare AS e
    ON w.cluster = e.cluster
    AND w.namespace = e.namespace
    AND w.workload_kind = e.workload_kind
    AND w.workload_name = e.workload_name
  LEFT JOIN limits AS m
    ON w.cluster = m.cluster
    AND w.namespace = m.namespace
    AND w.workload_kind = m.workload_kind
    AND w.workload_name = m.workload_name
),
texts AS (
  SELECT
    j.*,
    -- Whole cores, rounded up, within what was ever seen for so many GPUs.
    CASE WHEN limit_milli > 0 AND queued_throttled > 0 AND queued_periods > queued_throttled
      THEN LEAST(
        CAST(ceil(CAST(CAST(limit_milli AS DOUBLE) * CAST(queued_periods AS DOUBLE) AS DOUBLE)
          / CAST(CAST(queued_periods - queued_throttled AS DOUBLE) * 1000.0 AS DOUBLE)) AS BIGINT),
        CAST(ceil(CAST($max_cores * GREATEST(pod_gpu_milli, 1000) AS DOUBLE) / 1000.0) AS BIGINT))
    END AS needed_cores,
    (total_ms - unknown_ms) * 100 >= total_ms * $min_coverage_percent AS covered,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS starved_hours,
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
  status,
  CASE WHEN total_ms > 0
    THEN CAST(total_ms - unknown_ms AS DOUBLE) / CAST(total_ms AS DOUBLE) END AS coverage,
  'medium' AS confidence,
  model,
  gpu_product,
  team,
  headline,
  'its CPU limit held the GPU back for ' || starved_hours || ' GPU-hours while requests waited'
    AS because,
  CASE
    WHEN status = 'skip' AND total_ms = 0 THEN 'It held no GPU in the closed hours of the window.'
    WHEN status = 'skip' THEN
      'It is no serving workload (' || workload_class || '): this rule is not made for it.'
    WHEN status = 'undetermined' AND covered THEN
      'No CPU usage or throttling was seen for it, so a starved GPU could not show.'
    WHEN status = 'undetermined' THEN
      'Too much of its time is unknown for what was seen to speak for the window.'
    WHEN status = 'alarm' THEN 'Requests waited, and the CPU was throttled while the GPU idled, for '
      || starved_hours || ' GPU-hours: the same GPU can do that work sooner once it is fed.'
      || CASE WHEN spare_ms > 0 THEN '' WHEN COALESCE(floor_replicas, 1) > 1
        THEN ' It never held more than the ' || CAST(floor_replicas AS VARCHAR)
          || ' replicas that stay, so no GPU goes: what is won is time.'
        ELSE ' It never held more than one replica, so no GPU goes: what is won is time.' END
    ELSE 'Its starved time is below the threshold: ' || starved_hours || ' GPU-hours.'
  END AS reason,
  existed_ms,
  alive_at_end AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  'Raise or remove the CPU limit of the container that feeds the GPU'
    || COALESCE(' from ' || CAST(CAST(round(CAST(limit_milli AS DOUBLE) / 1000.0) AS BIGINT) AS VARCHAR)
      || ' to about ' || CAST(needed_cores AS VARCHAR) || ' cores.', '.') AS remedy,
  'cpu' AS remedy_action,
  CASE WHEN needed_cores IS NOT NULL THEN CAST(limit_milli AS VARCHAR) || 'm' END AS remedy_current,
  CAST(needed_cores AS VARCHAR) AS remedy_proposed,
  'low' AS remedy_risk,
  'one rolling restart' AS remedy_disruption,
  total_ms AS ev_held_gpu_ms,
  starved_ms AS ev_starved_gpu_ms,
  spare_ms AS ev_starved_above_the_floor_gpu_ms,
  slow_ms AS ev_throttled_without_a_queue_gpu_ms,
  limit_milli AS ev_cpu_limit_milli,
  needed_cores AS ev_cores_that_would_do,
  unknown_ms AS ev_unknown_gpu_ms,
  cfs_periods AS ev_cfs_periods,
  cfs_throttled_periods AS ev_cfs_throttled_periods,
  cpu_ms AS ev_cpu_ms,
  queued_ms AS ev_queued_ms,
  queue_max AS ev_queue_max_requests
FROM texts
ORDER BY cluster, namespace, workload_kind, workload_name
