-- What a model's GPUs cost an hour, and a million of its tokens, over the window. Basis `allocation`
-- counts all that its workloads held, `usage` only what served.
WITH spent AS (
  SELECT
    cluster,
    model,
    CAST(SUM(cost_usd) AS DECIMAL(38, 6)) AS held_usd,
    CAST(SUM(CASE WHEN class IN ('productive', 'serving') THEN cost_usd END) AS DECIMAL(38, 6)) AS served_usd
  FROM report_days
  WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE) AND final AND model IS NOT NULL
  GROUP BY cluster, model
),
owners AS (
  SELECT DISTINCT cluster, namespace, workload_kind, workload_name, model
  FROM report_days
  WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE) AND final AND model IS NOT NULL
),
tokens AS (
  SELECT
    o.cluster,
    o.model,
    CAST(SUM(h.prompt_tokens + h.output_tokens) AS BIGINT) AS tokens
  FROM workload_hours AS h
  INNER JOIN owners AS o
    ON o.cluster = h.cluster
    AND o.namespace = h.namespace
    AND o.workload_kind = h.workload_kind
    AND o.workload_name = h.workload_name
  WHERE h.hour_ms >= $window_start_ms AND h.hour_ms < $window_end_ms
  GROUP BY o.cluster, o.model
)
SELECT
  s.cluster,
  s.model,
  t.tokens,
  s.held_usd,
  CAST(s.held_usd * CAST(3600000 AS DECIMAL(7, 0)) / CAST($window_end_ms - $window_start_ms AS DECIMAL(15, 0)) AS DECIMAL(38, 6))
    AS usd_per_hour,
  CASE WHEN t.tokens > 0 THEN
    CAST(s.held_usd * CAST(1000000 AS DECIMAL(7, 0)) / CAST(t.tokens AS DECIMAL(19, 0)) AS DECIMAL(38, 6))
  END AS allocation_usd_per_million_tokens,
  CASE WHEN t.tokens > 0 THEN
    CAST(s.served_usd * CAST(1000000 AS DECIMAL(7, 0)) / CAST(t.tokens AS DECIMAL(19, 0)) AS DECIMAL(38, 6))
  END AS usage_usd_per_million_tokens
FROM spent AS s
LEFT JOIN tokens AS t ON t.cluster = s.cluster AND t.model = s.model
ORDER BY s.cluster, s.model
