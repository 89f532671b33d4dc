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
INNER JOIN (
  -- Without a queue the work was slower, and it was work.
  SELECT DISTINCT cluster, namespace, workload_kind, workload_name, hour_ms
  FROM workload_hours
  WHERE queued_ms > 0
) AS q
  ON c.cluster = q.cluster
  AND c.namespace = q.namespace
  AND c.workload_kind = q.workload_kind
  AND c.workload_name = q.workload_name
  AND c.hour_ms = q.hour_ms
WHERE f.status = 'alarm' AND c.class = 'starved' AND c.ms > 0
ORDER BY c.cluster, c.namespace, c.workload_kind, c.workload_name, c.instance_type, c.gpu_product,
  c.price_key, c.hour_ms, c.class
