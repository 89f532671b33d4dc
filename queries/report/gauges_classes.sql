-- GPU-hours and dollars of the window by cluster and class.
SELECT
  cluster,
  class,
  CAST(CAST(SUM(ms) AS DECIMAL(18, 3)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(18, 3)) AS gpu_hours,
  CAST(SUM(effective_cost_usd) AS DECIMAL(38, 6)) AS cost_usd,
  CAST(CAST(SUM(CASE WHEN effective_cost_usd IS NULL THEN ms ELSE 0 END) AS DECIMAL(18, 3)) / CAST(3600000 AS DECIMAL(7, 0))
    AS DECIMAL(18, 3)) AS unpriced_gpu_hours
FROM v_ledger
WHERE date >= $from_date AND date < $to_date AND final
GROUP BY cluster, class
ORDER BY cluster, class
