/*---
name: workload_latency_hours
title: Observations up to each bound of each latency and length histogram, by the hour
order: 116
parts: workloads
grain: [namespace, workload_kind, workload_name, hour_ms, histogram, le_micro]
requires: [serving_samples, stg_latency_edges, stg_pod_replicas]
params: {}
---*/
WITH scraped AS (
  SELECT namespace, pod, COALESCE(container, '') AS container, target, engine,
    COALESCE(engine_index, '') AS engine_index, COALESCE(model_name, '') AS model_name,
    CAST(round(extract(epoch FROM ts) * 1000) AS BIGINT) AS ts_ms,
    ttft_le_seconds, ttft_bucket_counts, itl_le_seconds, itl_bucket_counts,
    prompt_len_le_tokens, prompt_len_bucket_counts, output_len_le_tokens, output_len_bucket_counts,
    ttft_sum_seconds, itl_sum_seconds
  FROM serving_samples
  WHERE cluster = $cluster
),
edged AS (
  SELECT e.namespace, e.pod, e.container, e.target, e.engine, e.engine_index, e.model_name, e.ts_ms,
    e.series, e.hour_ms, e.sign,
    s.ttft_le_seconds, s.ttft_bucket_counts, s.itl_le_seconds, s.itl_bucket_counts,
    s.prompt_len_le_tokens, s.prompt_len_bucket_counts, s.output_len_le_tokens,
    s.output_len_bucket_counts, s.ttft_sum_seconds, s.itl_sum_seconds
  FROM stg_latency_edges AS e
  JOIN scraped AS s
    ON s.namespace = e.namespace AND s.pod = e.pod AND s.container = e.container
    AND s.target = e.target AND s.engine = e.engine AND s.engine_index = e.engine_index
    AND s.model_name = e.model_name AND s.ts_ms = e.ts_ms
),
flat AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms, hour_ms, sign,
    series,
    unnest(CASE series WHEN 'ttft' THEN ttft_le_seconds WHEN 'itl' THEN itl_le_seconds
      WHEN 'prompt_len' THEN prompt_len_le_tokens ELSE output_len_le_tokens END) AS le,
    unnest(CASE series WHEN 'ttft' THEN ttft_bucket_counts WHEN 'itl' THEN itl_bucket_counts
      WHEN 'prompt_len' THEN prompt_len_bucket_counts ELSE output_len_bucket_counts END) AS n
  FROM edged
  WHERE series IN ('ttft', 'itl', 'prompt_len', 'output_len')
  -- What all observations add up to, in microseconds, as one more counter without a bound: a mean
  -- from it is exact, where a bucket's middle is not (most engines' first bound is 10 ms a token).
  UNION ALL
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms, hour_ms, sign,
    series, CAST(9223372036854775807 AS DOUBLE),
    CASE series WHEN 'ttft_sum_us' THEN ttft_sum_seconds ELSE itl_sum_seconds END * 1000000
  FROM edged
  WHERE series IN ('ttft_sum_us', 'itl_sum_us')
),
-- Two servers that scraped the same say it once.
buckets AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms, hour_ms, sign,
    series,
    CASE WHEN le > 9000000000000 THEN 9223372036854775807
      ELSE CAST(round(le * 1000000) AS BIGINT) END AS le_micro,
    MAX(CAST(round(n) AS BIGINT)) AS n
  FROM flat
  WHERE le >= 0 AND n >= 0 AND n < 9000000000000000
  GROUP BY namespace, pod, container, target, engine, engine_index, model_name, ts_ms, hour_ms, sign,
    series,
    CASE WHEN le > 9000000000000 THEN 9223372036854775807
      ELSE CAST(round(le * 1000000) AS BIGINT) END
),
-- A bucket that is there at the beginning alone says nothing of growth.
grown AS (
  SELECT namespace, pod, hour_ms, series, le_micro, GREATEST(SUM(sign * n), 0) AS up_to_le
  FROM buckets
  GROUP BY namespace, pod, container, target, engine, engine_index, model_name, hour_ms, series, le_micro
  HAVING MAX(sign) > 0
)
SELECT o.namespace, COALESCE(r.workload_kind, 'pod') AS workload_kind,
  COALESCE(r.workload_name, o.pod) AS workload_name, o.hour_ms, o.series AS histogram, o.le_micro,
  CAST(SUM(o.up_to_le) AS BIGINT) AS observations
FROM grown AS o
LEFT JOIN stg_pod_replicas AS r ON r.namespace = o.namespace AND r.pod = o.pod
GROUP BY o.namespace, COALESCE(r.workload_kind, 'pod'), COALESCE(r.workload_name, o.pod), o.hour_ms,
  o.series, o.le_micro
ORDER BY o.namespace, workload_kind, workload_name, o.hour_ms, histogram, o.le_micro
