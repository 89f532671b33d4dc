/*---
id: prefill-decode-imbalance
version: 1.1.0
title: One of the two halves of a split deployment waits for the other
status: stable
severity: medium
grain: [cluster, namespace, model]
requires: [ledger, workload_facts, gpu_hours, pods, gpu_holders]
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
  mean GPU activity of both halves over the hours in which both were in use. Where one object holds both
  (a Dynamo graph, a disaggregated set, an LLMInferenceService) a pod's half is told by its name and those
  of its controllers; what is beside named prefill and has no name of its own is decode. It claims
  nothing: how many prefill replicas the time to first token needs at the peak is not known here.
---*/
WITH halves AS (
  SELECT *
  FROM workload_facts
  WHERE role IN ('prefill', 'decode') AND model IS NOT NULL
),
-- One object with both halves in it.
split AS (
  SELECT *
  FROM workload_facts
  WHERE role LIKE '%prefill%' AND role LIKE '%decode%' AND model IS NOT NULL
),
-- What the names of a pod and of its controllers say, without the object's own name.
marked AS (
  SELECT
    h.cluster,
    h.namespace,
    h.workload_kind,
    h.workload_name,
    h.node,
    h.slot,
    h.slice,
    h.valid_from_ms,
    h.valid_to_ms,
    MAX(CASE WHEN replace(lower(h.pod || COALESCE(p.owner_chain_json, '')), lower(h.workload_name), '')
      LIKE '%prefill%' THEN 1 ELSE 0 END) AS is_prefill,
    MAX(CASE WHEN replace(lower(h.pod || COALESCE(p.owner_chain_json, '')), lower(h.workload_name), '')
      LIKE '%decode%' THEN 1 ELSE 0 END) AS is_decode
  FROM gpu_holders AS h
  INNER JOIN split AS w
    ON h.cluster = w.cluster
    AND h.namespace = w.namespace
    AND h.workload_kind = w.workload_kind
    AND h.workload_name = w.workload_name
  LEFT JOIN pods AS p
    ON h.cluster = p.cluster
    AND h.namespace = p.namespace
    AND h.pod = p.pod
  WHERE h.valid_from_ms < $window_end_ms AND h.valid_to_ms > $window_start_ms
  GROUP BY h.cluster, h.namespace, h.workload_kind, h.workload_name, h.node, h.slot, h.slice,
    h.valid_from_ms, h.valid_to_ms
),
named AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    MAX(is_prefill) AS names_prefill,
    MAX(is_decode) AS names_decode
  FROM marked
  GROUP BY cluster, namespace, workload_kind, workload_name
),
roled AS (
  SELECT
    m.*,
    CASE
      WHEN is_prefill = 1 AND is_decode = 0 THEN 'prefill'
      WHEN is_decode = 1 AND is_prefill = 0 THEN 'decode'
      WHEN is_decode = 0 AND is_prefill = 0 AND names_prefill = 1 AND names_decode = 0 THEN 'decode'
    END AS role
  FROM marked AS m
  INNER JOIN named AS n
    ON m.cluster = n.cluster
    AND m.namespace = n.namespace
    AND m.workload_kind = n.workload_kind
    AND m.workload_name = n.workload_name
),
-- A slot's hour that both halves held in turn belongs to neither.
apart AS (
  SELECT
    l.cluster,
    l.namespace,
    l.workload_kind,
    l.workload_name,
    l.node,
    l.slot,
    l.slice,
    l.hour_ms,
    l.class,
    l.gpu_uuid,
    l.ms,
    MIN(r.role) AS role
  FROM ledger AS l
  INNER JOIN roled AS r
    ON l.cluster = r.cluster
    AND l.namespace = r.namespace
    AND l.workload_kind = r.workload_kind
    AND l.workload_name = r.workload_name
    AND l.node = r.node
    AND l.slot = r.slot
    AND l.slice = r.slice
  WHERE l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class <> 'absent'
    AND r.valid_from_ms < l.hour_ms + 3600000 AND r.valid_to_ms > l.hour_ms
  GROUP BY l.cluster, l.namespace, l.workload_kind, l.workload_name, l.node, l.slot, l.slice, l.hour_ms,
    l.class, l.gpu_uuid, l.ms
  HAVING MIN(r.role) = MAX(r.role) AND COUNT(*) = COUNT(r.role)
),
held AS (
  SELECT h.cluster, h.namespace, h.model, h.role, l.hour_ms, l.gpu_uuid, l.class, l.ms
  FROM ledger AS l
  INNER JOIN halves AS h
    ON l.cluster = h.cluster
    AND l.namespace = h.namespace
    AND l.workload_kind = h.workload_kind
    AND l.workload_name = h.workload_name
  WHERE l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class <> 'absent'
  UNION ALL
  SELECT w.cluster, w.namespace, w.model, a.role, a.hour_ms, a.gpu_uuid, a.class, a.ms
  FROM apart AS a
  INNER JOIN split AS w
    ON a.cluster = w.cluster
    AND a.namespace = w.namespace
    AND a.workload_kind = w.workload_kind
    AND a.workload_name = w.workload_name
),
-- Seconds of a half by the card that it held.
cards AS (
  SELECT
    cluster,
    namespace,
    model,
    role,
    hour_ms,
    gpu_uuid,
    CAST(SUM(ms) AS BIGINT) AS held_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms
  FROM held
  GROUP BY cluster, namespace, model, role, hour_ms, gpu_uuid
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
sides_named AS (
  SELECT cluster, namespace, model, role, workload_name AS who, gpu_product, price_key, existed_ms, alive_at_end, 0 AS is_split
  FROM halves
  UNION ALL
  SELECT cluster, namespace, model, 'prefill', workload_name || ' (prefill)', gpu_product, price_key, existed_ms, alive_at_end, 1
  FROM split
  UNION ALL
  SELECT cluster, namespace, model, 'decode', workload_name || ' (decode)', gpu_product, price_key, existed_ms, alive_at_end, 1
  FROM split
),
subjects AS (
  SELECT
    cluster,
    namespace,
    model,
    MIN(gpu_product) AS gpu_product,
    MIN(CASE WHEN role = 'prefill' THEN who END) AS prefill_name,
    MIN(CASE WHEN role = 'decode' THEN who END) AS decode_name,
    MIN(CASE WHEN role = 'prefill' THEN price_key END) AS prefill_key,
    MIN(CASE WHEN role = 'decode' THEN price_key END) AS decode_key,
    MIN(existed_ms) AS existed_ms,
    MAX(alive_at_end) AS alive,
    MAX(is_split) AS is_split
  FROM sides_named
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
      WHEN is_split = 1 AND (prefill_ms = 0 OR decode_ms = 0) THEN 'unmarked'
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
    WHEN 'unmarked' THEN 'undetermined'
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
    WHEN 'unmarked' THEN 'Prefill and decode are one object here, and nothing names which of its pods held a GPU for which.'
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
