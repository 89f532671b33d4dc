-- Each workload's part of the ledger by class.
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  class,
  MAX(model) AS model,
  MAX(gpu_product) AS gpu_product,
  MAX(team) AS team,
  CAST(SUM(ms) AS BIGINT) AS ms,
  SUM(cost_usd) AS cost_usd
FROM report_days
WHERE date >= CAST($from_date AS DATE)
  AND date < CAST($to_date AS DATE)
  AND workload_name <> ''
GROUP BY cluster, namespace, workload_kind, workload_name, class
ORDER BY cluster, namespace, workload_kind, workload_name, class
