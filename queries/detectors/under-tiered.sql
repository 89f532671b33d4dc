/*---
id: under-tiered
version: 1.1.0
title: A workload whose GPUs are too small for what it is asked
status: stable
severity: medium
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts, workload_hours, restart_hours, placements]
claims: []
order: 63
window: {default: 14d, min: 3d}
params:
  min_hours: {type: int, unit: hours, default: 6, why: "one bad afternoon is an incident, not a tier: a few hours of a window must show it"}
  min_hours_percent: {type: int, unit: percent, default: 5, why: "or a twentieth of the hours with requests, whichever is more"}
  full_kv_ppm: {type: int, unit: ppm, default: 950000, why: "engines admit nobody into a cache that is 95 % full, and then preempt"}
  min_preemptions: {type: int, unit: preemptions, default: 3, why: "one preempted request in an hour is noise"}
  min_oom_restarts: {type: int, unit: restarts, default: 3, why: "once is a deployment that was wrong for an hour: a memory limit that is too small kills again"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "what was seen must speak for the window"}
false_positives:
  - a batch client that fills any cache it is given
  - a context limit far above what anybody sends
  - a leak, which any memory only delays
remediation:
  action: raise-tier
  text: give it a larger GPU, one more GPU a replica or one more replica; this costs money and buys quality
references: []
rationale: >-
  A full key-value cache with a queue, or preempted requests, mean recomputed prompts and waiting
  users; a container that is killed for want of memory means requests that break off and weights that
  are loaded again. It is a cost of quality and never a saving: nothing is claimed and no dollars are
  shown. Restarts are kube-state-metrics' (a restart, and beside it the reason OOMKilled); an engine that
  ends by itself when the GPU's memory is full says Error there, and is not counted.
---*/
WITH sums AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(ms) AS BIGINT) AS total_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name
),
pressed AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(CASE WHEN requests > 0 THEN 1 ELSE 0 END) AS BIGINT) AS busy_hours,
    CAST(SUM(CASE WHEN preemptions >= $min_preemptions THEN 1 ELSE 0 END) AS BIGINT)
      AS preempting_hours,
    CAST(SUM(CASE WHEN COALESCE(kv_usage_ppm_max, 0) >= $full_kv_ppm AND queued_ms > 0
      THEN 1 ELSE 0 END) AS BIGINT) AS full_hours,
    CAST(SUM(CASE WHEN preemptions >= $min_preemptions
        OR (COALESCE(kv_usage_ppm_max, 0) >= $full_kv_ppm AND queued_ms > 0)
      THEN 1 ELSE 0 END) AS BIGINT) AS pressed_hours,
    CAST(SUM(preemptions) AS BIGINT) AS preemptions,
    CAST(SUM(requests) AS BIGINT) AS requests,
    CAST(MAX(kv_usage_ppm_max) AS BIGINT) AS kv_usage_ppm_max,
    CAST(MAX(queue_max) AS BIGINT) AS queue_max
  FROM workload_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
  GROUP BY cluster, namespace, workload_kind, workload_name
),
killed AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(oom_restarts) AS BIGINT) AS oom_restarts,
    CAST(COUNT(DISTINCT hour_ms) AS BIGINT) AS oom_hours
  FROM restart_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
  GROUP BY cluster, namespace, workload_kind, workload_name
),
same_tier AS (
  SELECT
    p.*,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY candidate
    ) AS pick
  FROM placements AS p
  WHERE candidate_kind = 'same-tier'
),
joined AS (
  SELECT
    w.*,
    COALESCE(s.total_ms, 0) AS total_ms,
    COALESCE(s.unknown_ms, 0) AS unknown_ms,
    COALESCE(h.busy_hours, 0) AS busy_hours,
    COALESCE(h.preempting_hours, 0) AS preempting_hours,
    COALESCE(h.full_hours, 0) AS full_hours,
    COALESCE(h.pressed_hours, 0) AS pressed_hours,
    COALESCE(h.preemptions, 0) AS preemptions,
    COALESCE(h.requests, 0) AS requests,
    h.kv_usage_ppm_max,
    h.queue_max,
    COALESCE(k.oom_restarts, 0) AS oom_restarts,
    COALESCE(k.oom_hours, 0) AS oom_hours,
    t.verdict AS today_verdict,
    t.why AS today_why
  FROM workload_facts AS w
  LEFT JOIN sums AS s
    ON w.cluster = s.cluster
    AND w.namespace = s.namespace
    AND w.workload_kind = s.workload_kind
    AND w.workload_name = s.workload_name
  LEFT JOIN pressed AS h
    ON w.cluster = h.cluster
    AND w.namespace = h.namespace
    AND w.workload_kind = h.workload_kind
    AND w.workload_name = h.workload_name
  LEFT JOIN killed AS k
    ON w.cluster = k.cluster
    AND w.namespace = k.namespace
    AND w.workload_kind = k.workload_kind
    AND w.workload_name = k.workload_name
  LEFT JOIN same_tier AS t
    ON w.cluster = t.cluster
    AND w.namespace = t.namespace
    AND w.workload_kind = t.workload_kind
    AND w.workload_name = t.workload_name
    AND t.pick = 1
),
-- The first reason that holds decides, so that status and sentence cannot disagree.
judged AS (
  SELECT
    j.*,
    CASE
      WHEN workload_class IN ('batch', 'training', 'notebook', 'system') THEN 'other-class'
      WHEN total_ms = 0 THEN 'no-gpu'
      WHEN alive_at_end = 0 THEN 'gone'
      WHEN pressed_hours >= $min_hours
        AND pressed_hours * 100 >= busy_hours * $min_hours_percent THEN 'pressed'
      -- In more than one hour: a crash loop of one bad afternoon is an incident.
      WHEN oom_restarts >= $min_oom_restarts AND oom_hours > 1 THEN 'killed'
      WHEN (total_ms - unknown_ms) * 100 < total_ms * $min_coverage_percent THEN 'unseen'
      WHEN busy_hours = 0 THEN 'unused'
      WHEN today_verdict = 'infeasible' THEN 'too-slow'
      ELSE 'enough'
    END AS verdict_code
  FROM joined AS j
)
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  CAST($window_start_ms AS BIGINT) AS window_start_ms,
  CAST($window_end_ms AS BIGINT) AS window_end_ms,
  CASE
    WHEN verdict_code IN ('other-class', 'no-gpu', 'gone') THEN 'skip'
    WHEN verdict_code IN ('pressed', 'killed') THEN 'alarm'
    WHEN verdict_code IN ('unused', 'enough') THEN 'ok'
    ELSE 'undetermined'
  END AS status,
  CASE WHEN total_ms > 0
    THEN CAST(total_ms - unknown_ms AS DOUBLE) / CAST(total_ms AS DOUBLE) END AS coverage,
  CASE WHEN preempting_hours > 0 AND full_hours > 0 THEN 'high' ELSE 'medium' END AS confidence,
  model,
  gpu_product,
  team,
  workload_name || COALESCE(' (' || COALESCE(model, model_raw) || ')', '')
    || COALESCE(' on ' || gpu_product, '') AS headline,
  CASE WHEN verdict_code = 'killed' THEN 'its containers were killed for want of memory '
    || CAST(oom_restarts AS VARCHAR) || ' times' ELSE
  'its key-value cache was too small in ' || CAST(pressed_hours AS VARCHAR) || ' of '
    || CAST(busy_hours AS VARCHAR) || ' hours with requests' END AS because,
  CASE verdict_code
    WHEN 'other-class' THEN
      'It is no serving workload (' || workload_class || '): nobody waits for its tokens.'
    WHEN 'no-gpu' THEN 'It held no GPU in the closed hours of the window.'
    WHEN 'gone' THEN 'It is gone at the end of the window.'
    WHEN 'pressed' THEN 'In ' || CAST(full_hours AS VARCHAR)
      || ' hours its cache was full while requests waited, in '
      || CAST(preempting_hours AS VARCHAR) || ' hours it threw out running requests ('
      || CAST(preemptions AS VARCHAR) || ' of ' || CAST(requests AS VARCHAR)
      || '), whose prompts are computed again'
      || CASE WHEN oom_restarts > 0 THEN '; its containers were killed for want of memory '
        || CAST(oom_restarts AS VARCHAR) || ' times.' ELSE '.' END
    WHEN 'killed' THEN 'Its containers were killed for want of memory ' || CAST(oom_restarts AS VARCHAR)
      || ' times, in ' || CAST(oom_hours AS VARCHAR) || ' different hours: what they were working on broke off, '
      || 'and the weights were loaded again.'
    WHEN 'unseen' THEN 'Too much of its time is unknown for what was seen to speak for the window.'
    WHEN 'unused' THEN 'It was asked for nothing.'
    WHEN 'too-slow' THEN 'It is estimated to miss its limits on its GPU of today: '
      || COALESCE(today_why, 'no reason is known') || '.'
    ELSE 'Its cache was full with a queue in ' || CAST(full_hours AS VARCHAR)
      || ' hours and it preempted in ' || CAST(preempting_hours AS VARCHAR) || '.'
  END AS reason,
  existed_ms,
  alive_at_end AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  CASE WHEN verdict_code = 'pressed'
    THEN 'Give it more memory for keys and values: a larger GPU, one more GPU a replica, or one more replica.'
    WHEN verdict_code = 'killed'
    THEN 'Raise the memory limit of the container that is killed, or place it on a node with more memory for each GPU.'
    ELSE 'None.' END AS remedy,
  CAST(NULL AS VARCHAR) AS remedy_action,
  gpu_product AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed,
  'low' AS remedy_risk,
  'it costs more; a new replica waits for its start' AS remedy_disruption,
  total_ms AS ev_held_gpu_ms,
  unknown_ms AS ev_unknown_gpu_ms,
  busy_hours AS ev_busy_hours,
  pressed_hours AS ev_pressed_hours,
  full_hours AS ev_full_cache_hours,
  preempting_hours AS ev_preempting_hours,
  preemptions AS ev_preemptions,
  kv_usage_ppm_max AS ev_kv_usage_ppm_max,
  queue_max AS ev_queue_max,
  -- No row may also mean that nobody counted.
  CASE WHEN oom_restarts > 0 THEN CAST(oom_restarts AS VARCHAR) ELSE 'none seen' END AS ev_restarts_for_want_of_memory
FROM judged
ORDER BY cluster, namespace, workload_kind, workload_name
