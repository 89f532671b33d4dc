/*---
id: cpu-bottleneck
version: 1.1.0
title: GPUs that idle beside a busy CPU, which no quota shows
status: stable
severity: medium
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts, workload_hours, workload_details, gpu_hours, cpu_hours]
order: 61
window: {default: 14d, min: 3d}
params:
  min_held_back_gpu_hours: {type: int, unit: GPU-hours, default: 12, why: "an hour of one GPU on most days of a fortnight: less is a burst"}
  idle_ppm: {type: int, unit: millionths, default: 300000, why: "a GPU at work for less than a third of the time waits for something"}
  min_queue_percent: {type: int, unit: percent of replica time, default: 10, why: "a queue for a tenth of the hour is no single burst"}
  pressure_percent: {type: int, unit: percent of the time, default: 25, why: "a quarter of the time without a core is felt in every token"}
  throttled_percent: {type: int, unit: percent of periods, default: 25, why: "a quarter of all scheduling periods cut short is felt in every token"}
  one_core_percent: {type: int, unit: percent of the time, default: 50, why: "a process that fills exactly one core for half of the time has one thread that does the work"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "what was seen must speak for the window"}
false_positives:
  - busy loops of engines, which fill a core while idle; the queue beside it is what tells them apart
  - a queue that waits for KV cache, not for CPU
remediation:
  action: feed-the-gpu
  text: give CPU to the pod that is named, or spread what one thread does
references:
  - https://docs.kernel.org/accounting/psi.html
  - https://github.com/vllm-project/vllm/issues/16968
rationale: >-
  Looked for in four places, hour by hour, where the GPU is mostly idle: the engine's own container waits
  for CPU (node-pressure, with the neighbour that used most of the node) or fills exactly one core while
  requests queue (one-core); a container beside it in its own pods is throttled (sidecar); what stands
  before it by owner, Service or route is throttled, or fills exactly one core as a frontend or a tokenizer
  of one thread does, while it is hardly asked anything (upstream). High CPU alone is never a sign: idle
  engines spin, so what runs an engine itself is no full frontend. It claims nothing: how much sooner the
  work would be done is not known.
---*/
WITH totals AS (
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
-- Whose GPUs said what they do, on a day on which they were held.
measured AS (
  SELECT DISTINCT cluster, uuid, hour_ms - hour_ms % 86400000 AS day_ms
  FROM gpu_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms AND activity_samples > 0
),
holders AS (
  SELECT DISTINCT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    gpu_uuid,
    hour_ms - hour_ms % 86400000 AS day_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> '' AND gpu_uuid IS NOT NULL
),
seen_gpus AS (
  SELECT DISTINCT h.cluster, h.namespace, h.workload_kind, h.workload_name, 1 AS seen
  FROM holders AS h
  INNER JOIN measured AS m
    ON h.cluster = m.cluster AND h.gpu_uuid = m.uuid AND h.day_ms = m.day_ms
),
engine AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    hour_ms,
    CAST(SUM(known_ms) AS BIGINT) AS known_ms,
    CAST(SUM(one_core_ms) AS BIGINT) AS one_core_ms,
    CAST(SUM(pressure_ms) AS BIGINT) AS pressure_ms,
    CAST(SUM(pressure_known_ms) AS BIGINT) AS pressure_known_ms
  FROM cpu_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms AND is_engine = 1
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms
),
engines AS (
  SELECT DISTINCT cluster, namespace, workload_kind, workload_name
  FROM cpu_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms AND is_engine = 1
),
-- The most throttled container beside the engine.
beside AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    hour_ms,
    MAX(CASE WHEN cfs_periods > 0 AND cfs_throttled_periods * 100 >= cfs_periods * $throttled_percent
      THEN container END) AS sidecar
  FROM cpu_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms AND is_engine = 0
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms
),
related AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    related_json,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY valid_to_ms DESC, valid_from_ms DESC, related_json
    ) AS newest
  FROM workload_details
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms
),
-- Hours in which a workload's own CPU held it up: throttled, or one thread that fills its core.
held_up AS (
  SELECT
    c.cluster,
    c.namespace,
    c.workload_kind,
    c.workload_name,
    c.hour_ms,
    MAX(CASE WHEN c.cfs_periods > 0 AND c.cfs_throttled_periods * 100 >= c.cfs_periods * $throttled_percent
      THEN 1 ELSE 0 END) AS is_throttled
  FROM cpu_hours AS c
  LEFT JOIN (
    SELECT cluster, namespace, workload_kind, workload_name, 1 AS spins FROM engines
  ) AS e
    ON c.cluster = e.cluster
    AND c.namespace = e.namespace
    AND c.workload_kind = e.workload_kind
    AND c.workload_name = e.workload_name
  WHERE c.hour_ms >= $window_start_ms AND c.hour_ms < $window_end_ms
    AND ((c.cfs_periods > 0 AND c.cfs_throttled_periods * 100 >= c.cfs_periods * $throttled_percent)
      OR (e.spins IS NULL AND c.known_ms > 0 AND c.one_core_ms * 100 >= c.known_ms * $one_core_percent))
  GROUP BY c.cluster, c.namespace, c.workload_kind, c.workload_name, c.hour_ms
),
others AS (
  SELECT DISTINCT cluster, namespace, workload_kind, workload_name FROM held_up
),
-- What stands before it: the objects that the inventory relates are paths, `kind/namespace/name`.
before_it AS (
  SELECT
    r.cluster,
    r.namespace,
    r.workload_kind,
    r.workload_name,
    o.namespace AS up_namespace,
    o.workload_kind AS up_kind,
    o.workload_name AS up_name
  FROM related AS r
  INNER JOIN others AS o
    ON r.cluster = o.cluster
    AND strpos(r.related_json, '/' || o.namespace || '/' || o.workload_name || '"') > 0
  WHERE r.newest = 1 AND r.related_json <> '[]'
    AND NOT (o.namespace = r.namespace AND o.workload_kind = r.workload_kind
      AND o.workload_name = r.workload_name)
),
upstream AS (
  SELECT
    b.cluster,
    b.namespace,
    b.workload_kind,
    b.workload_name,
    c.hour_ms,
    MAX(b.up_kind || '/' || b.up_namespace || '/' || b.up_name) AS upstream,
    MAX(c.is_throttled) AS up_throttled
  FROM before_it AS b
  INNER JOIN held_up AS c
    ON b.cluster = c.cluster
    AND b.up_namespace = c.namespace
    AND b.up_kind = c.workload_kind
    AND b.up_name = c.workload_name
  GROUP BY b.cluster, b.namespace, b.workload_kind, b.workload_name, c.hour_ms
),
-- Hours in which something speaks of waiting for CPU, before anybody asks what the GPUs did.
flagged AS (
  SELECT
    d.cluster,
    d.namespace,
    d.workload_kind,
    d.workload_name,
    d.hour_ms,
    b.sidecar,
    u.upstream,
    u.up_throttled,
    CASE
      WHEN d.queued AND b.sidecar IS NOT NULL THEN 'sidecar'
      WHEN d.queued AND e.pressure_known_ms > 0
        AND e.pressure_ms * 100 >= e.pressure_known_ms * $pressure_percent THEN 'node-pressure'
      WHEN d.queued AND e.known_ms > 0 AND e.one_core_ms * 100 >= e.known_ms * $one_core_percent THEN 'one-core'
      WHEN u.upstream IS NOT NULL AND NOT d.queued THEN 'upstream'
      ELSE 'none'
    END AS sign
  FROM (
    SELECT
      cluster,
      namespace,
      workload_kind,
      workload_name,
      hour_ms,
      queued_ms > 0 AS queued
    FROM workload_hours
    WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
      AND ((queued_ms > 0 AND queued_ms * 100 >= replica_ms * $min_queue_percent)
        OR (queued_ms = 0 AND requests > 0))
  ) AS d
  LEFT JOIN engine AS e
    ON d.cluster = e.cluster
    AND d.namespace = e.namespace
    AND d.workload_kind = e.workload_kind
    AND d.workload_name = e.workload_name
    AND d.hour_ms = e.hour_ms
  LEFT JOIN beside AS b
    ON d.cluster = b.cluster
    AND d.namespace = b.namespace
    AND d.workload_kind = b.workload_kind
    AND d.workload_name = b.workload_name
    AND d.hour_ms = b.hour_ms
  LEFT JOIN upstream AS u
    ON d.cluster = u.cluster
    AND d.namespace = u.namespace
    AND d.workload_kind = u.workload_kind
    AND d.workload_name = u.workload_name
    AND d.hour_ms = u.hour_ms
),
-- The GPUs of those hours; one that several rows of the ledger name counts once.
held AS (
  SELECT
    f.cluster,
    f.namespace,
    f.workload_kind,
    f.workload_name,
    f.hour_ms,
    f.sign,
    f.sidecar,
    f.upstream,
    f.up_throttled,
    l.gpu_uuid,
    CAST(SUM(CASE WHEN l.class = 'serving' THEN l.ms ELSE 0 END) AS BIGINT) AS serving_ms
  FROM flagged AS f
  INNER JOIN ledger AS l
    ON f.cluster = l.cluster
    AND f.namespace = l.namespace
    AND f.workload_kind = l.workload_kind
    AND f.workload_name = l.workload_name
    AND f.hour_ms = l.hour_ms
  WHERE f.sign <> 'none' AND l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class <> 'absent'
  GROUP BY f.cluster, f.namespace, f.workload_kind, f.workload_name, f.hour_ms, f.sign, f.sidecar,
    f.upstream, f.up_throttled, l.gpu_uuid
),
worked AS (
  SELECT
    h.cluster,
    h.namespace,
    h.workload_kind,
    h.workload_name,
    h.hour_ms,
    h.sign,
    h.sidecar,
    h.upstream,
    h.up_throttled,
    h.gpu_uuid,
    MAX(h.serving_ms) AS serving_ms,
    CAST(SUM(COALESCE(g.activity_ppm_sum, 0)) AS BIGINT) AS ppm_sum,
    CAST(SUM(COALESCE(g.activity_samples, 0)) AS BIGINT) AS samples
  FROM held AS h
  LEFT JOIN gpu_hours AS g
    ON h.cluster = g.cluster
    AND h.gpu_uuid = g.uuid
    AND h.hour_ms = g.hour_ms
    AND g.activity_samples > 0
  GROUP BY h.cluster, h.namespace, h.workload_kind, h.workload_name, h.hour_ms, h.sign, h.sidecar,
    h.upstream, h.up_throttled, h.gpu_uuid
),
-- Whoever works, or was not seen, waits for nothing here.
signs AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    hour_ms,
    sign,
    sidecar,
    upstream,
    up_throttled,
    CAST(SUM(serving_ms) AS BIGINT) AS serving_ms
  FROM worked
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms, sign, sidecar, upstream, up_throttled
  HAVING SUM(samples) > 0 AND SUM(ppm_sum) <= $idle_ppm * SUM(samples) AND SUM(serving_ms) > 0
),
-- Who else used the CPU of the engine's nodes in the hours of pressure.
neighbours AS (
  SELECT
    s.cluster,
    s.namespace,
    s.workload_kind,
    s.workload_name,
    o.namespace || '/' || o.workload_name || ' on ' || e.node AS neighbour,
    CAST(SUM(o.cpu_ms) AS BIGINT) AS cpu_ms
  FROM signs AS s
  INNER JOIN cpu_hours AS e
    ON s.cluster = e.cluster
    AND s.namespace = e.namespace
    AND s.workload_kind = e.workload_kind
    AND s.workload_name = e.workload_name
    AND s.hour_ms = e.hour_ms
    AND e.is_engine = 1
    AND e.node <> ''
  INNER JOIN cpu_hours AS o
    ON e.cluster = o.cluster
    AND e.node = o.node
    AND e.hour_ms = o.hour_ms
  WHERE s.sign = 'node-pressure'
    AND NOT (o.namespace = s.namespace AND o.workload_kind = s.workload_kind
      AND o.workload_name = s.workload_name)
  GROUP BY s.cluster, s.namespace, s.workload_kind, s.workload_name, o.namespace, o.workload_name, e.node
),
loudest AS (
  SELECT
    n.*,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY cpu_ms DESC, neighbour
    ) AS pick
  FROM neighbours AS n
),
sums AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(CASE WHEN sign = 'sidecar' THEN serving_ms ELSE 0 END) AS BIGINT) AS sidecar_ms,
    CAST(SUM(CASE WHEN sign = 'node-pressure' THEN serving_ms ELSE 0 END) AS BIGINT) AS pressure_ms,
    CAST(SUM(CASE WHEN sign = 'one-core' THEN serving_ms ELSE 0 END) AS BIGINT) AS one_core_ms,
    CAST(SUM(CASE WHEN sign = 'upstream' THEN serving_ms ELSE 0 END) AS BIGINT) AS upstream_ms,
    MAX(CASE WHEN sign = 'sidecar' THEN sidecar END) AS sidecar,
    MAX(CASE WHEN sign = 'upstream' THEN upstream END) AS upstream,
    MAX(CASE WHEN sign = 'upstream' THEN up_throttled END) AS up_throttled
  FROM signs
  GROUP BY cluster, namespace, workload_kind, workload_name
),
joined AS (
  SELECT
    w.*,
    COALESCE(t.total_ms, 0) AS total_ms,
    COALESCE(t.unknown_ms, 0) AS unknown_ms,
    g.seen AS gpus_seen,
    COALESCE(s.sidecar_ms, 0) AS sidecar_ms,
    COALESCE(s.pressure_ms, 0) AS pressure_ms,
    COALESCE(s.one_core_ms, 0) AS one_core_ms,
    COALESCE(s.upstream_ms, 0) AS upstream_ms,
    COALESCE(s.sidecar_ms, 0) + COALESCE(s.pressure_ms, 0) + COALESCE(s.one_core_ms, 0)
      + COALESCE(s.upstream_ms, 0) AS held_back_ms,
    s.sidecar,
    s.upstream,
    s.up_throttled,
    n.neighbour,
    c.seen AS cpu_seen
  FROM workload_facts AS w
  LEFT JOIN totals AS t
    ON w.cluster = t.cluster
    AND w.namespace = t.namespace
    AND w.workload_kind = t.workload_kind
    AND w.workload_name = t.workload_name
  LEFT JOIN seen_gpus AS g
    ON w.cluster = g.cluster
    AND w.namespace = g.namespace
    AND w.workload_kind = g.workload_kind
    AND w.workload_name = g.workload_name
  LEFT JOIN sums AS s
    ON w.cluster = s.cluster
    AND w.namespace = s.namespace
    AND w.workload_kind = s.workload_kind
    AND w.workload_name = s.workload_name
  LEFT JOIN loudest AS n
    ON w.cluster = n.cluster
    AND w.namespace = n.namespace
    AND w.workload_kind = n.workload_kind
    AND w.workload_name = n.workload_name
    AND n.pick = 1
  LEFT JOIN (
    SELECT cluster, namespace, workload_kind, workload_name, 1 AS seen
    FROM engines
  ) AS c
    ON w.cluster = c.cluster
    AND w.namespace = c.namespace
    AND w.workload_kind = c.workload_kind
    AND w.workload_name = c.workload_name
),
judged AS (
  SELECT
    j.*,
    CAST(CAST(held_back_ms + 180000 - (held_back_ms + 180000) % 360000 AS DOUBLE) / 360000.0 AS BIGINT) AS tenths,
    CASE
      WHEN sidecar_ms >= GREATEST(pressure_ms, one_core_ms, upstream_ms) THEN 'sidecar'
      WHEN pressure_ms >= GREATEST(one_core_ms, upstream_ms) THEN 'node-pressure'
      WHEN one_core_ms >= upstream_ms THEN 'one-core'
      ELSE 'upstream'
    END AS place,
    CASE
      WHEN workload_class IN ('batch', 'training', 'notebook', 'system') OR total_ms = 0 THEN 'skip'
      WHEN (total_ms - unknown_ms) * 100 < total_ms * $min_coverage_percent THEN 'undetermined'
      WHEN held_back_ms > 0 AND held_back_ms >= $min_held_back_gpu_hours * 3600000 THEN 'alarm'
      -- Without the CPU or the GPU nothing could show.
      WHEN cpu_seen IS NULL OR gpus_seen IS NULL THEN 'undetermined'
      ELSE 'ok'
    END AS status
  FROM joined AS j
),
texts AS (
  SELECT
    j.*,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS held_back_hours,
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
  'low' AS confidence,
  model,
  gpu_product,
  team,
  headline,
  'its GPUs idled for ' || held_back_hours || ' GPU-hours beside a CPU that could not feed them' AS because,
  CASE
    WHEN status = 'skip' AND total_ms = 0 THEN 'It held no GPU in the closed hours of the window.'
    WHEN status = 'skip' THEN 'It is no serving workload (' || workload_class || '): this rule is not made for it.'
    WHEN status = 'undetermined' AND (cpu_seen IS NULL OR gpus_seen IS NULL) THEN
      'The CPU of its containers, or the activity of its GPUs, was not seen.'
    WHEN status = 'undetermined' THEN 'Too much of its time is unknown for what was seen to speak for the window.'
    WHEN status = 'ok' THEN 'No sign in its container, beside it, on its node or before it for long enough: '
      || held_back_hours || ' GPU-hours.'
    WHEN place = 'sidecar' THEN 'Requests queued and the GPU was mostly idle while the container ' || sidecar
      || ' in its pods was throttled: ' || held_back_hours || ' GPU-hours. Nothing is claimed here.'
    WHEN place = 'node-pressure' THEN 'Requests queued and the GPU was mostly idle while its container waited for a core'
      || COALESCE('; ' || neighbour || ' used most of the rest', '') || ': ' || held_back_hours
      || ' GPU-hours. Nothing is claimed here.'
    WHEN place = 'one-core' THEN 'Requests queued and the GPU was mostly idle while one thread filled exactly one core: '
      || held_back_hours || ' GPU-hours. More CPU does not help it. Nothing is claimed here.'
    WHEN up_throttled = 0 THEN 'It was hardly asked anything while one thread of ' || upstream
      || ' before it filled exactly one core: ' || held_back_hours || ' GPU-hours. Nothing is claimed here.'
    ELSE 'It was hardly asked anything while ' || upstream || ' before it was throttled: '
      || held_back_hours || ' GPU-hours. Nothing is claimed here.'
  END AS reason,
  existed_ms,
  alive_at_end AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  CASE place
    WHEN 'sidecar' THEN 'Raise the CPU limit of the container ' || COALESCE(sidecar, 'beside the engine') || '.'
    WHEN 'node-pressure' THEN 'Request the CPU that the engine uses, so that the node is not filled'
      || COALESCE(', or move ' || neighbour, '') || '.'
    WHEN 'one-core' THEN 'Spread what one thread does: more API server or tokenizer processes, or more replicas of the frontend.'
    ELSE CASE WHEN up_throttled = 0 THEN 'Give more replicas or processes to '
      ELSE 'Raise the CPU limit of ' END || COALESCE(upstream, 'what stands before it') || '.'
  END AS remedy,
  CAST(NULL AS VARCHAR) AS remedy_action,
  CAST(NULL AS VARCHAR) AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed,
  'low' AS remedy_risk,
  'one rolling restart of the pod that is named' AS remedy_disruption,
  held_back_ms AS cost_gpu_ms,
  price_key AS cost_price_key,
  CASE WHEN held_back_ms = 0 THEN 'none' ELSE place END AS ev_place,
  total_ms AS ev_held_gpu_ms,
  sidecar_ms AS ev_beside_a_throttled_container_gpu_ms,
  pressure_ms AS ev_waiting_for_a_core_gpu_ms,
  one_core_ms AS ev_on_one_full_core_gpu_ms,
  upstream_ms AS ev_behind_a_throttled_upstream_gpu_ms,
  sidecar AS ev_container,
  neighbour AS ev_neighbour,
  upstream AS ev_upstream,
  CASE WHEN up_throttled = 1 THEN 'throttled' WHEN up_throttled = 0 THEN 'one full core' ELSE 'none' END
    AS ev_upstream_sign,
  unknown_ms AS ev_unknown_gpu_ms
FROM texts
ORDER BY cluster, namespace, workload_kind, workload_name
