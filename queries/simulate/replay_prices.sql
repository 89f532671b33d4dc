-- What each workload's GPU-milliseconds cost, by price key: effective, else contracted, else list.
SELECT
  l.cluster,
  l.namespace,
  l.workload_kind,
  l.workload_name,
  CAST(SUM(l.ms) AS BIGINT) AS ms,
  MAX(COALESCE(p.effective_usd_per_gpu_hour, p.contracted_usd_per_gpu_hour, p.list_usd_per_gpu_hour)) AS price_usd
FROM ledger AS l
LEFT JOIN prices AS p ON p.cluster = l.cluster AND p.price_key = l.price_key
WHERE l.date >= CAST($from_date AS DATE) AND l.date < CAST($to_date AS DATE)
  AND l.workload_name <> '' AND l.class <> 'absent'
GROUP BY l.cluster, l.namespace, l.workload_kind, l.workload_name, l.price_key
ORDER BY l.cluster, l.namespace, l.workload_name, l.workload_kind, ms
