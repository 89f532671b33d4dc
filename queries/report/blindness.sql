-- What was not seen in each cluster's window, by the telemetry line that would resolve it, dearest first.
WITH windows AS (
  SELECT cluster, MIN(window_start_ms) AS from_ms, MAX(window_end_ms) AS to_ms
  FROM findings
  GROUP BY cluster
)
SELECT
  u.cluster,
  u.signal,
  CAST(SUM(u.ms) AS BIGINT) AS ms,
  SUM(u.cost_usd) AS cost_usd,
  CAST(SUM(CASE WHEN u.cost_usd IS NULL THEN u.ms ELSE 0 END) AS BIGINT) AS unpriced_ms,
  CAST(COUNT(DISTINCT u.node) AS BIGINT) AS nodes,
  CAST(COUNT(DISTINCT u.namespace || '/' || u.workload_name) AS BIGINT) AS holders
FROM v_unknown AS u
JOIN windows AS w
  ON w.cluster = u.cluster
  AND u.hour >= to_timestamp_millis(w.from_ms)
  AND u.hour < to_timestamp_millis(w.to_ms)
GROUP BY u.cluster, u.signal
ORDER BY cost_usd DESC NULLS LAST, ms DESC, cluster, signal
