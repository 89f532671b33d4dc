-- The 95th percentile of both latencies of one workload over some days, from bucket counts: the bound of
-- the first bucket that holds 19 of 20 observations. Where engines of different buckets served, a bound
-- that some of them lack counts too few, so the percentile is never too low.
WITH summed AS (
  SELECT
    histogram,
    le_micro,
    CAST(SUM(observations) AS BIGINT) AS observations
  FROM workload_latency_hours
  WHERE cluster = $cluster
    AND namespace = $namespace
    AND workload_kind = $kind
    AND workload_name = $workload
    AND hour_ms >= $from_ms
    AND hour_ms < $to_ms
    AND (histogram = 'ttft' OR histogram = 'itl')
  GROUP BY histogram, le_micro
),
totals AS (
  SELECT
    histogram,
    le_micro,
    observations,
    MAX(observations) OVER (PARTITION BY histogram) AS total
  FROM summed
)
SELECT
  histogram,
  MIN(CASE WHEN total > 0 AND observations * 20 >= total * 19 THEN le_micro END) AS p95_micro
FROM totals
GROUP BY histogram
ORDER BY histogram
