-- What each holder of GPUs cost in the window's last seven days against the seven before, at the same
-- prices: so what moved is hours and tiers, never a price. Classes say whether it moved into waste.
WITH hours AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CASE WHEN workload_name = '' THEN COALESCE(gpu_product, '') ELSE '' END AS free_product,
    CASE WHEN CAST(round(extract(epoch FROM hour) * 1000) AS BIGINT) >= $window_end_ms - 604800000 THEN 1 ELSE 0 END AS is_last,
    class IN ('surplus', 'misplaced', 'starved', 'dark', 'unallocated') AS is_waste,
    ms,
    effective_cost_usd AS cost_usd
  FROM v_ledger
  WHERE final
    AND CAST(round(extract(epoch FROM hour) * 1000) AS BIGINT) >= $window_end_ms - 1209600000
    AND CAST(round(extract(epoch FROM hour) * 1000) AS BIGINT) < $window_end_ms
)
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  free_product,
  CAST(SUM(CASE WHEN is_last = 0 THEN ms ELSE 0 END) AS BIGINT) AS before_ms,
  CAST(SUM(CASE WHEN is_last = 1 THEN ms ELSE 0 END) AS BIGINT) AS after_ms,
  CAST(COALESCE(SUM(CASE WHEN is_last = 0 THEN cost_usd END), CAST(0 AS DECIMAL(38, 10))) AS DECIMAL(38, 6)) AS before_usd,
  CAST(COALESCE(SUM(CASE WHEN is_last = 1 THEN cost_usd END), CAST(0 AS DECIMAL(38, 10))) AS DECIMAL(38, 6)) AS after_usd,
  CAST(COALESCE(SUM(CASE WHEN is_last = 0 AND is_waste THEN cost_usd END), CAST(0 AS DECIMAL(38, 10))) AS DECIMAL(38, 6))
    AS before_waste_usd,
  CAST(COALESCE(SUM(CASE WHEN is_last = 1 AND is_waste THEN cost_usd END), CAST(0 AS DECIMAL(38, 10))) AS DECIMAL(38, 6))
    AS after_waste_usd
FROM hours
GROUP BY cluster, namespace, workload_kind, workload_name, free_product
ORDER BY cluster, namespace, workload_kind, workload_name, free_product
