-- Workloads by what they cost in the window, each as it last was; capacity that none holds has its own line.
WITH spent AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(ms) AS BIGINT) AS held_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms,
    CAST(SUM(CASE WHEN list_cost_usd IS NULL THEN ms ELSE 0 END) AS BIGINT) AS unpriced_ms,
    SUM(list_cost_usd) AS list_usd,
    SUM(effective_cost_usd) AS effective_usd,
    MAX(gpu_product) AS gpu_product
  FROM v_ledger
  WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
  GROUP BY cluster, namespace, workload_kind, workload_name
),
clipped AS (
  SELECT
    w.*,
    CASE WHEN valid_from_ms < $from_ms THEN $from_ms ELSE valid_from_ms END AS from_ms,
    CASE WHEN valid_to_ms > $to_ms THEN $to_ms ELSE valid_to_ms END AS to_ms
  FROM workloads w
  WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
),
life AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(to_ms - from_ms) AS BIGINT) AS existed_ms,
    MAX(to_ms) AS last_ms
  FROM clipped
  GROUP BY cluster, namespace, workload_kind, workload_name
),
newest AS (
  SELECT c.*, ROW_NUMBER() OVER (
    PARTITION BY cluster, namespace, workload_kind, workload_name ORDER BY to_ms DESC, from_ms DESC
  ) AS place
  FROM clipped c
),
newest_details AS (
  SELECT d.*, ROW_NUMBER() OVER (
    PARTITION BY cluster, namespace, workload_kind, workload_name ORDER BY valid_to_ms DESC, valid_from_ms DESC
  ) AS place
  FROM workload_details d
  WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
),
faults AS (
  SELECT cluster, namespace, kind, name, COUNT(DISTINCT check_id) AS notes
  FROM data_quality
  WHERE scope = 'workload' AND date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
  GROUP BY cluster, namespace, kind, name
),
named AS (
  SELECT cluster, namespace, workload_kind, workload_name FROM spent
  UNION
  SELECT cluster, namespace, workload_kind, workload_name FROM life
),
whole AS (
  SELECT
    n.cluster,
    n.namespace,
    n.workload_kind,
    CASE WHEN n.workload_name = '' THEN '(unallocated)' ELSE n.workload_name END AS workload_name,
    w.workload_class,
    w.serving_system,
    COALESCE(w.model, d.model_name) AS model,
    COALESCE(d.model_state, 'none') AS model_state,
    COALESCE(w.model_params_b, d.params_b) AS params_b,
    COALESCE(w.gpu_product, s.gpu_product) AS gpu_product,
    CAST(w.gpu_milli_per_replica AS DOUBLE) / CAST(1000 AS DOUBLE) AS gpus_per_replica,
    w.replicas,
    w.min_replicas,
    w.max_replicas,
    w.autoscaler,
    w.team,
    d.team_source,
    d.served,
    d.parallel_check,
    CAST(CAST(COALESCE(s.held_ms, 0) AS DECIMAL(18, 3)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(18, 1)) AS gpu_hours,
    CAST(s.list_usd AS DECIMAL(20, 2)) AS list_usd,
    CAST(s.effective_usd AS DECIMAL(20, 2)) AS effective_usd,
    CASE
      WHEN s.list_usd IS NULL OR n.workload_name <> '' AND COALESCE(l.existed_ms, 0) < $min_existed_ms THEN NULL
      WHEN n.workload_name = '' THEN
        CAST(CAST(s.list_usd AS DECIMAL(20, 6)) * CAST($month_ms AS DECIMAL(12, 0))
          / CAST($to_ms - $from_ms AS DECIMAL(13, 0)) AS DECIMAL(20, 2))
      WHEN l.last_ms < $to_ms THEN CAST(0 AS DECIMAL(20, 2))
      ELSE CAST(CAST(s.list_usd AS DECIMAL(20, 6)) * CAST($month_ms AS DECIMAL(12, 0))
        / CAST(l.existed_ms AS DECIMAL(13, 0)) AS DECIMAL(20, 2))
    END AS list_usd_month,
    CAST(CAST(COALESCE(s.unpriced_ms, 0) AS DECIMAL(18, 3)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(18, 1)) AS unpriced_gpu_hours,
    CASE WHEN s.held_ms > 0
      THEN CAST(FLOOR(CAST(s.held_ms - s.unknown_ms AS DOUBLE) * CAST(100 AS DOUBLE) / CAST(s.held_ms AS DOUBLE)) AS BIGINT)
    END AS known_percent,
    COALESCE(f.notes, 0) AS data_notes
  FROM named n
  LEFT JOIN spent s ON s.cluster = n.cluster AND s.namespace = n.namespace
    AND s.workload_kind = n.workload_kind AND s.workload_name = n.workload_name
  LEFT JOIN life l ON l.cluster = n.cluster AND l.namespace = n.namespace
    AND l.workload_kind = n.workload_kind AND l.workload_name = n.workload_name
  LEFT JOIN newest w ON w.place = 1 AND w.cluster = n.cluster AND w.namespace = n.namespace
    AND w.workload_kind = n.workload_kind AND w.workload_name = n.workload_name
  LEFT JOIN newest_details d ON d.place = 1 AND d.cluster = n.cluster AND d.namespace = n.namespace
    AND d.workload_kind = n.workload_kind AND d.workload_name = n.workload_name
  LEFT JOIN faults f ON f.cluster = n.cluster AND f.namespace = n.namespace
    AND f.kind = n.workload_kind AND f.name = n.workload_name
)
SELECT *
FROM whole
ORDER BY list_usd DESC NULLS LAST, gpu_hours DESC, cluster, namespace, workload_kind, workload_name
