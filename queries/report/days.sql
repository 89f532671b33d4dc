-- The ledger by day and class, unclosed days included.
SELECT
  CAST(date AS VARCHAR) AS day,
  class,
  SUM(ms) AS ms,
  MIN(CASE WHEN final THEN 1 ELSE 0 END) AS closed
FROM v_ledger
WHERE date >= CAST($from_date AS DATE) AND date < CAST($shown_date AS DATE)
GROUP BY date, class
ORDER BY date, class
