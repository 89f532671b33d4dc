/*---
id: cost-regression
version: 1.0.0
title: More GPU time than a week ago, and no more work
status: stable
severity: medium
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts, workload_hours]
order: 70
window: {default: 14d, min: 14d}
params:
  min_growth_percent: {type: int, unit: percent, default: 30, why: "below a third a week's rhythm and a rollout explain it"}
  min_growth_gpu_hours: {type: int, unit: GPU-hours, default: 24, why: "a day of one GPU in a week: less is not worth a question"}
  work_follows_percent: {type: int, unit: percent of the GPUs' growth, default: 50, why: "work that grew by half as much as the GPUs did is a reason for them: batches do not grow evenly"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "both weeks must have been seen"}
false_positives:
  - a launch that is being prepared
  - a week with a holiday before it
remediation:
  action: ask
  text: ask who changed it; the scaling events of the week stand beside it
references: []
rationale: >-
  The last seven days of the window against the seven before. A week that was not seen is not compared.
  It claims nothing: what is too much of it is surplus, dark or misplaced, and those rules claim it.
---*/
WITH weeks AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(ms) AS BIGINT) AS total_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms,
    CAST(SUM(CASE WHEN hour_ms >= $window_end_ms - 604800000 THEN ms ELSE 0 END) AS BIGINT) AS last_ms_held,
    CAST(SUM(CASE WHEN hour_ms < $window_end_ms - 604800000 THEN ms ELSE 0 END) AS BIGINT) AS before_ms_held,
    CAST(SUM(CASE WHEN hour_ms >= $window_end_ms - 604800000 AND class = 'unknown' THEN ms ELSE 0 END) AS BIGINT)
      AS last_unknown_ms,
    CAST(SUM(CASE WHEN hour_ms < $window_end_ms - 604800000 AND class = 'unknown' THEN ms ELSE 0 END) AS BIGINT)
      AS before_unknown_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms >= $window_end_ms - 1209600000
    AND hour_ms < $window_end_ms AND final AND class <> 'absent' AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name
),
work AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(CASE WHEN hour_ms >= $window_end_ms - 604800000 THEN prompt_tokens + output_tokens + requests ELSE 0 END) AS BIGINT) AS last_work,
    CAST(SUM(CASE WHEN hour_ms < $window_end_ms - 604800000 THEN prompt_tokens + output_tokens + requests ELSE 0 END) AS BIGINT) AS before_work
  FROM workload_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms >= $window_end_ms - 1209600000
    AND hour_ms < $window_end_ms
  GROUP BY cluster, namespace, workload_kind, workload_name
),
joined AS (
  SELECT
    w.*,
    COALESCE(k.total_ms, 0) AS total_ms,
    COALESCE(k.unknown_ms, 0) AS unknown_ms,
    COALESCE(k.last_ms_held, 0) AS last_ms_held,
    COALESCE(k.before_ms_held, 0) AS before_ms_held,
    COALESCE(k.last_unknown_ms, 0) AS last_unknown_ms,
    COALESCE(k.before_unknown_ms, 0) AS before_unknown_ms,
    d.last_work,
    d.before_work,
    GREATEST(0, COALESCE(k.last_ms_held, 0) - COALESCE(k.before_ms_held, 0)) AS grown_ms
  FROM workload_facts AS w
  LEFT JOIN weeks AS k
    ON w.cluster = k.cluster
    AND w.namespace = k.namespace
    AND w.workload_kind = k.workload_kind
    AND w.workload_name = k.workload_name
  LEFT JOIN work AS d
    ON w.cluster = d.cluster
    AND w.namespace = d.namespace
    AND w.workload_kind = d.workload_kind
    AND w.workload_name = d.workload_name
),
judged AS (
  SELECT
    j.*,
    CAST(CAST(grown_ms + 180000 - (grown_ms + 180000) % 360000 AS DOUBLE) / 360000.0 AS BIGINT) AS tenths,
    CASE
      WHEN total_ms = 0 THEN 'no-gpu'
      WHEN $window_end_ms - $window_start_ms < 1209600000 THEN 'short-window'
      WHEN first_ms > $window_end_ms - 1209600000 THEN 'new'
      WHEN (before_ms_held - before_unknown_ms) * 100 < before_ms_held * $min_coverage_percent
        OR (last_ms_held - last_unknown_ms) * 100 < last_ms_held * $min_coverage_percent THEN 'unseen'
      WHEN grown_ms < $min_growth_gpu_hours * 3600000
        OR last_ms_held * 100 < before_ms_held * (100 + $min_growth_percent) THEN 'steady'
      -- More work for more GPUs is growth; where work is not counted nobody can say.
      WHEN COALESCE(before_work, 0) = 0 OR last_work IS NULL THEN 'no-counters'
      WHEN CAST(last_work - before_work AS DOUBLE) * CAST(before_ms_held AS DOUBLE) * 100.0
        >= CAST(before_work AS DOUBLE) * CAST(grown_ms AS DOUBLE) * CAST($work_follows_percent AS DOUBLE)
        THEN 'growth'
      ELSE 'regression'
    END AS verdict_code
  FROM joined AS j
),
texts AS (
  SELECT
    j.*,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS grown_hours,
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
  CASE
    WHEN verdict_code = 'no-gpu' THEN 'skip'
    WHEN verdict_code IN ('short-window', 'unseen', 'no-counters') THEN 'undetermined'
    WHEN verdict_code = 'regression' THEN 'alarm'
    ELSE 'ok'
  END AS status,
  CASE WHEN total_ms > 0
    THEN CAST(total_ms - unknown_ms AS DOUBLE) / CAST(total_ms AS DOUBLE) END AS coverage,
  'medium' AS confidence,
  model,
  gpu_product,
  team,
  headline,
  'it held ' || grown_hours || ' GPU-hours more than in the week before, and did not do as much more' AS because,
  CASE verdict_code
    WHEN 'no-gpu' THEN 'It held no GPU in the closed hours of the window.'
    WHEN 'short-window' THEN 'The window is shorter than two weeks.'
    WHEN 'new' THEN 'It did not exist in both weeks.'
    WHEN 'unseen' THEN 'Too much of one of the two weeks is unknown.'
    WHEN 'steady' THEN 'It held about as much as in the week before.'
    WHEN 'no-counters' THEN 'It held ' || grown_hours || ' GPU-hours more than in the week before; what it did is not counted.'
    WHEN 'growth' THEN 'It held ' || grown_hours || ' GPU-hours more than in the week before, and did more.'
    ELSE 'It held ' || grown_hours || ' GPU-hours more in the last seven days than in the seven before, and its '
      || 'requests and tokens did not grow with that. Nothing is claimed here.'
  END AS reason,
  existed_ms,
  alive_at_end AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  'Ask who changed it and why; see the scaling events of the week.' AS remedy,
  CAST(NULL AS VARCHAR) AS remedy_action,
  CAST(NULL AS VARCHAR) AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed,
  'low' AS remedy_risk,
  'none' AS remedy_disruption,
  grown_ms AS cost_gpu_ms,
  price_key AS cost_price_key,
  last_ms_held AS ev_last_week_gpu_ms,
  before_ms_held AS ev_week_before_gpu_ms,
  last_work AS ev_last_week_requests_and_tokens,
  before_work AS ev_week_before_requests_and_tokens,
  unknown_ms AS ev_unknown_gpu_ms
FROM texts
ORDER BY cluster, namespace, workload_kind, workload_name
