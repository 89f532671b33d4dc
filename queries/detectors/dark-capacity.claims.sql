SELECT
  c.cluster,
  c.namespace,
  c.workload_kind,
  c.workload_name,
  c.instance_type,
  c.gpu_product,
  c.price_key,
  c.hour_ms,
  c.class,
  c.ms AS ms_freed,
  CAST(0 AS BIGINT) AS ms_added,
  CAST(NULL AS VARCHAR) AS product_added,
  CAST(NULL AS VARCHAR) AS price_key_added
FROM claimable AS c
INNER JOIN found AS f
  ON c.cluster = f.cluster
  AND c.namespace = f.namespace
  AND c.workload_kind = f.workload_kind
  AND c.workload_name = f.workload_name
LEFT JOIN scaler_demand AS q
  ON c.cluster = q.cluster
  AND c.namespace = q.namespace
  AND c.workload_kind = q.workload_kind
  AND c.workload_name = q.workload_name
  AND c.hour_ms = q.hour_ms
-- Nothing that something waited for.
WHERE f.status = 'alarm' AND c.class = 'dark' AND c.ms > 0 AND COALESCE(q.asked_ms, 0) = 0
ORDER BY c.cluster, c.namespace, c.workload_kind, c.workload_name, c.instance_type, c.gpu_product,
  c.price_key, c.hour_ms, c.class
