-- The thirteen weeks up to the window's end, by day and class; the report adds days up to weeks, counted
-- back from that end, and sees how many closed days of each the lake holds.
SELECT
  CAST(round(extract(epoch FROM CAST(date AS TIMESTAMP)) * 1000) AS BIGINT) AS day_ms,
  class,
  CAST(SUM(ms) AS BIGINT) AS ms,
  CAST(SUM(cost_usd) AS DECIMAL(38, 6)) AS cost_usd
FROM report_days
WHERE date >= CAST($weeks_date AS DATE) AND date < CAST($to_date AS DATE) AND final
GROUP BY date, class
ORDER BY date, class
