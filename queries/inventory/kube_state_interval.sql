-- The spacing that most samples of kube-state-metrics have.
WITH samples AS (
  SELECT
    series_fp,
    CAST(ROUND(EXTRACT(EPOCH FROM ts) * 1000) AS BIGINT) AS ts_ms
  FROM misc_samples
  WHERE cluster = $cluster
    AND metric IN ('kube_node_info', 'kube_pod_info')
    AND date >= CAST($from_date AS DATE)
    AND date <= CAST($to_date AS DATE)
),
gaps AS (
  SELECT ts_ms - LAG(ts_ms) OVER (PARTITION BY series_fp ORDER BY ts_ms) AS gap_ms
  FROM samples
)
SELECT gap_ms, COUNT(*) AS samples
FROM gaps
WHERE gap_ms > 0
GROUP BY gap_ms
ORDER BY samples DESC, gap_ms
LIMIT 1
