-- The ledger by class over the window, with what it cost and what has no price.
SELECT
  class,
  CAST(SUM(ms) AS BIGINT) AS ms,
  SUM(cost_usd) AS cost_usd,
  CAST(SUM(CASE WHEN unpriced THEN ms ELSE 0 END) AS BIGINT) AS unpriced_ms
FROM report_days
WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
GROUP BY class
ORDER BY class
