-- What GPU time cost by day, cluster, GPU and class; and, where a bill was read, what of it no GPU
-- time explains, by provider and SKU, over the whole window.
SELECT
  date,
  cluster,
  'gpu time' AS what,
  gpu_product,
  class,
  CAST(NULL AS VARCHAR) AS provider,
  CAST(NULL AS VARCHAR) AS sku,
  CAST(CAST(SUM(ms) AS DECIMAL(18, 3)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(18, 3)) AS gpu_hours,
  CAST(SUM(list_cost_usd) AS DECIMAL(38, 6)) AS list_cost_usd,
  CAST(SUM(effective_cost_usd) AS DECIMAL(38, 6)) AS effective_cost_usd,
  CAST(SUM(CASE WHEN list_cost_usd IS NULL THEN ms ELSE 0 END) AS BIGINT) AS unpriced_ms
FROM v_ledger
GROUP BY date, cluster, gpu_product, class
UNION ALL
SELECT
  CAST(NULL AS DATE) AS date,
  cluster,
  'bill residual' AS what,
  CAST(NULL AS VARCHAR) AS gpu_product,
  CAST(NULL AS VARCHAR) AS class,
  provider,
  sku,
  CAST(NULL AS DECIMAL(18, 3)) AS gpu_hours,
  CAST(NULL AS DECIMAL(38, 6)) AS list_cost_usd,
  residual_usd AS effective_cost_usd,
  CAST(0 AS BIGINT) AS unpriced_ms
FROM bill_lines
WHERE residual_usd <> 0
