-- What each holder of GPUs cost in the window's last seven days against the seven before, at the same
-- prices: so what moved is hours and tiers, never a price. Classes say whether it moved into waste.
WITH days AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CASE WHEN workload_name = '' THEN COALESCE(gpu_product, '') ELSE '' END AS free_product,
    date >= CAST($last_week_date AS DATE) AS is_last,
    class IN ('surplus', 'misplaced', 'starved', 'dark', 'unallocated') AS is_waste,
    ms,
    COALESCE(cost_usd, CAST(0 AS DECIMAL(38, 10))) AS cost_usd
  FROM report_days
  WHERE date >= CAST($week_before_date AS DATE) AND date < CAST($to_date AS DATE) AND final
)
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  free_product,
  CAST(SUM(CASE WHEN is_last THEN 0 ELSE ms END) AS BIGINT) AS before_ms,
  CAST(SUM(CASE WHEN is_last THEN ms ELSE 0 END) AS BIGINT) AS after_ms,
  CAST(SUM(CASE WHEN is_last THEN 0 ELSE cost_usd END) AS DECIMAL(38, 6)) AS before_usd,
  CAST(SUM(CASE WHEN is_last THEN cost_usd ELSE 0 END) AS DECIMAL(38, 6)) AS after_usd,
  CAST(SUM(CASE WHEN is_waste AND NOT is_last THEN cost_usd ELSE 0 END) AS DECIMAL(38, 6)) AS before_waste_usd,
  CAST(SUM(CASE WHEN is_waste AND is_last THEN cost_usd ELSE 0 END) AS DECIMAL(38, 6)) AS after_waste_usd
FROM days
GROUP BY cluster, namespace, workload_kind, workload_name, free_product
ORDER BY cluster, namespace, workload_kind, workload_name, free_product
