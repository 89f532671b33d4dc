SELECT
  c.cluster,
  c.instance_type,
  c.gpu_product,
  c.namespace,
  c.workload_kind,
  c.workload_name,
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
  AND c.instance_type = f.instance_type
  AND c.gpu_product = f.gpu_product
WHERE f.status = 'alarm' AND c.class = 'unallocated' AND c.ms > 0
ORDER BY c.cluster, c.instance_type, c.gpu_product, c.namespace, c.workload_kind, c.workload_name,
  c.price_key, c.hour_ms, c.class
