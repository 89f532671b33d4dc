-- Unknown GPU time by node and day: where telemetry was missing or contradictory. Read from the ledger as it
-- was observed: nothing claims what is unknown, so that `v_ledger` would show the same rows.
SELECT
  cluster,
  node,
  namespace,
  workload_kind,
  workload_name,
  CAST(MIN(date) AS VARCHAR) AS first_day,
  CAST(MAX(date) AS VARCHAR) AS last_day,
  SUM(ms) AS ms
FROM ledger
WHERE date >= CAST($from_date AS DATE)
  AND date < CAST($to_date AS DATE)
  AND class = 'unknown'
GROUP BY cluster, node, namespace, workload_kind, workload_name
HAVING SUM(ms) > 0
ORDER BY ms DESC, cluster, node, namespace, workload_kind, workload_name
LIMIT 40
