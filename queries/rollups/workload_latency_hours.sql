/*---
name: workload_latency_hours
title: Observations up to each bound of each latency and length histogram, by the hour
order: 116
parts: workloads
grain: [namespace, workload_kind, workload_name, hour_ms, histogram, le_micro]
requires: [serving_samples, stg_engine_processes, stg_latency_edges, stg_pod_replicas]
params: {}
---*/
WITH edged AS (
  SELECT e.process, e.series, e.ts_ms, e.hour_ms, e.sign,
    s.ttft_le_seconds, s.ttft_bucket_counts, s.itl_le_seconds, s.itl_bucket_counts,
    s.prompt_len_le_tokens, s.prompt_len_bucket_counts, s.output_len_le_tokens,
    s.output_len_bucket_counts, s.ttft_sum_seconds, s.itl_sum_seconds
  FROM serving_samples AS s
  JOIN stg_engine_processes AS p
    ON p.namespace = s.namespace AND p.pod = s.pod AND p.container = COALESCE(s.container, '')
    AND p.target = s.target AND p.engine = s.engine
    AND p.engine_index = COALESCE(s.engine_index, '') AND p.model_name = COALESCE(s.model_name, '')
  JOIN stg_latency_edges AS e
    ON e.process = p.process AND e.ts_ms = CAST(round(extract(epoch FROM s.ts) * 1000) AS BIGINT)
  WHERE s.cluster = $cluster
),
flat AS (
  SELECT process, series, ts_ms, hour_ms, sign,
    unnest(CASE series WHEN 1 THEN ttft_le_seconds WHEN 2 THEN itl_le_seconds
      WHEN 3 THEN prompt_len_le_tokens ELSE output_len_le_tokens END) AS le,
    unnest(CASE series WHEN 1 THEN ttft_bucket_counts WHEN 2 THEN itl_bucket_counts
      WHEN 3 THEN prompt_len_bucket_counts ELSE output_len_bucket_counts END) AS n
  FROM edged
  WHERE series <= 4
  -- What all observations add up to, in microseconds, as one more counter without a bound: a mean
  -- from it is exact, where a bucket's middle is not (most engines' first bound is 10 ms a token).
  UNION ALL
  SELECT process, series, ts_ms, hour_ms, sign, CAST(9223372036854775807 AS DOUBLE),
    CASE series WHEN 5 THEN ttft_sum_seconds ELSE itl_sum_seconds END * 1000000
  FROM edged
  WHERE series >= 5
),
-- Two servers that scraped the same say it once.
buckets AS (
  SELECT process, series, ts_ms, hour_ms, sign,
    CASE WHEN le > 9000000000000 THEN 9223372036854775807
      ELSE CAST(round(le * 1000000) AS BIGINT) END AS le_micro,
    MAX(CAST(round(n) AS BIGINT)) AS n
  FROM flat
  WHERE le >= 0 AND n >= 0 AND n < 9000000000000000
  GROUP BY process, series, ts_ms, hour_ms, sign,
    CASE WHEN le > 9000000000000 THEN 9223372036854775807
      ELSE CAST(round(le * 1000000) AS BIGINT) END
),
-- A bucket that is there at the beginning alone says nothing of growth.
grown AS (
  SELECT process, series, hour_ms, le_micro, GREATEST(SUM(sign * n), 0) AS up_to_le
  FROM buckets
  GROUP BY process, series, hour_ms, le_micro
  HAVING MAX(sign) > 0
)
SELECT p.namespace, COALESCE(r.workload_kind, 'pod') AS workload_kind,
  COALESCE(r.workload_name, p.pod) AS workload_name, g.hour_ms,
  CASE g.series WHEN 1 THEN 'ttft' WHEN 2 THEN 'itl' WHEN 3 THEN 'prompt_len' WHEN 4 THEN 'output_len'
    WHEN 5 THEN 'ttft_sum_us' ELSE 'itl_sum_us' END AS histogram,
  g.le_micro, CAST(SUM(g.up_to_le) AS BIGINT) AS observations
FROM grown AS g
JOIN stg_engine_processes AS p ON p.process = g.process
LEFT JOIN stg_pod_replicas AS r ON r.namespace = p.namespace AND r.pod = p.pod
GROUP BY p.namespace, COALESCE(r.workload_kind, 'pod'), COALESCE(r.workload_name, p.pod), g.hour_ms,
  g.series, g.le_micro
ORDER BY p.namespace, workload_kind, workload_name, g.hour_ms, histogram, g.le_micro
