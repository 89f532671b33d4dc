/*---
name: workload_facts
title: Each workload as it last was in the window, and how long it existed
grain: [cluster, namespace, workload_kind, workload_name]
requires: [workloads, ledger]
order: 91
---*/
WITH clipped AS (
  SELECT
    w.*,
    CASE WHEN valid_from_ms < $window_start_ms THEN $window_start_ms ELSE valid_from_ms END
      AS from_ms,
    CASE WHEN valid_to_ms > $window_end_ms THEN $window_end_ms ELSE valid_to_ms END AS to_ms
  FROM workloads AS w
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms
),
ranked AS (
  SELECT
    c.*,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY to_ms DESC, from_ms DESC
    ) AS newest
  FROM clipped AS c
),
existence AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    MIN(from_ms) AS first_ms,
    MAX(to_ms) AS last_ms,
    CAST(SUM(to_ms - from_ms) AS BIGINT) AS existed_ms
  FROM clipped
  GROUP BY cluster, namespace, workload_kind, workload_name
),
held AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    price_key,
    CAST(SUM(ms) AS BIGINT) AS ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND workload_name <> '' AND final
  GROUP BY cluster, namespace, workload_kind, workload_name, price_key
),
held_ranked AS (
  SELECT
    h.*,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY ms DESC, price_key
    ) AS most
  FROM held AS h
)
SELECT
  r.cluster,
  r.namespace,
  r.workload_kind,
  r.workload_name,
  r.valid_from_ms,
  r.valid_to_ms,
  r.uid,
  r.workload_class,
  r.serving_system,
  r.model,
  r.model_raw,
  r.model_source,
  r.model_candidates_json,
  r.model_params_b,
  r.quantisation,
  r.max_model_len,
  r.max_num_seqs,
  r.engine,
  r.tensor_parallel,
  r.pipeline_parallel,
  r.role,
  r.gpu_product,
  r.gpu_milli_per_replica,
  r.replicas,
  r.min_replicas,
  r.max_replicas,
  r.floor_replicas,
  r.floor_why,
  r.autoscaler,
  r.team,
  r.standby_declared,
  r.slo_ttft_p95_ms,
  r.slo_itl_p95_ms,
  r.slo_source,
  r.remedy_object,
  r.remedy_replicas_field,
  r.remedy_tier_field,
  r.owner_chain_json,
  h.price_key,
  e.first_ms,
  e.last_ms,
  e.existed_ms,
  CAST(CASE WHEN e.last_ms >= $window_end_ms THEN 1 ELSE 0 END AS BIGINT) AS alive_at_end
FROM ranked AS r
INNER JOIN existence AS e
  ON r.cluster = e.cluster
  AND r.namespace = e.namespace
  AND r.workload_kind = e.workload_kind
  AND r.workload_name = e.workload_name
LEFT JOIN held_ranked AS h
  ON r.cluster = h.cluster
  AND r.namespace = h.namespace
  AND r.workload_kind = h.workload_kind
  AND r.workload_name = h.workload_name
  AND h.most = 1
WHERE r.newest = 1
ORDER BY r.cluster, r.namespace, r.workload_kind, r.workload_name
