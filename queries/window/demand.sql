/*---
name: demand
title: What each workload was asked for at its peak, and the shape of its requests
grain: [cluster, namespace, workload_kind, workload_name]
requires: [workload_5m]
params:
  peak_day_rank: {type: int, unit: days, default: 2, why: "one freak day must not size a fleet: the second-highest daily maximum is sized on"}
  bound_buckets: {type: int, unit: buckets, default: 10, why: "a lower bound among the ten highest buckets hides the true peak: nothing is then sized down"}
order: 90
---*/
WITH buckets AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    bucket_ms,
    bucket_ms - bucket_ms % 86400000 AS day_ms,
    known_ms,
    replica_ms,
    requests,
    prompt_tokens,
    output_tokens,
    CASE WHEN prefix_hit_tokens > prompt_tokens THEN prompt_tokens ELSE prefix_hit_tokens END
      AS hit_tokens,
    queue_growth + rejected AS waiting_requests,
    preemptions,
    queue_max,
    running_max,
    lower_bound
  FROM workload_5m
  WHERE bucket_ms >= $window_start_ms AND bucket_ms < $window_end_ms
),
-- A day at once: what is added up over the window, and the highest of what needs no mean to be known.
days AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    day_ms,
    CAST(COUNT(*) AS BIGINT) AS buckets,
    CAST(SUM(known_ms) AS BIGINT) AS known_ms,
    CAST(SUM(replica_ms) AS BIGINT) AS replica_ms,
    CAST(SUM(requests) AS BIGINT) AS requests,
    CAST(SUM(prompt_tokens) AS BIGINT) AS prompt_tokens,
    CAST(SUM(hit_tokens) AS BIGINT) AS hit_tokens,
    CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
    CAST(SUM(preemptions) AS BIGINT) AS preemptions,
    CAST(SUM(CASE WHEN lower_bound THEN 1 ELSE 0 END) AS BIGINT) AS bounds,
    MAX(CASE WHEN waiting_requests = 0 THEN requests END) AS top_requests,
    MAX(CASE WHEN waiting_requests = 0 THEN prompt_tokens - hit_tokens END) AS top_prompt_net_tokens,
    MAX(CASE WHEN waiting_requests = 0 THEN output_tokens END) AS top_output_tokens,
    MAX(queue_max) AS queue_max,
    MAX(running_max) AS running_max
  FROM buckets
  GROUP BY cluster, namespace, workload_kind, workload_name, day_ms
),
totals AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(buckets) AS BIGINT) AS buckets,
    CAST(COUNT(*) AS BIGINT) AS days_seen,
    CAST(SUM(known_ms) AS BIGINT) AS known_ms,
    CAST(SUM(replica_ms) AS BIGINT) AS replica_ms,
    CAST(SUM(requests) AS BIGINT) AS requests,
    CAST(SUM(prompt_tokens) AS BIGINT) AS prompt_tokens,
    CAST(SUM(hit_tokens) AS BIGINT) AS prefix_hit_tokens,
    CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
    CAST(SUM(preemptions) AS BIGINT) AS preemptions,
    CAST(SUM(bounds) AS BIGINT) AS bounds,
    CAST(MAX(queue_max) AS BIGINT) AS queue_max,
    CAST(MAX(running_max) AS BIGINT) AS running_max
  FROM days
  GROUP BY cluster, namespace, workload_kind, workload_name
),
shapes AS (
  SELECT
    t.*,
    CASE WHEN requests > 0
      THEN CAST(round(CAST(prompt_tokens AS DOUBLE) / CAST(requests AS DOUBLE)) AS BIGINT)
      ELSE 0 END AS isl_tokens,
    CASE WHEN requests > 0
      THEN CAST(round(CAST(prompt_tokens - prefix_hit_tokens AS DOUBLE)
        / CAST(requests AS DOUBLE)) AS BIGINT)
      ELSE 0 END AS isl_net_tokens,
    CASE WHEN requests > 0
      THEN CAST(round(CAST(output_tokens AS DOUBLE) / CAST(requests AS DOUBLE)) AS BIGINT)
      ELSE 0 END AS osl_tokens
  FROM totals AS t
),
-- Who waits or was turned away brings a mean request's tokens; only buckets with such need the mean.
late AS (
  SELECT
    b.cluster,
    b.namespace,
    b.workload_kind,
    b.workload_name,
    b.day_ms,
    MAX(b.requests + b.waiting_requests) AS top_requests,
    MAX(b.prompt_tokens - b.hit_tokens + b.waiting_requests * s.isl_net_tokens) AS top_prompt_net_tokens,
    MAX(b.output_tokens + b.waiting_requests * s.osl_tokens) AS top_output_tokens
  FROM buckets AS b
  INNER JOIN shapes AS s
    ON b.cluster = s.cluster
    AND b.namespace = s.namespace
    AND b.workload_kind = s.workload_kind
    AND b.workload_name = s.workload_name
  WHERE b.waiting_requests <> 0
  GROUP BY b.cluster, b.namespace, b.workload_kind, b.workload_name, b.day_ms
),
daily AS (
  SELECT
    d.cluster,
    d.namespace,
    d.workload_kind,
    d.workload_name,
    d.day_ms,
    -- What was taken out of a queue can be more than what came: it was asked for before.
    GREATEST(COALESCE(d.top_requests, 0), COALESCE(l.top_requests, 0), 0) AS requests,
    GREATEST(COALESCE(d.top_prompt_net_tokens, 0), COALESCE(l.top_prompt_net_tokens, 0), 0) AS prompt_net_tokens,
    GREATEST(COALESCE(d.top_output_tokens, 0), COALESCE(l.top_output_tokens, 0), 0) AS output_tokens
  FROM days AS d
  LEFT JOIN late AS l
    ON d.cluster = l.cluster
    AND d.namespace = l.namespace
    AND d.workload_kind = l.workload_kind
    AND d.workload_name = l.workload_name
    AND d.day_ms = l.day_ms
),
daily_ranked AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    requests,
    prompt_net_tokens,
    output_tokens,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY requests DESC, day_ms
    ) AS requests_rank,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY prompt_net_tokens DESC, day_ms
    ) AS prompt_rank,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY output_tokens DESC, day_ms
    ) AS output_rank,
    COUNT(*) OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
    ) AS days
  FROM daily
),
peaks AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    -- With fewer days than the rank the last one there is stands in.
    MAX(CASE WHEN requests_rank = CASE WHEN days < $peak_day_rank THEN days ELSE CAST($peak_day_rank AS BIGINT) END
      THEN requests END) AS peak_requests_5m,
    MAX(CASE WHEN prompt_rank = CASE WHEN days < $peak_day_rank THEN days ELSE CAST($peak_day_rank AS BIGINT) END
      THEN prompt_net_tokens END) AS peak_prompt_net_tokens_5m,
    MAX(CASE WHEN output_rank = CASE WHEN days < $peak_day_rank THEN days ELSE CAST($peak_day_rank AS BIGINT) END
      THEN output_tokens END) AS peak_output_tokens_5m
  FROM daily_ranked
  GROUP BY cluster, namespace, workload_kind, workload_name
),
-- Lower bounds among the highest buckets matter; most workloads have none anywhere.
raw_arrivals AS (
  SELECT
    b.cluster,
    b.namespace,
    b.workload_kind,
    b.workload_name,
    b.bucket_ms,
    b.lower_bound,
    GREATEST(b.requests + b.waiting_requests, 0) AS requests,
    GREATEST(b.prompt_tokens - b.hit_tokens + b.waiting_requests * s.isl_net_tokens, 0) AS prompt_net_tokens,
    GREATEST(b.output_tokens + b.waiting_requests * s.osl_tokens, 0) AS output_tokens
  FROM buckets AS b
  INNER JOIN shapes AS s
    ON b.cluster = s.cluster
    AND b.namespace = s.namespace
    AND b.workload_kind = s.workload_kind
    AND b.workload_name = s.workload_name
  WHERE s.bounds > 0
),
highest AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    lower_bound,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY prompt_net_tokens + output_tokens DESC, requests DESC, bucket_ms
    ) AS bucket_rank
  FROM raw_arrivals
),
bounds AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(CASE WHEN lower_bound AND bucket_rank <= $bound_buckets THEN 1 ELSE 0 END) AS BIGINT)
      AS lower_bound_buckets
  FROM highest
  GROUP BY cluster, namespace, workload_kind, workload_name
)
SELECT
  s.cluster,
  s.namespace,
  s.workload_kind,
  s.workload_name,
  s.days_seen,
  s.buckets,
  s.known_ms,
  s.replica_ms,
  s.requests,
  s.prompt_tokens,
  s.prefix_hit_tokens,
  s.output_tokens,
  s.isl_tokens,
  s.isl_net_tokens,
  s.osl_tokens,
  CAST(p.peak_requests_5m AS BIGINT) AS peak_requests_5m,
  CAST(p.peak_prompt_net_tokens_5m AS BIGINT) AS peak_prompt_net_tokens_5m,
  CAST(p.peak_output_tokens_5m AS BIGINT) AS peak_output_tokens_5m,
  COALESCE(b.lower_bound_buckets, 0) > 0 AS peak_lower_bound,
  s.queue_max,
  s.running_max,
  s.preemptions
FROM shapes AS s
INNER JOIN peaks AS p
  ON s.cluster = p.cluster
  AND s.namespace = p.namespace
  AND s.workload_kind = p.workload_kind
  AND s.workload_name = p.workload_name
LEFT JOIN bounds AS b
  ON s.cluster = b.cluster
  AND s.namespace = b.namespace
  AND s.workload_kind = b.workload_kind
  AND s.workload_name = b.workload_name
ORDER BY s.cluster, s.namespace, s.workload_kind, s.workload_name
