/*---
id: tier-misplacement
version: 1.0.0
title: Demand that a cheaper GPU would serve inside the SLO
status: stable
severity: high
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts, workload_hours, demand, placements, candidates]
claims: [serving, lull]
order: 50
window: {default: 14d, min: 3d}
params:
  min_used_gpu_hours: {type: int, unit: GPU-hours, default: 24, why: "a move to another GPU is work: a day of one GPU in a fortnight does not pay for it"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "what was seen must speak for the window"}
  min_days_seen: {type: int, unit: days, default: 3, why: "two days do not show a week's rhythm"}
  max_starved_percent: {type: int, unit: percent, default: 5, why: "demand that the CPU held back was not seen, so it cannot be sized on"}
false_positives:
  - a limit tighter than the declared or assumed SLO, which nobody wrote down
  - a kernel or a quantisation that the cheaper GPU does not have
remediation:
  action: move-tier
  text: run it on the cheaper product beside today's, compare, then move the traffic
references: []
rationale: >-
  The candidate passes the SLO at the pessimistic end of the estimator's band, at the second-highest
  daily peak. What surplus replicas left is freed; the whole remaining demand is added at the candidate.
---*/
WITH sums AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(ms) AS BIGINT) AS total_ms,
    CAST(SUM(CASE WHEN class IN ('serving', 'lull') THEN ms ELSE 0 END) AS BIGINT) AS used_ms,
    CAST(SUM(CASE WHEN class = 'starved' THEN ms ELSE 0 END) AS BIGINT) AS starved_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> ''
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
    COALESCE(s.used_ms, 0) AS used_ms,
    COALESCE(s.starved_ms, 0) AS starved_ms,
    COALESCE(s.unknown_ms, 0) AS unknown_ms,
    COALESCE(d.days_seen, 0) AS days_seen,
    COALESCE(d.peak_lower_bound, TRUE) AS peak_lower_bound,
    d.peak_requests_5m,
    d.peak_prompt_net_tokens_5m,
    d.peak_output_tokens_5m,
    t.verdict AS today_verdict,
    t.why AS today_why,
    t.replicas_at_peak AS today_replicas_at_peak,
    t.ttft_ms AS today_ttft_ms,
    t.itl_ms AS today_itl_ms,
    c.candidate,
    c.why AS candidate_why,
    c.gpu_product AS candidate_product,
    c.gpu_milli_per_replica AS candidate_gpu_milli,
    c.replicas_at_peak AS candidate_replicas_at_peak,
    c.ttft_ms AS candidate_ttft_ms,
    c.itl_ms AS candidate_itl_ms,
    c.slo_ttft_p95_ms AS judged_ttft_p95_ms,
    c.slo_itl_p95_ms AS judged_itl_p95_ms,
    c.slo_source AS judged_slo_source,
    c.band_percent AS candidate_band_percent,
    c.confidence AS candidate_confidence
  FROM workload_facts AS w
  LEFT JOIN sums AS s
    ON w.cluster = s.cluster
    AND w.namespace = s.namespace
    AND w.workload_kind = s.workload_kind
    AND w.workload_name = s.workload_name
  LEFT JOIN demand AS d
    ON w.cluster = d.cluster
    AND w.namespace = d.namespace
    AND w.workload_kind = d.workload_kind
    AND w.workload_name = d.workload_name
  LEFT JOIN same_tier AS t
    ON w.cluster = t.cluster
    AND w.namespace = t.namespace
    AND w.workload_kind = t.workload_kind
    AND w.workload_name = t.workload_name
    AND t.pick = 1
  LEFT JOIN candidates AS c
    ON w.cluster = c.cluster
    AND w.namespace = c.namespace
    AND w.workload_kind = c.workload_kind
    AND w.workload_name = c.workload_name
    AND c.rank = 1
),
-- The first reason that holds decides, so that status and sentence cannot disagree.
judged AS (
  SELECT
    j.*,
    CASE
      WHEN workload_class IN ('batch', 'training', 'notebook', 'system') THEN 'other-class'
      WHEN total_ms = 0 THEN 'no-gpu'
      WHEN alive_at_end = 0 THEN 'gone'
      WHEN (total_ms - unknown_ms) * 100 < total_ms * $min_coverage_percent THEN 'unseen'
      WHEN used_ms < $min_used_gpu_hours * 3600000 THEN 'little-used'
      WHEN model IS NULL THEN 'no-model'
      WHEN role LIKE '%+%' THEN 'roles'
      WHEN days_seen < $min_days_seen THEN 'few-days'
      WHEN peak_lower_bound THEN 'lower-bound'
      WHEN starved_ms * 100 > total_ms * $max_starved_percent THEN 'starved'
      WHEN today_verdict IS NULL OR today_verdict NOT IN ('feasible', 'borderline')
        THEN 'today-unknown'
      WHEN candidate IS NOT NULL THEN 'cheaper'
      ELSE 'right'
    END AS verdict_code,
    CASE WHEN COALESCE(candidate_replicas_at_peak, 1) * COALESCE(candidate_gpu_milli, 1) % 1000 = 0
      THEN CAST(CAST(CAST(candidate_replicas_at_peak * candidate_gpu_milli AS DOUBLE) / 1000.0
        AS BIGINT) AS VARCHAR) || ' × '
      ELSE 'a slice of ' END || candidate_product AS candidate_text,
    CASE WHEN COALESCE(replicas, 0) * gpu_milli_per_replica > 0
        AND replicas * gpu_milli_per_replica % 1000 = 0
      THEN CAST(CAST(CAST(replicas * gpu_milli_per_replica AS DOUBLE) / 1000.0 AS BIGINT)
        AS VARCHAR) || ' × '
      ELSE '' END || gpu_product AS today_text
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
    WHEN verdict_code = 'cheaper' THEN 'alarm'
    WHEN verdict_code IN ('little-used', 'right') THEN 'ok'
    ELSE 'undetermined'
  END AS status,
  CASE WHEN total_ms > 0
    THEN CAST(total_ms - unknown_ms AS DOUBLE) / CAST(total_ms AS DOUBLE) END AS coverage,
  COALESCE(candidate_confidence, 'low') AS confidence,
  model,
  gpu_product,
  team,
  workload_name || COALESCE(' (' || COALESCE(model, model_raw) || ')', '')
    || COALESCE(' on ' || today_text, '') AS headline,
  COALESCE('its peak demand fits ' || candidate_text, 'no cheaper GPU is known to serve it')
    AS because,
  CASE verdict_code
    WHEN 'other-class' THEN
      'It is no serving workload (' || workload_class || '): no SLO judges it.'
    WHEN 'no-gpu' THEN 'It held no GPU in the closed hours of the window.'
    WHEN 'gone' THEN 'It is gone at the end of the window: there is nothing to move.'
    WHEN 'unseen' THEN 'Too much of its time is unknown for what was seen to speak for the window.'
    WHEN 'little-used' THEN 'It was used too little for a move to pay.'
    WHEN 'no-model' THEN COALESCE('Its model `' || model_raw || '` is not resolved', 'Its model is not resolved')
      || ', so what another GPU would do with it is unknown.'
    WHEN 'roles' THEN 'Its replicas play different roles (' || role
      || '), and what all of them together were asked for sizes none of them.'
    WHEN 'few-days' THEN 'Its demand was seen on ' || CAST(days_seen AS VARCHAR)
      || ' days, fewer than the ' || CAST($min_days_seen AS VARCHAR) || ' that show its rhythm.'
    WHEN 'lower-bound' THEN
      'Its peak is only a lower bound: queues or preemptions hid how much was asked for.'
    WHEN 'starved' THEN
      'Its CPU limit held it back, so what it was asked for at its peak was not seen.'
    WHEN 'today-unknown' THEN COALESCE('The estimate does not hold for its GPU of today: '
      || today_why || '.', 'There is no estimate for its GPU of today to compare with.')
    WHEN 'cheaper' THEN 'On ' || candidate_product || ', ' || candidate_why || '.'
    ELSE 'No cheaper GPU serves its peak inside the limits.'
  END AS reason,
  existed_ms,
  alive_at_end AS alive,
  COALESCE(candidate_band_percent, 0) AS band_percent,
  COALESCE('Move it to ' || candidate_text || '.', 'None.') AS remedy,
  'tier' AS remedy_action,
  gpu_product AS remedy_current,
  candidate_product AS remedy_proposed,
  candidate_gpu_milli AS remedy_gpu_milli,
  candidate_replicas_at_peak AS remedy_replicas,
  'medium' AS remedy_risk,
  'both tiers run side by side while traffic moves; latency rises to what is predicted'
    AS remedy_disruption,
  total_ms AS ev_held_gpu_ms,
  used_ms AS ev_serving_and_lull_gpu_ms,
  starved_ms AS ev_starved_gpu_ms,
  unknown_ms AS ev_unknown_gpu_ms,
  peak_requests_5m AS ev_peak_requests_5m,
  peak_prompt_net_tokens_5m AS ev_peak_prompt_net_tokens_5m,
  peak_output_tokens_5m AS ev_peak_output_tokens_5m,
  today_replicas_at_peak AS ev_today_replicas_at_peak,
  today_ttft_ms AS ev_today_ttft_ms,
  today_itl_ms AS ev_today_itl_ms,
  candidate AS ev_candidate,
  candidate_replicas_at_peak AS ev_candidate_replicas_at_peak,
  candidate_ttft_ms AS ev_candidate_ttft_ms,
  candidate_itl_ms AS ev_candidate_itl_ms,
  judged_ttft_p95_ms AS ev_slo_ttft_p95_ms,
  judged_itl_p95_ms AS ev_slo_itl_p95_ms,
  judged_slo_source AS ev_slo_source
FROM judged
ORDER BY cluster, namespace, workload_kind, workload_name
