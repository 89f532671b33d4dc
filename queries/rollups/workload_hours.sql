/*---
name: workload_hours
title: Demand and supply of each workload by the hour
order: 114
parts: workloads
grain: [namespace, workload_kind, workload_name, hour_ms]
requires: [workload_5m]
params: {}
---*/
SELECT namespace, workload_kind, workload_name, bucket_ms - bucket_ms % 3600000 AS hour_ms,
  CAST(SUM(known_ms) AS BIGINT) AS known_ms,
  CAST(SUM(replica_ms) AS BIGINT) AS replica_ms,
  CAST(SUM(requests) AS BIGINT) AS requests,
  CAST(SUM(prompt_tokens) AS BIGINT) AS prompt_tokens,
  CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
  CAST(SUM(prefix_hit_tokens) AS BIGINT) AS prefix_hit_tokens,
  CAST(SUM(prefix_query_tokens) AS BIGINT) AS prefix_query_tokens,
  CAST(SUM(queue_growth) AS BIGINT) AS queue_growth,
  CAST(SUM(rejected) AS BIGINT) AS rejected,
  CAST(SUM(preemptions) AS BIGINT) AS preemptions,
  MAX(queue_max) AS queue_max,
  MAX(running_max) AS running_max,
  MAX(kv_usage_ppm_max) AS kv_usage_ppm_max,
  CAST(SUM(queued_ms) AS BIGINT) AS queued_ms,
  CAST(SUM(CASE WHEN lower_bound THEN 1 ELSE 0 END) AS BIGINT) AS lower_bound_buckets,
  MAX(prompt_tokens) AS peak_prompt_tokens_5m,
  MAX(output_tokens) AS peak_output_tokens_5m,
  MAX(requests) AS peak_requests_5m,
  CAST(SUM(cfs_periods) AS BIGINT) AS cfs_periods,
  CAST(SUM(cfs_throttled_periods) AS BIGINT) AS cfs_throttled_periods,
  CAST(SUM(cpu_ms) AS BIGINT) AS cpu_ms
FROM workload_5m
GROUP BY namespace, workload_kind, workload_name, bucket_ms - bucket_ms % 3600000
ORDER BY namespace, workload_kind, workload_name, hour_ms
