/*---
id: prefill-decode-imbalance
version: 1.0.0
title: One of the two halves of a split deployment waits for the other
status: stable
severity: medium
grain: [cluster, namespace, model]
requires: [ledger, workload_facts, gpu_hours, workload_hours]
order: 64
window: {default: 14d, min: 3d}
params:
  min_idle_gpu_hours: {type: int, unit: GPU-hours, default: 24, why: "a day of one GPU in a fortnight: less is not worth a change"}
  busy_ppm: {type: int, unit: millionths, default: 500000, why: "a half that works half of the time is the one that the other waits for"}
  idle_ppm: {type: int, unit: millionths, default: 150000, why: "prefill comes in bursts: a seventh of the time at work leaves room for most of its replicas"}
  min_known_percent: {type: int, unit: percent, default: 80, why: "activity must be known for both halves"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "what was seen must speak for the window"}
false_positives:
  - prefill replicas kept for the time to first token at the peak
remediation:
  action: rebalance
  text: move replicas from the half that waits to the half that works
references:
  - https://docs.nvidia.com/dynamo/
rationale: >-
  Prefill emits hardly any output tokens and is judged by its GPUs, never by tokens. Compared is the
  mean GPU activity of both halves over the hours in which both were in use. It claims nothing: how
  many prefill replicas the time to first token needs at the peak is not known here.
---*/
WITH halves AS (
  SELECT *
  FROM workload_facts
  WHERE role IN ('prefill', 'decode') AND model IS NOT NULL
),
-- Seconds of a half by the card that it held.
cards AS (
  SELECT
    h.cluster,
    h.namespace,
    h.model,
    h.role,
    l.hour_ms,
    l.gpu_uuid,
    CAST(SUM(l.ms) AS BIGINT) AS held_ms,
    CAST(SUM(CASE WHEN l.class = 'unknown' THEN l.ms ELSE 0 END) AS BIGINT) AS unknown_ms
  FROM ledger AS l
  INNER JOIN halves AS h
    ON l.cluster = h.cluster
    AND l.namespace = h.namespace
    AND l.workload_kind = h.workload_kind
    AND l.workload_name = h.workload_name
  WHERE l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class <> 'absent'
  GROUP BY h.cluster, h.namespace, h.model, h.role, l.hour_ms, l.gpu_uuid
),
gpus AS (
  SELECT
    cluster,
    uuid,
    hour_ms,
    CAST(SUM(activity_ppm_sum) AS BIGINT) AS ppm_sum,
    CAST(SUM(activity_samples) AS BIGINT) AS samples
  FROM gpu_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms AND activity_samples > 0
  GROUP BY cluster, uuid, hour_ms
),
sides AS (
  SELECT
    c.cluster,
    c.namespace,
    c.model,
    c.role,
    CAST(SUM(c.held_ms) AS BIGINT) AS held_ms,
    CAST(SUM(c.unknown_ms) AS BIGINT) AS unknown_ms,
    CAST(SUM(CASE WHEN g.samples > 0 THEN c.held_ms ELSE 0 END) AS BIGINT) AS known_ms,
    CAST(SUM(COALESCE(g.ppm_sum, 0)) AS BIGINT) AS ppm_sum,
    CAST(SUM(COALESCE(g.samples, 0)) AS BIGINT) AS samples
  FROM cards AS c
  LEFT JOIN gpus AS g
    ON c.cluster = g.cluster
    AND c.gpu_uuid = g.uuid
    AND c.hour_ms = g.hour_ms
  GROUP BY c.cluster, c.namespace, c.model, c.role
),
means AS (
  SELECT
    s.*,
    CASE WHEN samples > 0
      THEN CAST(CAST(ppm_sum - ppm_sum % samples AS DOUBLE) / CAST(samples AS DOUBLE) AS BIGINT) END
      AS mean_ppm
  FROM sides AS s
),
subjects AS (
  SELECT
    cluster,
    namespace,
    model,
    MIN(gpu_product) AS gpu_product,
    MIN(CASE WHEN role = 'prefill' THEN workload_name END) AS prefill_name,
    MIN(CASE WHEN role = 'decode' THEN workload_name END) AS decode_name,
    MIN(CASE WHEN role = 'prefill' THEN price_key END) AS prefill_key,
    MIN(CASE WHEN role = 'decode' THEN price_key END) AS decode_key,
    MIN(existed_ms) AS existed_ms,
    MAX(alive_at_end) AS alive
  FROM halves
  GROUP BY cluster, namespace, model
),
paired AS (
  SELECT
    u.*,
    COALESCE(p.held_ms, 0) AS prefill_ms,
    COALESCE(d.held_ms, 0) AS decode_ms,
    COALESCE(p.held_ms, 0) + COALESCE(d.held_ms, 0) AS total_ms,
    COALESCE(p.unknown_ms, 0) + COALESCE(d.unknown_ms, 0) AS unknown_ms,
    COALESCE(p.known_ms, 0) AS prefill_known_ms,
    COALESCE(d.known_ms, 0) AS decode_known_ms,
    p.mean_ppm AS prefill_ppm,
    d.mean_ppm AS decode_ppm
  FROM subjects AS u
  LEFT JOIN means AS p
    ON u.cluster = p.cluster AND u.namespace = p.namespace AND u.model = p.model
    AND p.role = 'prefill'
  LEFT JOIN means AS d
    ON u.cluster = d.cluster AND u.namespace = d.namespace AND u.model = d.model
    AND d.role = 'decode'
),
sized AS (
  SELECT
    p.*,
    -- What the waiting half would not need if it worked as much as the other.
    CASE
      WHEN decode_ppm >= $busy_ppm AND prefill_ppm <= $idle_ppm
        THEN CAST(floor(CAST(CAST(prefill_ms AS DOUBLE) * CAST(decode_ppm - prefill_ppm AS DOUBLE) AS DOUBLE)
          / CAST(decode_ppm AS DOUBLE)) AS BIGINT)
      WHEN prefill_ppm >= $busy_ppm AND decode_ppm <= $idle_ppm
        THEN CAST(floor(CAST(CAST(decode_ms AS DOUBLE) * CAST(prefill_ppm - decode_ppm AS DOUBLE) AS DOUBLE)
          / CAST(prefill_ppm AS DOUBLE)) AS BIGINT)
      ELSE 0
    END AS idle_ms,
    COALESCE(prefill_ppm < decode_ppm, FALSE) AS prefill_waits
  FROM paired AS p
),
judged AS (
  SELECT
    s.*,
    CAST(CAST(idle_ms + 180000 - (idle_ms + 180000) % 360000 AS DOUBLE) / 360000.0 AS BIGINT) AS tenths,
    CASE
      WHEN prefill_name IS NULL OR decode_name IS NULL THEN 'alone'
      WHEN prefill_ms = 0 OR decode_ms = 0 THEN 'no-gpu'
      WHEN (total_ms - unknown_ms) * 100 < total_ms * $min_coverage_percent
        OR prefill_known_ms * 100 < prefill_ms * $min_known_percent
        OR decode_known_ms * 100 < decode_ms * $min_known_percent THEN 'unseen'
      WHEN idle_ms > 0 AND idle_ms >= $min_idle_gpu_hours * 3600000 THEN 'imbalance'
      ELSE 'balanced'
    END AS verdict_code
  FROM sized AS s
),
texts AS (
  SELECT
    j.*,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS idle_hours,
    model || ' of ' || namespace || ', prefill and decode apart' AS headline
  FROM judged AS j
)
SELECT
  cluster,
  namespace,
  model,
  CAST($window_start_ms AS BIGINT) AS window_start_ms,
  CAST($window_end_ms AS BIGINT) AS window_end_ms,
  CASE verdict_code
    WHEN 'imbalance' THEN 'alarm'
    WHEN 'unseen' THEN 'undetermined'
    WHEN 'alone' THEN 'skip'
    WHEN 'no-gpu' THEN 'skip'
    ELSE 'ok'
  END AS status,
  CASE WHEN total_ms > 0
    THEN CAST(total_ms - unknown_ms AS DOUBLE) / CAST(total_ms AS DOUBLE) END AS coverage,
  'low' AS confidence,
  gpu_product,
  CAST(NULL AS VARCHAR) AS team,
  headline,
  CASE WHEN prefill_waits THEN 'prefill' ELSE 'decode' END || ' waits for the other half: ' || idle_hours || ' GPU-hours that it would not need' AS because,
  CASE verdict_code
    WHEN 'alone' THEN 'Only one of the two halves is known.'
    WHEN 'no-gpu' THEN 'One of the halves held no GPU in the closed hours of the window.'
    WHEN 'unseen' THEN 'How busy the GPUs of both halves were is unknown for too much of the window.'
    WHEN 'imbalance' THEN 'The GPUs of ' || prefill_name || ' were at work for '
      || CAST(CAST(round(CAST(prefill_ppm AS DOUBLE) / 10000.0) AS BIGINT) AS VARCHAR) || ' % of the time, those of '
      || decode_name || ' for ' || CAST(CAST(round(CAST(decode_ppm AS DOUBLE) / 10000.0) AS BIGINT) AS VARCHAR)
      || ' %: ' || idle_hours || ' GPU-hours. Nothing is claimed here.'
    ELSE 'Neither half waits for the other by more than the threshold.'
  END AS reason,
  existed_ms,
  CAST(alive AS BIGINT) AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  'Move replicas from ' || CASE WHEN prefill_waits THEN prefill_name || ' to ' || decode_name ELSE decode_name || ' to ' || prefill_name END || ', and watch the time to first token.' AS remedy,
  CAST(NULL AS VARCHAR) AS remedy_action,
  CAST(NULL AS VARCHAR) AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed,
  'medium' AS remedy_risk,
  'callers move to another address once' AS remedy_disruption,
  CASE WHEN verdict_code = 'imbalance' THEN idle_ms ELSE 0 END AS cost_gpu_ms,
  CASE WHEN prefill_waits THEN prefill_key ELSE decode_key END AS cost_price_key,
  prefill_name AS ev_prefill,
  decode_name AS ev_decode,
  prefill_ms AS ev_prefill_gpu_ms,
  decode_ms AS ev_decode_gpu_ms,
  prefill_ppm AS ev_prefill_activity_ppm,
  decode_ppm AS ev_decode_activity_ppm,
  unknown_ms AS ev_unknown_gpu_ms
FROM texts
ORDER BY cluster, namespace, model
