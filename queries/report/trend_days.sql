-- How many closed days the lake holds of each week of the trend.
WITH days AS (
  SELECT DISTINCT
    date,
    CAST(($window_end_ms - CAST(round(extract(epoch FROM CAST(date AS TIMESTAMP)) * 1000) AS BIGINT) - 1) AS BIGINT) AS back_ms
  FROM ledger
  WHERE date < CAST($to_date AS DATE) AND final AND class <> 'absent'
)
SELECT
  $window_end_ms - CAST((back_ms - back_ms % 604800000) AS BIGINT) - 604800000 AS week_start_ms,
  CAST(COUNT(*) AS BIGINT) AS days
FROM days
WHERE back_ms >= 0 AND back_ms < 7862400000
GROUP BY CAST((back_ms - back_ms % 604800000) AS BIGINT)
ORDER BY week_start_ms
