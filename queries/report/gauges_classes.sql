-- GPU-hours and dollars of the window by cluster and class.
SELECT
  cluster,
  class,
  CAST(CAST(SUM(ms) AS DECIMAL(18, 3)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(18, 3)) AS gpu_hours,
  CAST(SUM(cost_usd) AS DECIMAL(38, 6)) AS cost_usd,
  CAST(CAST(SUM(CASE WHEN unpriced THEN ms ELSE 0 END) AS DECIMAL(18, 3)) / CAST(3600000 AS DECIMAL(7, 0))
    AS DECIMAL(18, 3)) AS unpriced_gpu_hours
FROM report_days
WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE) AND final
GROUP BY cluster, class
ORDER BY cluster, class
