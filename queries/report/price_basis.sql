-- Which prices the ledger's costs of the window rest on: what was billed, what was agreed, or the list.
SELECT DISTINCT
  CASE
    WHEN p.effective_usd_per_gpu_hour IS NOT NULL THEN 'effective'
    WHEN p.contracted_usd_per_gpu_hour IS NOT NULL THEN 'contracted'
    ELSE 'list'
  END AS basis
FROM prices AS p
INNER JOIN (
  SELECT DISTINCT cluster, price_key
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
) AS l ON l.cluster = p.cluster AND l.price_key = p.price_key
WHERE COALESCE(p.effective_usd_per_gpu_hour, p.contracted_usd_per_gpu_hour, p.list_usd_per_gpu_hour) IS NOT NULL
ORDER BY basis
