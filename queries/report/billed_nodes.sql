-- Every node of the window with what a bill calls it, and the GPU time of it that the ledger holds.
SELECT
  l.cluster,
  COALESCE(n.provider_id, '') AS provider_id,
  l.price_key,
  CAST(COALESCE(n.gpu_count, 0) AS BIGINT) AS gpus,
  CAST(SUM(l.ms) AS BIGINT) AS gpu_ms
FROM ledger AS l
LEFT JOIN (
  SELECT cluster, node, MAX(provider_id) AS provider_id, MAX(gpu_count) AS gpu_count
  FROM nodes
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms
  GROUP BY cluster, node
) AS n
  ON l.cluster = n.cluster AND l.node = n.node
WHERE l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms AND l.final AND l.class <> 'absent'
GROUP BY l.cluster, COALESCE(n.provider_id, ''), l.price_key, CAST(COALESCE(n.gpu_count, 0) AS BIGINT)
ORDER BY l.cluster, provider_id, l.price_key
