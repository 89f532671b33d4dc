/*---
name: workload_latency_hours
title: Observations up to each bound of each latency and length histogram, by the hour
order: 240
grain: [namespace, workload_kind, workload_name, hour_ms, histogram, le_micro]
requires: [serving_samples, stg_pods, stg_pod_replicas]
params:
  lookback_ms: {type: int, unit: ms, default: 1800000, why: "the increase into the day's first scrape needs the scrape before it"}
  default_scrape_interval_ms: {type: int, unit: ms, default: 60000, why: "a target scraped once has no spacing; one minute is Prometheus' own default"}
  cover_percent: {type: int, unit: "%", default: 250, why: "a sample holds 2.5 x its target's interval: one lost scrape is bridged, two are not"}
---*/
WITH scraped AS (
  SELECT namespace, pod, COALESCE(container, '') AS container, target, engine,
    COALESCE(engine_index, '') AS engine_index, COALESCE(model_name, '') AS model_name,
    CAST(round(extract(epoch FROM ts) * 1000) AS BIGINT) AS ts_ms,
    COALESCE(scrape_interval_ms, $default_scrape_interval_ms) AS scrape_interval_ms,
    ttft_le_seconds, ttft_bucket_counts, itl_le_seconds, itl_bucket_counts,
    prompt_len_le_tokens, prompt_len_bucket_counts, output_len_le_tokens, output_len_bucket_counts,
    ttft_sum_seconds, itl_sum_seconds
  FROM serving_samples
  WHERE cluster = $cluster
),
today AS (
  SELECT * FROM scraped
  WHERE ts_ms >= $day_start_ms - $lookback_ms AND ts_ms < $day_end_ms
),
flat AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms,
    scrape_interval_ms, 'ttft' AS histogram,
    unnest(ttft_le_seconds) AS le, unnest(ttft_bucket_counts) AS n
  FROM today
  UNION ALL
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms,
    scrape_interval_ms, 'itl', unnest(itl_le_seconds), unnest(itl_bucket_counts)
  FROM today
  UNION ALL
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms,
    scrape_interval_ms, 'prompt_len', unnest(prompt_len_le_tokens), unnest(prompt_len_bucket_counts)
  FROM today
  UNION ALL
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms,
    scrape_interval_ms, 'output_len', unnest(output_len_le_tokens), unnest(output_len_bucket_counts)
  FROM today
  -- What all observations add up to, in microseconds, as one more counter without a bound: a mean
  -- from it is exact, where a bucket's middle is not (most engines' first bound is 10 ms a token).
  UNION ALL
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms,
    scrape_interval_ms, 'ttft_sum_us', CAST(9223372036854775807 AS DOUBLE), ttft_sum_seconds * 1000000
  FROM today
  UNION ALL
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms,
    scrape_interval_ms, 'itl_sum_us', CAST(9223372036854775807 AS DOUBLE), itl_sum_seconds * 1000000
  FROM today
),
buckets AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms, histogram,
    CASE WHEN le > 9000000000000 THEN 9223372036854775807
      ELSE CAST(round(le * 1000000) AS BIGINT) END AS le_micro,
    MAX(scrape_interval_ms) AS scrape_interval_ms,
    MAX(CAST(round(n) AS BIGINT)) AS n
  FROM flat
  WHERE le >= 0 AND n >= 0 AND n < 9000000000000000
  GROUP BY namespace, pod, container, target, engine, engine_index, model_name, ts_ms, histogram,
    CASE WHEN le > 9000000000000 THEN 9223372036854775807
      ELSE CAST(round(le * 1000000) AS BIGINT) END
),
births AS (
  SELECT namespace, pod, uid, MIN(from_ms) AS born_ms
  FROM stg_pods
  WHERE uid <> ''
  GROUP BY namespace, pod, uid
),
paired AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, histogram, le_micro,
    ts_ms, LAG(ts_ms) OVER w AS before_ms, n, LAG(n) OVER w AS before_n,
    CAST(CAST(scrape_interval_ms * $cover_percent
      - (scrape_interval_ms * $cover_percent) % 100 AS DOUBLE) / CAST(100 AS DOUBLE) AS BIGINT) AS cover_ms
  FROM buckets
  WINDOW w AS (
    PARTITION BY namespace, pod, container, target, engine, engine_index, model_name, histogram,
      le_micro
    ORDER BY ts_ms)
),
increased AS (
  SELECT p.namespace, p.pod, p.container, p.target, p.engine, p.engine_index, p.model_name,
    p.histogram, p.le_micro, p.ts_ms,
    CASE WHEN p.n < p.before_n THEN p.n ELSE p.n - p.before_n END AS up_to_le
  FROM paired AS p
  LEFT JOIN births AS b ON b.namespace = p.namespace AND b.pod = p.pod
    AND b.born_ms > p.before_ms AND b.born_ms <= p.ts_ms
  WHERE p.before_ms IS NOT NULL AND p.ts_ms - p.before_ms <= p.cover_ms
    AND p.ts_ms >= $day_start_ms AND b.born_ms IS NULL
)
SELECT o.namespace, COALESCE(r.workload_kind, 'pod') AS workload_kind,
  COALESCE(r.workload_name, o.pod) AS workload_name, o.ts_ms - o.ts_ms % 3600000 AS hour_ms, o.histogram, o.le_micro,
  CAST(SUM(o.up_to_le) AS BIGINT) AS observations
FROM increased AS o
LEFT JOIN stg_pod_replicas AS r ON r.namespace = o.namespace AND r.pod = o.pod
GROUP BY o.namespace, COALESCE(r.workload_kind, 'pod'), COALESCE(r.workload_name, o.pod),
  o.ts_ms - o.ts_ms % 3600000, o.histogram, o.le_micro
ORDER BY o.namespace, workload_kind, workload_name, hour_ms, o.histogram, o.le_micro
