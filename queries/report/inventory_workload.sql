-- One workload as it last was, with all that is known of it.
WITH newest AS (
  SELECT w.*, ROW_NUMBER() OVER (ORDER BY valid_to_ms DESC, valid_from_ms DESC) AS place
  FROM workloads w
  WHERE cluster = $cluster AND namespace = $namespace
    AND workload_kind = $workload_kind AND workload_name = $workload_name
),
details AS (
  SELECT d.*, ROW_NUMBER() OVER (ORDER BY valid_to_ms DESC, valid_from_ms DESC) AS place
  FROM workload_details d
  WHERE cluster = $cluster AND namespace = $namespace
    AND workload_kind = $workload_kind AND workload_name = $workload_name
)
SELECT
  w.model_raw,
  w.model_source,
  w.model_candidates_json,
  w.quantisation,
  w.max_model_len,
  w.role,
  w.floor_replicas,
  w.floor_why,
  w.standby_declared,
  w.slo_ttft_p95_ms,
  w.slo_itl_p95_ms,
  w.slo_source,
  w.remedy_object,
  w.remedy_replicas_field,
  w.remedy_tier_field,
  d.model_name,
  d.active_params_b,
  d.params_from,
  d.quantisation_from,
  d.served_models_json,
  d.tensor_parallel,
  d.pipeline_parallel,
  d.data_parallel,
  d.expert_parallel,
  d.parallel_json,
  d.gpus_expected,
  d.traffic_percent,
  d.routes_json,
  d.related_json,
  d.slo_candidates_json,
  d.chain_json,
  d.autoscalers_json
FROM newest w
LEFT JOIN details d ON d.place = 1
WHERE w.place = 1
