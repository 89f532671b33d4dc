-- What is left of hours in which no replica did anything.
WITH resting AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    hour_ms,
    CAST(SUM(ms) AS BIGINT) AS quiet_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms
  HAVING SUM(CASE WHEN class IN ('lull', 'dark') THEN 0 ELSE 1 END) = 0
),
-- What waited in its queue was waited for, whatever the GPU did.
asleep AS (
  SELECT r.*
  FROM resting AS r
  LEFT JOIN scaler_demand AS q
    ON r.cluster = q.cluster
    AND r.namespace = q.namespace
    AND r.workload_kind = q.workload_kind
    AND r.workload_name = q.workload_name
    AND r.hour_ms = q.hour_ms
  WHERE COALESCE(q.asked_ms, 0) = 0
),
taken AS (
  SELECT
    c.*,
    c.ms AS taken_ms
  FROM claimable AS c
  INNER JOIN found AS f
    ON c.cluster = f.cluster
    AND c.namespace = f.namespace
    AND c.workload_kind = f.workload_kind
    AND c.workload_name = f.workload_name
  INNER JOIN asleep AS a
    ON c.cluster = a.cluster
    AND c.namespace = a.namespace
    AND c.workload_kind = a.workload_kind
    AND c.workload_name = a.workload_name
    AND c.hour_ms = a.hour_ms
  WHERE f.status = 'alarm' AND c.class IN ('dark', 'lull') AND c.ms > 0
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
