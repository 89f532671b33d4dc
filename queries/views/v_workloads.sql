-- One row per workload and interval of unchanged facts; day-clipped rows are joined up again.
WITH marked AS (
  SELECT
    w.*,
    CASE
      WHEN LAG(valid_to_ms) OVER facts = valid_from_ms THEN CAST(0 AS BIGINT)
      ELSE CAST(1 AS BIGINT)
    END AS starts
  FROM workloads w
  WINDOW facts AS (
    PARTITION BY cluster, namespace, workload_kind, workload_name, model, model_params_b,
      gpu_product, gpu_milli_per_replica, replicas, min_replicas, max_replicas, serving_system,
      autoscaler, team
    ORDER BY valid_from_ms
  )
),
islands AS (
  SELECT
    m.*,
    SUM(starts) OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name, model, model_params_b,
        gpu_product, gpu_milli_per_replica, replicas, min_replicas, max_replicas, serving_system,
        autoscaler, team
      ORDER BY valid_from_ms
    ) AS island
  FROM marked m
)
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  model,
  model_params_b,
  gpu_product,
  CAST(gpu_milli_per_replica AS DOUBLE) / CAST(1000 AS DOUBLE) AS gpus_per_replica,
  replicas,
  min_replicas,
  max_replicas,
  serving_system,
  autoscaler,
  team,
  to_timestamp_millis(MIN(valid_from_ms)) AS valid_from,
  to_timestamp_millis(MAX(valid_to_ms)) AS valid_to
FROM islands
GROUP BY
  cluster, namespace, workload_kind, workload_name, model, model_params_b, gpu_product,
  gpu_milli_per_replica, replicas, min_replicas, max_replicas, serving_system, autoscaler, team,
  island
