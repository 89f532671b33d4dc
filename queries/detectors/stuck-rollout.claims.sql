-- Hours that a slice's holder spent without becoming ready, from end to end.
WITH slice_hours AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    COALESCE(instance_type, '') AS instance_type,
    COALESCE(gpu_product, '') AS gpu_product,
    price_key,
    node,
    slot,
    slice,
    hour_ms,
    CAST(SUM(CASE WHEN class = 'pending' THEN ms ELSE 0 END) AS BIGINT) AS pending_ms,
    CAST(SUM(CASE WHEN class = 'pending' THEN 0 ELSE ms END) AS BIGINT) AS other_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name, COALESCE(instance_type, ''),
    COALESCE(gpu_product, ''), price_key, node, slot, slice, hour_ms
),
-- Hours in a row have the same difference to their rank.
islands AS (
  SELECT
    h.*,
    hour_ms - 3600000 * ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name, node, slot, slice
      ORDER BY hour_ms, price_key, instance_type, gpu_product
    ) AS island
  FROM slice_hours AS h
  WHERE pending_ms > 0 AND other_ms = 0
),
lengths AS (
  SELECT
    i.*,
    COUNT(*) OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name, node, slot, slice, island
    ) AS hours_in_a_row
  FROM islands AS i
),
stuck AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    instance_type,
    gpu_product,
    price_key,
    hour_ms,
    CAST(SUM(pending_ms) AS BIGINT) AS stuck_ms,
    MAX(hours_in_a_row) AS longest_hours
  FROM lengths
  WHERE hours_in_a_row >= $min_stuck_hours
  GROUP BY cluster, namespace, workload_kind, workload_name, instance_type, gpu_product, price_key,
    hour_ms
),
taken AS (
  SELECT
    c.*,
    LEAST(c.ms, x.stuck_ms) AS taken_ms
  FROM claimable AS c
  INNER JOIN found AS f
    ON c.cluster = f.cluster
    AND c.namespace = f.namespace
    AND c.workload_kind = f.workload_kind
    AND c.workload_name = f.workload_name
  INNER JOIN stuck AS x
    ON c.cluster = x.cluster
    AND c.namespace = x.namespace
    AND c.workload_kind = x.workload_kind
    AND c.workload_name = x.workload_name
    AND c.instance_type = x.instance_type
    AND c.gpu_product = x.gpu_product
    AND c.price_key = x.price_key
    AND c.hour_ms = x.hour_ms
  WHERE f.status = 'alarm' AND c.class = 'pending' AND c.ms > 0
)
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  instance_type,
  gpu_product,
  price_key,
  hour_ms,
  class,
  CAST(taken_ms AS BIGINT) AS ms_freed,
  CAST(0 AS BIGINT) AS ms_added,
  CAST(NULL AS VARCHAR) AS product_added,
  CAST(NULL AS VARCHAR) AS price_key_added
FROM taken
WHERE taken_ms > 0
ORDER BY cluster, namespace, workload_kind, workload_name, instance_type, gpu_product, price_key,
  hour_ms, class
