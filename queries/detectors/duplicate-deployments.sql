/*---
id: duplicate-deployments
version: 1.0.0
title: One model served by several workloads that one could serve
status: stable
severity: medium
grain: [cluster, model, gpu_product]
requires: [ledger, workload_facts, demand, placements]
order: 62
window: {default: 14d, min: 3d}
params:
  min_spare_gpu_hours: {type: int, unit: GPU-hours, default: 24, why: "a day of one GPU in a fortnight: less is not worth moving callers"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "what was seen must speak for the window"}
  min_days_seen: {type: int, unit: days, default: 3, why: "two days do not show a week's rhythm"}
false_positives:
  - teams that must not share an engine
  - adapters, quantisations or context lengths that differ where nothing says so
remediation:
  action: merge-deployments
  text: serve the model once and point both routes at it
references: []
rationale: >-
  Each of several small deployments rounds up to a replica of its own; together they would round up once.
  Peaks are added as if they came at the same time, so what is shown is the least. It claims nothing,
  because who may share an engine is a decision about people, and parts of the same seconds are surplus.
---*/
WITH sums AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(ms) AS BIGINT) AS total_ms,
    CAST(SUM(CASE WHEN class IN ('serving', 'lull', 'starved') THEN ms ELSE 0 END) AS BIGINT) AS used_ms,    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms
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
members AS (
  SELECT
    w.cluster,
    w.model,
    w.gpu_product,
    w.namespace || '/' || w.workload_name AS who,
    COALESCE(w.quantisation, '') AS quantisation,
    w.gpu_milli_per_replica,
    w.price_key,
    w.existed_ms,
    s.total_ms,
    s.unknown_ms,
    GREATEST(COALESCE(w.floor_replicas, 1), 1) AS floor_replicas,
    CASE WHEN t.verdict IN ('feasible', 'borderline') AND t.prefill_milli_tokens_per_second > 0
      AND t.decode_milli_tokens_per_second > 0 AND t.headroom_ppm > 0
      AND NOT COALESCE(d.peak_lower_bound, TRUE) AND d.days_seen >= $min_days_seen THEN 1 ELSE 0 END
      AS sized,
    -- Peak demand in millionths of one replica, headroom taken off.
    CASE WHEN t.prefill_milli_tokens_per_second > 0 AND t.decode_milli_tokens_per_second > 0
      AND t.headroom_ppm > 0
      THEN CAST(ceil(CAST(
        CAST(CAST(COALESCE(d.peak_prompt_net_tokens_5m, 0) AS DOUBLE) * 1000000000.0 AS DOUBLE)
          / CAST(CAST(t.prefill_milli_tokens_per_second AS DOUBLE) * 300.0 AS DOUBLE)
        + CAST(CAST(COALESCE(d.peak_output_tokens_5m, 0) AS DOUBLE) * 1000000000.0 AS DOUBLE)
          / CAST(CAST(t.decode_milli_tokens_per_second AS DOUBLE) * 300.0 AS DOUBLE)
        AS DOUBLE) / CAST(CAST(t.headroom_ppm AS DOUBLE) * 0.000001 AS DOUBLE)) AS BIGINT)
      ELSE 0 END AS load_ppm
  FROM workload_facts AS w
  INNER JOIN sums AS s
    ON w.cluster = s.cluster
    AND w.namespace = s.namespace
    AND w.workload_kind = s.workload_kind
    AND w.workload_name = s.workload_name
  LEFT JOIN same_tier AS t
    ON w.cluster = t.cluster
    AND w.namespace = t.namespace
    AND w.workload_kind = t.workload_kind
    AND w.workload_name = t.workload_name
    AND t.pick = 1
  LEFT JOIN demand AS d
    ON w.cluster = d.cluster
    AND w.namespace = d.namespace
    AND w.workload_kind = d.workload_kind
    AND w.workload_name = d.workload_name
  WHERE w.model IS NOT NULL AND w.gpu_product IS NOT NULL AND w.alive_at_end = 1
    AND w.workload_class NOT IN ('batch', 'training', 'notebook', 'system')
    AND s.used_ms > 0
    -- Prefill and decode are two halves of one deployment.
    AND (w.role IS NULL OR w.role = 'both')
),
needs AS (
  SELECT
    m.*,
    GREATEST(floor_replicas, CAST(CAST(load_ppm + 999999 - (load_ppm + 999999) % 1000000 AS DOUBLE) / 1000000.0 AS BIGINT))
      AS replicas_apart
  FROM members AS m
),
grouped AS (
  SELECT
    cluster,
    model,
    gpu_product,
    CAST(COUNT(*) AS BIGINT) AS workloads,
    CAST(SUM(sized) AS BIGINT) AS sized,
    MIN(who) AS first_one,
    MAX(who) AS last_one,
    MIN(quantisation) AS one_quantisation,
    MAX(quantisation) AS other_quantisation,
    MIN(gpu_milli_per_replica) AS gpu_milli,
    MAX(gpu_milli_per_replica) AS other_gpu_milli,
    MIN(price_key) AS price_key,
    MIN(existed_ms) AS existed_ms,
    CAST(SUM(total_ms) AS BIGINT) AS total_ms,
    CAST(SUM(unknown_ms) AS BIGINT) AS unknown_ms,
    CAST(SUM(replicas_apart) AS BIGINT) AS replicas_apart,
    MAX(floor_replicas) AS floor_replicas,
    CAST(SUM(load_ppm) AS BIGINT) AS load_ppm
  FROM needs
  GROUP BY cluster, model, gpu_product
),
joint AS (
  SELECT
    g.*,
    GREATEST(floor_replicas, CAST(CAST(load_ppm + 999999 - (load_ppm + 999999) % 1000000 AS DOUBLE) / 1000000.0 AS BIGINT))
      AS replicas_together
  FROM grouped AS g
  WHERE workloads > 1
),
spared AS (
  SELECT
    j.*,
    CAST(1 AS BIGINT) AS alive,
    -- No more than is held today: what each would need apart may not be there.
    GREATEST(0, LEAST(total_ms,
        CAST(CAST(replicas_apart * gpu_milli AS DOUBLE) * CAST(existed_ms AS DOUBLE) / 1000.0 AS BIGINT))
      - CAST(CAST(replicas_together * gpu_milli AS DOUBLE) * CAST(existed_ms AS DOUBLE) / 1000.0 AS BIGINT))
      AS spare_ms
  FROM joint AS j
),
judged AS (
  SELECT
    s.*,
    CAST(CAST(spare_ms + 180000 - (spare_ms + 180000) % 360000 AS DOUBLE) / 360000.0 AS BIGINT) AS tenths,
    CASE
      WHEN (total_ms - unknown_ms) * 100 < total_ms * $min_coverage_percent THEN 'unseen'
      WHEN one_quantisation <> other_quantisation OR gpu_milli <> other_gpu_milli THEN 'different'
      WHEN sized < workloads THEN 'unsized'
      WHEN spare_ms > 0 AND spare_ms >= $min_spare_gpu_hours * 3600000 THEN 'spare'
      ELSE 'needed'
    END AS verdict_code
  FROM spared AS s
),
texts AS (
  SELECT
    j.*,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS spare_hours,
    model || ' on ' || gpu_product || ' in ' || CAST(workloads AS VARCHAR) || ' workloads of ' || cluster AS headline
  FROM judged AS j
)
SELECT
  cluster,
  model,
  gpu_product,
  CAST($window_start_ms AS BIGINT) AS window_start_ms,
  CAST($window_end_ms AS BIGINT) AS window_end_ms,
  CASE verdict_code
    WHEN 'spare' THEN 'alarm'
    WHEN 'unseen' THEN 'undetermined'
    WHEN 'unsized' THEN 'undetermined'
    ELSE 'ok'
  END AS status,
  CASE WHEN total_ms > 0
    THEN CAST(total_ms - unknown_ms AS DOUBLE) / CAST(total_ms AS DOUBLE) END AS coverage,
  'low' AS confidence,
  CAST(NULL AS VARCHAR) AS team,
  headline,
  'its peaks need ' || CAST(replicas_apart AS VARCHAR) || ' replicas apart and ' || CAST(replicas_together AS VARCHAR) || ' together' AS because,
  CASE verdict_code
    WHEN 'unseen' THEN 'Too much of their time is unknown for what was seen to speak for the window.'
    WHEN 'different' THEN 'They differ in quantisation or in the GPUs of a replica: one cannot stand in for the other.'
    WHEN 'unsized' THEN 'What one replica can do, or the peak of one of them, is unknown.'
    WHEN 'spare' THEN first_one || ' and ' || last_one || CASE WHEN workloads > 2 THEN ' and '
      || CAST(workloads - 2 AS VARCHAR) || ' more' ELSE '' END || ' serve one model. Their peaks, as if at the same '
      || 'time, fit ' || CAST(replicas_together AS VARCHAR) || ' replicas; apart they round up to '
      || CAST(replicas_apart AS VARCHAR) || ': ' || spare_hours || ' GPU-hours. Nothing is claimed here.'
    ELSE 'Together their peaks need as many replicas as apart.'
  END AS reason,
  existed_ms,
  CAST(alive AS BIGINT) AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  'Ask whether ' || first_one || ' and ' || last_one || ' may share an engine; if so serve the model once and point both routes at it.' AS remedy,
  CAST(NULL AS VARCHAR) AS remedy_action,
  CAST(NULL AS VARCHAR) AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed,
  'medium' AS remedy_risk,
  'callers move to another address once' AS remedy_disruption,
  CASE WHEN verdict_code = 'spare' THEN spare_ms ELSE 0 END AS cost_gpu_ms,
  price_key AS cost_price_key,
  workloads AS ev_workloads,
  first_one AS ev_one,
  last_one AS ev_another,
  replicas_apart AS ev_replicas_apart,
  replicas_together AS ev_replicas_together,
  load_ppm AS ev_peak_millionths_of_a_replica,
  unknown_ms AS ev_unknown_gpu_ms
FROM texts
ORDER BY cluster, model, gpu_product
