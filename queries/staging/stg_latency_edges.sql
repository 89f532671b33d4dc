/*---
name: stg_latency_edges
title: The scrapes between which an hour's histograms grew, and from which they are taken away
order: 115
parts: workloads
grain: [process, series, hour_ms, sign, ts_ms]
requires: [serving_samples, stg_engine_processes, stg_pods]
params:
  lookback_ms: {type: int, unit: ms, default: 1800000, why: "the increase into the day's first scrape needs the scrape before it"}
  default_scrape_interval_ms: {type: int, unit: ms, default: 60000, why: "a target scraped once has no spacing; one minute is Prometheus' own default"}
  cover_percent: {type: int, unit: "%", default: 250, why: "a sample holds 2.5 x its target's interval: one lost scrape is bridged, two are not"}
---*/
-- From scrape to scrape a histogram grows bucket by bucket; over an unbroken run the steps add up to its
-- last scrape less its first. So only the ends of runs are unfolded into buckets, not a day of scrapes.
-- A process begins anew with all its buckets at once: the count of all observations tells.
-- Series: 1 time to first token, 2 time between tokens, 3 prompts' and 4 outputs' lengths, 5 and 6 what all
-- observations of 1 and 2 add up to.
WITH raw AS (
  SELECT p.process,
    CAST(round(extract(epoch FROM s.ts) * 1000) AS BIGINT) AS ts_ms,
    COALESCE(s.scrape_interval_ms, $default_scrape_interval_ms) AS scrape_interval_ms,
    s.ttft_bucket_counts[CAST(array_length(s.ttft_bucket_counts) AS BIGINT)] AS ttft,
    s.itl_bucket_counts[CAST(array_length(s.itl_bucket_counts) AS BIGINT)] AS itl,
    s.prompt_len_bucket_counts[CAST(array_length(s.prompt_len_bucket_counts) AS BIGINT)] AS prompt_len,
    s.output_len_bucket_counts[CAST(array_length(s.output_len_bucket_counts) AS BIGINT)] AS output_len,
    s.ttft_sum_seconds AS ttft_sum,
    s.itl_sum_seconds AS itl_sum
  FROM serving_samples AS s
  JOIN stg_engine_processes AS p
    ON p.namespace = s.namespace AND p.pod = s.pod AND p.container = COALESCE(s.container, '')
    AND p.target = s.target AND p.engine = s.engine
    AND p.engine_index = COALESCE(s.engine_index, '') AND p.model_name = COALESCE(s.model_name, '')
  WHERE s.cluster = $cluster
),
-- Two servers that scraped the same say it once. What no counter can be is missing.
one AS (
  SELECT process, ts_ms, MAX(scrape_interval_ms) AS scrape_interval_ms,
    MAX(CASE WHEN ttft >= 0 AND ttft < 9000000000000000 THEN ttft END) AS ttft,
    MAX(CASE WHEN itl >= 0 AND itl < 9000000000000000 THEN itl END) AS itl,
    MAX(CASE WHEN prompt_len >= 0 AND prompt_len < 9000000000000000 THEN prompt_len END) AS prompt_len,
    MAX(CASE WHEN output_len >= 0 AND output_len < 9000000000000000 THEN output_len END) AS output_len,
    MAX(CASE WHEN ttft_sum >= 0 AND ttft_sum < 9000000000000000 THEN ttft_sum END) AS ttft_sum,
    MAX(CASE WHEN itl_sum >= 0 AND itl_sum < 9000000000000000 THEN itl_sum END) AS itl_sum
  FROM raw
  WHERE ts_ms >= $day_start_ms - $lookback_ms AND ts_ms < $day_end_ms
  GROUP BY process, ts_ms
),
apart AS (
  SELECT process, series, ts_ms, scrape_interval_ms,
    CASE series WHEN 1 THEN ttft WHEN 2 THEN itl WHEN 3 THEN prompt_len WHEN 4 THEN output_len
      WHEN 5 THEN ttft_sum ELSE itl_sum END AS total
  FROM one
  CROSS JOIN (VALUES (1), (2), (3), (4), (5), (6)) AS s(series)
),
births AS (
  SELECT p.process, b.born_ms
  FROM stg_engine_processes AS p
  JOIN (
    SELECT namespace, pod, MIN(from_ms) AS born_ms
    FROM stg_pods
    WHERE uid <> ''
    GROUP BY namespace, pod, uid
  ) AS b ON b.namespace = p.namespace AND b.pod = p.pod
),
paired AS (
  SELECT process, series, ts_ms, total,
    LAG(ts_ms) OVER w AS before_ms, LAG(total) OVER w AS before_total,
    CAST(CAST(scrape_interval_ms * $cover_percent
      - (scrape_interval_ms * $cover_percent) % 100 AS DOUBLE) / CAST(100 AS DOUBLE) AS BIGINT) AS cover_ms
  FROM apart
  WHERE total IS NOT NULL
  WINDOW w AS (PARTITION BY process, series ORDER BY ts_ms)
),
-- Pairs between which a pod was born are no pair: counters of two pods of one name are not one counter.
parted AS (
  SELECT DISTINCT p.process, p.series, p.ts_ms
  FROM paired AS p
  JOIN births AS b ON b.process = p.process
  WHERE b.born_ms > p.before_ms AND b.born_ms <= p.ts_ms
),
linked AS (
  SELECT p.process, p.series, p.ts_ms, p.before_ms,
    CASE
      WHEN p.before_ms IS NULL OR p.ts_ms - p.before_ms > p.cover_ms OR b.ts_ms IS NOT NULL THEN 0
      WHEN p.total < p.before_total THEN 2
      ELSE 1
    END AS link
  FROM paired AS p
  LEFT JOIN parted AS b ON b.process = p.process AND b.series = p.series AND b.ts_ms = p.ts_ms
),
chained AS (
  SELECT process, series, ts_ms, before_ms, link, ts_ms - ts_ms % 3600000 AS hour_ms,
    LEAD(link) OVER w AS next_link, LEAD(ts_ms) OVER w AS next_ms
  FROM linked
  WINDOW w AS (PARTITION BY process, series ORDER BY ts_ms)
),
placed AS (
  SELECT *,
    CASE WHEN next_link = 1 AND next_ms - next_ms % 3600000 = hour_ms THEN 0 ELSE 1 END AS is_last
  FROM chained
  WHERE ts_ms >= $day_start_ms
),
-- What stands at a run's end within the hour, less what stood at its beginning: after a hole (0) its own
-- first scrape, in the middle of growth (1) the last one of the hour before, after a reset (2) nothing.
edges AS (
  SELECT process, series, ts_ms, hour_ms, 1 AS sign
  FROM placed
  WHERE is_last = 1 AND link <> 0
  UNION ALL
  SELECT process, series, CASE WHEN link = 0 THEN ts_ms ELSE before_ms END, hour_ms, -1
  FROM placed
  WHERE (link = 0 AND is_last = 0) OR (link = 1 AND before_ms < hour_ms)
)
SELECT process, CAST(series AS BIGINT) AS series, ts_ms, hour_ms, CAST(sign AS BIGINT) AS sign
FROM edges
ORDER BY process, series, hour_ms, sign, ts_ms
