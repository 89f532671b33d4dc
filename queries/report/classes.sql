-- The ledger by class over the window, with what it cost and what has no price.
SELECT
  class,
  SUM(ms) AS ms,
  SUM(COALESCE(effective_cost_usd, list_cost_usd)) AS cost_usd,
  SUM(CASE WHEN COALESCE(effective_cost_usd, list_cost_usd) IS NULL THEN ms ELSE 0 END) AS unpriced_ms
FROM v_ledger
WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
GROUP BY class
ORDER BY class
