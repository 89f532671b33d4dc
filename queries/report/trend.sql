-- The ledger of the thirteen weeks up to the window's end, by week, counted back from that end: a week
-- of which the lake holds less is there with the days that it has.
WITH days AS (
  SELECT
    date,
    class,
    ms,
    effective_cost_usd,
    CAST(($window_end_ms - CAST(round(extract(epoch FROM hour) * 1000) AS BIGINT) - 1) AS BIGINT) AS back_ms
  FROM v_ledger
  WHERE date < CAST($to_date AS DATE) AND final
),
weeks AS (
  SELECT
    CAST((back_ms - back_ms % 604800000) AS BIGINT) AS back_week_ms,
    date,
    class,
    ms,
    effective_cost_usd
  FROM days
  WHERE back_ms >= 0 AND back_ms < 7862400000
)
SELECT
  $window_end_ms - back_week_ms - 604800000 AS week_start_ms,
  class,
  CAST(SUM(ms) AS BIGINT) AS ms,
  CAST(SUM(effective_cost_usd) AS DECIMAL(38, 6)) AS cost_usd,
  CAST(SUM(CASE WHEN effective_cost_usd IS NULL THEN ms ELSE 0 END) AS BIGINT) AS unpriced_ms
FROM weeks
GROUP BY back_week_ms, class
ORDER BY week_start_ms, class
