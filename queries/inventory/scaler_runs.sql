-- What horizontal autoscalers say of themselves, as runs of one value; a gap beyond the hold ends a run.
WITH wide AS (
  SELECT
    namespace,
    scaler_name,
    CAST(ROUND(EXTRACT(EPOCH FROM ts) * 1000) AS BIGINT) AS ts_ms,
    min_replicas,
    max_replicas,
    desired_replicas
  FROM scaler_samples
  WHERE cluster = $cluster
    AND scaler_kind = 'horizontalpodautoscaler.autoscaling'
    AND date >= CAST($from_date AS DATE)
    AND date <= CAST($to_date AS DATE)
),
samples AS (
  SELECT 'kube_horizontalpodautoscaler_spec_min_replicas' AS metric, namespace, scaler_name, ts_ms, MAX(min_replicas) AS value
  FROM wide WHERE min_replicas IS NOT NULL GROUP BY namespace, scaler_name, ts_ms
  UNION ALL
  SELECT 'kube_horizontalpodautoscaler_spec_max_replicas' AS metric, namespace, scaler_name, ts_ms, MAX(max_replicas) AS value
  FROM wide WHERE max_replicas IS NOT NULL GROUP BY namespace, scaler_name, ts_ms
  UNION ALL
  SELECT 'kube_horizontalpodautoscaler_status_desired_replicas' AS metric, namespace, scaler_name, ts_ms, MAX(desired_replicas) AS value
  FROM wide WHERE desired_replicas IS NOT NULL GROUP BY namespace, scaler_name, ts_ms
),
marked AS (
  SELECT
    s.*,
    CASE
      WHEN LAG(value) OVER scaler = value AND ts_ms - LAG(ts_ms) OVER scaler <= $hold_ms
      THEN CAST(0 AS BIGINT)
      ELSE CAST(1 AS BIGINT)
    END AS starts
  FROM samples s
  WINDOW scaler AS (PARTITION BY metric, namespace, scaler_name ORDER BY ts_ms)
),
islands AS (
  SELECT
    m.*,
    SUM(starts) OVER (PARTITION BY metric, namespace, scaler_name ORDER BY ts_ms) AS island
  FROM marked m
)
SELECT
  metric,
  namespace,
  scaler_name,
  MIN(ts_ms) AS first_ms,
  MAX(ts_ms) AS last_ms,
  MIN(value) AS value
FROM islands
GROUP BY metric, namespace, scaler_name, island
ORDER BY metric, namespace, scaler_name, first_ms
