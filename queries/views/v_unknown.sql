-- What blindness costs: unknown GPU time by hour, with the telemetry line that would resolve it.
--
-- signal is an id of `idleproof check`: gpu-activity where the hour's GPU was not seen, engine-counters
-- where it was and the holder's engines were not, requests where nobody is known to hold what works,
-- contradiction where both spoke and disagree, or where it worked and no engine counted: no line
-- resolves that by itself. A whole hour without anything names gpu-activity: the scrape itself failed.
WITH by_gpu AS (
  SELECT cluster, uuid, hour_ms, SUM(known_ms) AS known_ms
  FROM gpu_hours
  GROUP BY cluster, uuid, hour_ms
),
by_node AS (
  SELECT cluster, node, hour_ms, SUM(known_ms) AS known_ms
  FROM gpu_hours
  GROUP BY cluster, node, hour_ms
),
engines AS (
  SELECT cluster, namespace, workload_kind, workload_name, hour_ms, SUM(known_ms) AS known_ms
  FROM workload_hours
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms
),
blind AS (
  SELECT
    l.*,
    CAST(round(extract(epoch FROM l.hour) * 1000) AS BIGINT) AS at_ms
  FROM v_ledger AS l
  WHERE l.class = 'unknown'
)
SELECT
  l.hour,
  l.date,
  l.cluster,
  l.node,
  l.gpu_slot,
  l.namespace,
  l.workload_kind,
  l.workload_name,
  l.gpu_product,
  l.team,
  CASE
    -- Less than half of the hour seen is not seen.
    WHEN COALESCE(CASE WHEN l.gpu_uuid IS NULL THEN n.known_ms ELSE g.known_ms END, 0) < 1800000
      THEN 'gpu-activity'
    WHEN l.workload_name = '' THEN 'requests'
    WHEN COALESCE(e.known_ms, 0) = 0 THEN 'engine-counters'
    ELSE 'contradiction'
  END AS signal,
  l.ms,
  COALESCE(l.effective_cost_usd, l.list_cost_usd) AS cost_usd
FROM blind AS l
LEFT JOIN by_gpu AS g ON g.cluster = l.cluster AND g.uuid = l.gpu_uuid AND g.hour_ms = l.at_ms
LEFT JOIN by_node AS n ON n.cluster = l.cluster AND n.node = l.node AND n.hour_ms = l.at_ms
LEFT JOIN engines AS e
  ON e.cluster = l.cluster
  AND e.namespace = l.namespace
  AND e.workload_kind = l.workload_kind
  AND e.workload_name = l.workload_name
  AND e.hour_ms = l.at_ms
