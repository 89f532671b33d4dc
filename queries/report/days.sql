-- The ledger by day and class, unclosed days included.
SELECT
  CAST(date AS VARCHAR) AS day,
  class,
  CAST(SUM(ms) AS BIGINT) AS ms,
  CAST(MIN(CASE WHEN final THEN 1 ELSE 0 END) AS BIGINT) AS closed
FROM report_days
WHERE date >= CAST($from_date AS DATE) AND date < CAST($shown_date AS DATE)
GROUP BY date, class
ORDER BY date, class
