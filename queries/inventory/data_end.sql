-- The last sample of any kind that each cluster's sources hold.
WITH ends AS (
  SELECT cluster, MAX(ts) AS last_ts FROM misc_samples WHERE date >= CAST($from_date AS DATE) GROUP BY cluster
  UNION ALL
  SELECT cluster, MAX(ts) AS last_ts FROM gpu_samples WHERE date >= CAST($from_date AS DATE) GROUP BY cluster
  UNION ALL
  SELECT cluster, MAX(ts) AS last_ts FROM serving_samples WHERE date >= CAST($from_date AS DATE) GROUP BY cluster
)
SELECT
  cluster,
  CAST(ROUND(EXTRACT(EPOCH FROM MAX(last_ts)) * 1000) AS BIGINT) AS last_ms
FROM ends
WHERE last_ts IS NOT NULL
GROUP BY cluster
ORDER BY cluster
