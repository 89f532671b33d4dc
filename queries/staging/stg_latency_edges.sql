/*---
name: stg_latency_edges
title: The scrapes between which an hour's histograms grew, and from which they are taken away
order: 115
parts: workloads
grain: [namespace, pod, container, target, engine, engine_index, model_name, series, hour_ms, sign, ts_ms]
requires: [serving_samples, stg_pods]
params:
  lookback_ms: {type: int, unit: ms, default: 1800000, why: "the increase into the day's first scrape needs the scrape before it"}
  default_scrape_interval_ms: {type: int, unit: ms, default: 60000, why: "a target scraped once has no spacing; one minute is Prometheus' own default"}
  cover_percent: {type: int, unit: "%", default: 250, why: "a sample holds 2.5 x its target's interval: one lost scrape is bridged, two are not"}
---*/
-- From scrape to scrape a histogram grows bucket by bucket; over an unbroken run the steps add up to its
-- last scrape less its first. So only the ends of runs are unfolded into buckets, not a day of scrapes.
-- A process begins anew with all its buckets at once: the count of all observations tells.
WITH totals AS (
  SELECT namespace, pod, COALESCE(container, '') AS container, target, engine,
    COALESCE(engine_index, '') AS engine_index, COALESCE(model_name, '') AS model_name,
    CAST(round(extract(epoch FROM ts) * 1000) AS BIGINT) AS ts_ms,
    COALESCE(scrape_interval_ms, $default_scrape_interval_ms) AS scrape_interval_ms,
    ttft_bucket_counts[CAST(array_length(ttft_bucket_counts) AS BIGINT)] AS ttft,
    itl_bucket_counts[CAST(array_length(itl_bucket_counts) AS BIGINT)] AS itl,
    prompt_len_bucket_counts[CAST(array_length(prompt_len_bucket_counts) AS BIGINT)] AS prompt_len,
    output_len_bucket_counts[CAST(array_length(output_len_bucket_counts) AS BIGINT)] AS output_len,
    ttft_sum_seconds, itl_sum_seconds
  FROM serving_samples
  WHERE cluster = $cluster
),
each AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms,
    scrape_interval_ms, series,
    CASE series
      WHEN 'ttft' THEN ttft
      WHEN 'itl' THEN itl
      WHEN 'prompt_len' THEN prompt_len
      WHEN 'output_len' THEN output_len
      WHEN 'ttft_sum_us' THEN ttft_sum_seconds
      ELSE itl_sum_seconds
    END AS total
  FROM totals
  CROSS JOIN (
    VALUES ('ttft'), ('itl'), ('prompt_len'), ('output_len'), ('ttft_sum_us'), ('itl_sum_us')
  ) AS s(series)
  WHERE ts_ms >= $day_start_ms - $lookback_ms AND ts_ms < $day_end_ms
),
-- Two servers that scraped the same say it once.
one AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, series, ts_ms,
    MAX(scrape_interval_ms) AS scrape_interval_ms, MAX(total) AS total
  FROM each
  WHERE total >= 0 AND total < 9000000000000000
  GROUP BY namespace, pod, container, target, engine, engine_index, model_name, series, ts_ms
),
births AS (
  SELECT namespace, pod, MIN(from_ms) AS born_ms
  FROM stg_pods
  WHERE uid <> ''
  GROUP BY namespace, pod, uid
),
paired AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, series, ts_ms, total,
    LAG(ts_ms) OVER w AS before_ms, LAG(total) OVER w AS before_total,
    CAST(CAST(scrape_interval_ms * $cover_percent
      - (scrape_interval_ms * $cover_percent) % 100 AS DOUBLE) / CAST(100 AS DOUBLE) AS BIGINT) AS cover_ms
  FROM one
  WINDOW w AS (
    PARTITION BY namespace, pod, container, target, engine, engine_index, model_name, series
    ORDER BY ts_ms)
),
-- Pairs between which a pod was born are no pair: counters of two pods of one name are not one counter.
parted AS (
  SELECT DISTINCT p.namespace, p.pod, p.container, p.target, p.engine, p.engine_index, p.model_name,
    p.series, p.ts_ms
  FROM paired AS p
  JOIN births AS b ON b.namespace = p.namespace AND b.pod = p.pod
  WHERE b.born_ms > p.before_ms AND b.born_ms <= p.ts_ms
),
linked AS (
  SELECT p.namespace, p.pod, p.container, p.target, p.engine, p.engine_index, p.model_name, p.series,
    p.ts_ms, p.before_ms,
    CASE
      WHEN p.before_ms IS NULL OR p.ts_ms - p.before_ms > p.cover_ms OR b.ts_ms IS NOT NULL THEN 'none'
      WHEN p.total < p.before_total THEN 'reset'
      ELSE 'grown'
    END AS link
  FROM paired AS p
  LEFT JOIN parted AS b
    ON b.namespace = p.namespace AND b.pod = p.pod AND b.container = p.container
    AND b.target = p.target AND b.engine = p.engine AND b.engine_index = p.engine_index
    AND b.model_name = p.model_name AND b.series = p.series AND b.ts_ms = p.ts_ms
),
chained AS (
  SELECT *,
    LEAD(link) OVER w AS next_link,
    LEAD(ts_ms) OVER w AS next_ms
  FROM linked
  WINDOW w AS (
    PARTITION BY namespace, pod, container, target, engine, engine_index, model_name, series
    ORDER BY ts_ms)
),
placed AS (
  SELECT *, ts_ms - ts_ms % 3600000 AS hour_ms,
    CASE WHEN next_link = 'grown' AND next_ms - next_ms % 3600000 = ts_ms - ts_ms % 3600000
      THEN 0 ELSE 1 END AS is_last
  FROM chained
  WHERE ts_ms >= $day_start_ms
),
edges AS (
  -- What stands at a run's end within the hour,
  SELECT namespace, pod, container, target, engine, engine_index, model_name, series, ts_ms, hour_ms,
    1 AS sign
  FROM placed
  WHERE is_last = 1 AND link <> 'none'
  UNION ALL
  -- less what stood at its beginning: after a hole its own first scrape,
  SELECT namespace, pod, container, target, engine, engine_index, model_name, series, ts_ms, hour_ms, -1
  FROM placed
  WHERE is_last = 0 AND link = 'none'
  UNION ALL
  -- in the middle of growth the last scrape of the hour before, and after a reset nothing.
  SELECT namespace, pod, container, target, engine, engine_index, model_name, series, before_ms, hour_ms, -1
  FROM placed
  WHERE link = 'grown' AND before_ms < hour_ms
)
SELECT namespace, pod, container, target, engine, engine_index, model_name, series, ts_ms, hour_ms,
  CAST(sign AS BIGINT) AS sign
FROM edges
ORDER BY namespace, pod, container, target, engine, engine_index, model_name, series, hour_ms, sign, ts_ms
