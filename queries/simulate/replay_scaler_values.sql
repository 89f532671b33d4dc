-- What the scaled objects of a range said of their own metric, the most in each bucket.
SELECT
  namespace,
  scaler_name,
  CAST(round(extract(epoch FROM ts) * 1000) AS BIGINT)
    - CAST(round(extract(epoch FROM ts) * 1000) AS BIGINT) % 300000 AS bucket_ms,
  MAX(metric_value) AS metric_value
FROM scaler_samples
WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
  AND cluster = $cluster
  AND namespace >= $first_namespace AND namespace <= $last_namespace
  AND scaler_kind = 'scaledobject.keda.sh'
  AND metric_value IS NOT NULL
GROUP BY
  namespace,
  scaler_name,
  CAST(round(extract(epoch FROM ts) * 1000) AS BIGINT)
    - CAST(round(extract(epoch FROM ts) * 1000) AS BIGINT) % 300000
ORDER BY namespace, scaler_name, bucket_ms
