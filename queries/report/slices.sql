-- The window's ledger by cluster, team, namespace, model and tier: what each held, what it cost, and
-- what of that was avoidable. Hours that nobody held stand under their own name, not under a team's.
WITH hours AS (
  SELECT
    cluster,
    CASE WHEN workload_name = '' THEN 'held by nobody' ELSE COALESCE(team, 'no team') END AS team,
    CASE WHEN workload_name = '' THEN 'held by nobody' ELSE cluster || '/' || namespace END AS namespace,
    CASE WHEN workload_name = '' THEN 'held by nobody' ELSE COALESCE(model, 'model not known') END AS model,
    COALESCE(gpu_product, 'product not known') AS tier,
    ms,
    effective_cost_usd AS spent_usd,
    CASE WHEN class IN ('surplus', 'misplaced', 'starved', 'dark', 'unallocated') THEN effective_cost_usd END AS wasted_usd,
    CASE WHEN class = 'unknown' THEN ms ELSE 0 END AS unknown_ms
  FROM v_ledger
  WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
),
slices AS (
  SELECT 1 AS place, 'cluster' AS dimension, cluster AS slice, ms, spent_usd, wasted_usd, unknown_ms FROM hours
  UNION ALL
  SELECT 2 AS place, 'team' AS dimension, team AS slice, ms, spent_usd, wasted_usd, unknown_ms FROM hours
  UNION ALL
  SELECT 3 AS place, 'namespace' AS dimension, namespace AS slice, ms, spent_usd, wasted_usd, unknown_ms FROM hours
  UNION ALL
  SELECT 4 AS place, 'model' AS dimension, model AS slice, ms, spent_usd, wasted_usd, unknown_ms FROM hours
  UNION ALL
  SELECT 5 AS place, 'tier' AS dimension, tier AS slice, ms, spent_usd, wasted_usd, unknown_ms FROM hours
)
SELECT
  CAST(place AS BIGINT) AS place,
  dimension,
  slice,
  CAST(SUM(ms) AS BIGINT) AS ms,
  CAST(SUM(unknown_ms) AS BIGINT) AS unknown_ms,
  CAST(SUM(spent_usd) AS DECIMAL(38, 6)) AS cost_usd,
  CAST(SUM(wasted_usd) AS DECIMAL(38, 6)) AS waste_usd,
  CAST(SUM(CASE WHEN spent_usd IS NULL THEN ms ELSE 0 END) AS BIGINT) AS unpriced_ms
FROM slices
GROUP BY place, dimension, slice
ORDER BY place, dimension, cost_usd DESC NULLS LAST, slice
