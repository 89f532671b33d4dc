/*---
name: stg_engine_increases
title: What each engine process did between two of its scrapes
order: 70
parts: workloads
grain: [namespace, pod, container, target, engine, engine_index, model_name, from_ms]
requires: [serving_samples, stg_pods]
params:
  lookback_ms: {type: int, unit: ms, default: 1800000, why: "the increase into the span's first scrape needs the scrape before it"}
  default_scrape_interval_ms: {type: int, unit: ms, default: 60000, why: "a target scraped once has no spacing; one minute is Prometheus' own default"}
  cover_percent: {type: int, unit: "%", default: 250, why: "a sample holds 2.5 x its target's interval: one lost scrape is bridged, two are not"}
  gauge_hold_ms: {type: int, unit: ms, default: 600000, why: "a counter missing beside its siblings holds its last value as long as a gauge does"}
  probe_requests_per_minute: {type: int, unit: requests/min, default: 6, why: "two probes and a canary, every 30 s each"}
  probe_output_tokens: {type: int, unit: tokens/request, default: 16, why: "a probe asks for a word, not an answer"}
  probe_prompt_tokens: {type: int, unit: tokens/request, default: 64, why: "a probe's prompt is a sentence"}
  running_confirm_ms: {type: int, unit: ms, default: 1800000, why: "some engines count tokens when a request ends; a running gauge that no counter confirms this long is frozen"}
---*/
WITH raw AS (
  SELECT namespace, pod, COALESCE(container, '') AS container, target, engine,
    COALESCE(engine_index, '') AS engine_index, COALESCE(model_name, '') AS model_name,
    CAST(round(extract(epoch FROM ts) * 1000) AS BIGINT) AS ts_ms,
    COALESCE(scrape_interval_ms, $default_scrape_interval_ms) AS scrape_interval_ms,
    CASE WHEN requests_total >= 0 AND requests_total < 9000000000000000 THEN CAST(round(requests_total) AS BIGINT) END AS requests,
    CASE WHEN prompt_tokens_total >= 0 AND prompt_tokens_total < 9000000000000000 THEN CAST(round(prompt_tokens_total) AS BIGINT) END AS prompt,
    CASE WHEN generation_tokens_total >= 0 AND generation_tokens_total < 9000000000000000 THEN CAST(round(generation_tokens_total) AS BIGINT) END AS output,
    CASE WHEN prefix_hit_tokens_total >= 0 AND prefix_hit_tokens_total < 9000000000000000 THEN CAST(round(prefix_hit_tokens_total) AS BIGINT) END AS hit,
    CASE WHEN prefix_query_tokens_total >= 0 AND prefix_query_tokens_total < 9000000000000000 THEN CAST(round(prefix_query_tokens_total) AS BIGINT) END AS asked,
    CASE WHEN preemptions_total >= 0 AND preemptions_total < 9000000000000000 THEN CAST(round(preemptions_total) AS BIGINT) END AS preempted,
    CASE WHEN rejected_total >= 0 AND rejected_total < 9000000000000000 THEN CAST(round(rejected_total) AS BIGINT) END AS rejected,
    CASE WHEN requests_waiting >= 0 AND requests_waiting < 1000000000 THEN CAST(round(requests_waiting) AS BIGINT) END AS waiting,
    CASE WHEN requests_running >= 0 AND requests_running < 1000000000 THEN CAST(round(requests_running) AS BIGINT) END AS running,
    CASE WHEN kv_usage_ratio >= 0 AND kv_usage_ratio <= 1.5 THEN CAST(LEAST(round(kv_usage_ratio * 1000000), 1000000) AS BIGINT) END AS kv_ppm,
    CASE WHEN awake = 0 THEN 1 WHEN awake > 0 THEN 0 END AS asleep
  FROM serving_samples
  WHERE cluster = $cluster
),
one AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms,
    MAX(scrape_interval_ms) AS scrape_interval_ms,
    MAX(requests) AS requests, MAX(prompt) AS prompt, MAX(output) AS output, MAX(hit) AS hit,
    MAX(asked) AS asked, MAX(preempted) AS preempted, MAX(rejected) AS rejected,
    MAX(waiting) AS waiting, MAX(running) AS running, MAX(kv_ppm) AS kv_ppm, MAX(asleep) AS asleep
  FROM raw
  WHERE ts_ms >= $day_start_ms - $margin_ms - $lookback_ms
    AND ts_ms < $day_end_ms + $margin_ms + $lookback_ms
  GROUP BY namespace, pod, container, target, engine, engine_index, model_name, ts_ms
),
births AS (
  SELECT namespace, pod, MIN(from_ms) AS ts_ms
  FROM stg_pods
  WHERE uid <> ''
  GROUP BY namespace, pod, uid
),
-- Counters of two pods of one name are not one counter: births number the incarnations.
stream AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms, 0 AS birth,
    scrape_interval_ms, requests, prompt, output, hit, asked, preempted, rejected,
    waiting, running, kv_ppm, asleep
  FROM one
  UNION ALL
  SELECT namespace, pod, '', '', '', '', '', ts_ms, 1, 0,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
  FROM births
),
incarnated AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms, birth,
    scrape_interval_ms, requests, prompt, output, hit, asked, preempted, rejected,
    waiting, running, kv_ppm, asleep,
    SUM(birth) OVER (PARTITION BY namespace, pod ORDER BY ts_ms, birth DESC
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS incarnation
  FROM stream
),
numbered AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name, ts_ms,
    incarnation, scrape_interval_ms, requests, prompt, output, hit, asked, preempted, rejected,
    waiting, running, kv_ppm, asleep,
    ROW_NUMBER() OVER (
      PARTITION BY namespace, pod, container, target, engine, engine_index, model_name
      ORDER BY ts_ms) AS scrape_no
  FROM incarnated
  WHERE birth = 0
),
paired AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name,
    LAG(ts_ms) OVER w AS from_ms, ts_ms AS to_ms,
    LEAD(ts_ms) OVER w AS next_ms,
    CAST(CAST(scrape_interval_ms * $cover_percent
      - (scrape_interval_ms * $cover_percent) % 100 AS DOUBLE) / CAST(100 AS DOUBLE) AS BIGINT) AS cover_ms,
    CAST(scrape_no AS BIGINT) - CAST(LAG(scrape_no) OVER w AS BIGINT) AS scrapes_apart,
    CASE WHEN LAG(incarnation) OVER w = incarnation THEN 1 ELSE 0 END AS same_process,
    requests, LAG(requests) OVER w AS requests_0,
    prompt, LAG(prompt) OVER w AS prompt_0,
    output, LAG(output) OVER w AS output_0,
    hit, LAG(hit) OVER w AS hit_0,
    asked, LAG(asked) OVER w AS asked_0,
    preempted, LAG(preempted) OVER w AS preempted_0,
    rejected, LAG(rejected) OVER w AS rejected_0,
    waiting, LAG(waiting) OVER w AS waiting_0,
    running, LAG(running) OVER w AS running_0,
    kv_ppm, asleep, LAG(asleep) OVER w AS asleep_0
  FROM numbered
  -- A scrape without any counter says that the process lives, not what it did.
  WHERE requests IS NOT NULL OR prompt IS NOT NULL OR output IS NOT NULL
  WINDOW w AS (
    PARTITION BY namespace, pod, container, target, engine, engine_index, model_name
    ORDER BY ts_ms)
),
increased AS (
  SELECT namespace, pod, container, target, engine, engine_index, model_name,
    from_ms, to_ms, next_ms, cover_ms,
    CASE WHEN same_process = 1 AND (to_ms - from_ms <= cover_ms
        OR (scrapes_apart > 1 AND to_ms - from_ms <= $gauge_hold_ms)) THEN 1 ELSE 0 END AS seen,
    CASE WHEN requests < requests_0 OR output < output_0 OR prompt < prompt_0 THEN 1 ELSE 0 END AS reset,
    CASE WHEN requests < requests_0 THEN requests ELSE requests - requests_0 END AS requests,
    CASE WHEN prompt < prompt_0 THEN prompt ELSE prompt - prompt_0 END AS prompt_tokens,
    CASE WHEN output < output_0 THEN output ELSE output - output_0 END AS output_tokens,
    CASE WHEN hit < hit_0 THEN hit ELSE hit - hit_0 END AS prefix_hit_tokens,
    CASE WHEN asked < asked_0 THEN asked ELSE asked - asked_0 END AS prefix_query_tokens,
    CASE WHEN preempted < preempted_0 THEN preempted ELSE preempted - preempted_0 END AS preemptions,
    CASE WHEN rejected < rejected_0 THEN rejected ELSE rejected - rejected_0 END AS rejected,
    waiting AS waiting_to, waiting_0 AS waiting_from,
    running AS running_to, running_0 AS running_from, kv_ppm,
    asleep AS asleep_to, asleep_0 AS asleep_from
  FROM paired
),
counted AS (
  SELECT *,
    COALESCE(requests, 0) AS r, COALESCE(prompt_tokens, 0) AS p, COALESCE(output_tokens, 0) AS o,
    to_ms - from_ms AS dt,
    CASE WHEN seen = 1 AND COALESCE(requests, prompt_tokens, output_tokens) IS NOT NULL
      THEN 1 ELSE 0 END AS counted
  FROM increased
),
probed AS (
  SELECT *,
    CASE
      WHEN counted = 0 OR r + p + o = 0 THEN 0
      WHEN prompt_tokens IS NULL AND output_tokens IS NULL THEN 1
      WHEN o > $probe_output_tokens * GREATEST(r, 1) THEN 1
      WHEN p > $probe_prompt_tokens * GREATEST(r, 1) THEN 1
      WHEN r * 60000 <= $probe_requests_per_minute * dt THEN 0
      -- Below a minute between scrapes one probe more or less is a matter of phase.
      WHEN dt < 60000 AND (r - 1) * 60000 <= $probe_requests_per_minute * dt THEN 0
      ELSE 1
    END AS above_probe,
    CASE WHEN counted = 1 AND r + p + o > 0
      AND (COALESCE(waiting_from, 0) > 0 OR COALESCE(waiting_to, 0) > 0) THEN 1 ELSE 0 END AS queue_moved,
    SUM(CASE WHEN COALESCE(running_from, 0) > 0 AND seen = 1 THEN 0 ELSE 1 END) OVER (
      PARTITION BY namespace, pod, container, target, engine, engine_index, model_name
      ORDER BY to_ms ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running_group
  FROM counted
),
confirmed AS (
  SELECT *,
    MIN(CASE WHEN above_probe = 1 THEN to_ms END) OVER (
      PARTITION BY namespace, pod, container, target, engine, engine_index, model_name, running_group
      ORDER BY to_ms ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS confirmed_ms
  FROM probed
)
SELECT namespace, pod, container, target, engine, engine_index, model_name,
  from_ms, to_ms, next_ms, cover_ms,
  CAST(counted AS BIGINT) AS seen,
  CAST(CASE WHEN counted = 1 AND reset = 1 THEN 1 ELSE 0 END AS BIGINT) AS reset,
  CAST(CASE
    WHEN above_probe = 1 OR queue_moved = 1 THEN 1
    WHEN counted = 1 AND running_from > 0 AND running_to > 0
      AND confirmed_ms <= to_ms + $running_confirm_ms THEN 1
    ELSE 0
  END AS BIGINT) AS work,
  r AS requests, p AS prompt_tokens, o AS output_tokens,
  COALESCE(prefix_hit_tokens, 0) AS prefix_hit_tokens,
  COALESCE(prefix_query_tokens, 0) AS prefix_query_tokens,
  COALESCE(preemptions, 0) AS preemptions, COALESCE(rejected, 0) AS rejected,
  waiting_from, waiting_to, running_from, running_to, kv_ppm,
  CAST(COALESCE(asleep_from, 0) AS BIGINT) AS asleep_from,
  CAST(COALESCE(asleep_to, 0) AS BIGINT) AS asleep_to
FROM confirmed
ORDER BY namespace, pod, container, target, engine, engine_index, model_name, to_ms
