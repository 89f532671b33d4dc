-- Demand and supply of a range of workloads in the finest buckets that are kept, in the order of their keys.
SELECT
  namespace,
  workload_kind,
  workload_name,
  bucket_ms,
  known_ms,
  replica_ms,
  requests,
  prompt_tokens,
  CASE WHEN prefix_hit_tokens > prompt_tokens THEN prompt_tokens ELSE prefix_hit_tokens END AS hit_tokens,
  output_tokens,
  queue_growth + rejected AS waiting_requests,
  queue_max,
  running_max,
  kv_usage_ppm_max,
  cpu_ms
FROM workload_5m
WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
  AND cluster = $cluster
  AND namespace >= $first_namespace AND namespace <= $last_namespace
  AND (namespace > $first_namespace OR workload_name >= $first_name)
  AND (namespace < $last_namespace OR workload_name <= $last_name)
ORDER BY namespace, workload_name, workload_kind, bucket_ms
