-- The changes of scale in the window that moved the most money, and how many there were in all. The cost is that
-- of what the change added or took off, until the same was changed again or the data ends.
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  CAST(round(extract(epoch FROM seen) * 1000) AS BIGINT) AS seen_ms,
  what,
  before,
  after,
  actor,
  CAST(round(gpus_added * 1000.0) AS BIGINT) AS gpu_milli_added,
  CAST(cost_usd AS DECIMAL(38, 6)) AS cost_usd,
  COUNT(*) OVER () AS changes
FROM v_scaling_events
WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
ORDER BY
  CASE WHEN cost_usd < 0 THEN 0 - cost_usd ELSE cost_usd END DESC NULLS LAST,
  seen, cluster, namespace, workload_kind, workload_name, object, field
LIMIT 25
