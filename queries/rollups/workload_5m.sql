/*---
name: workload_5m
title: Demand and supply of each workload in 5-minute buckets
order: 112
parts: workloads
grain: [namespace, workload_kind, workload_name, bucket_ms]
requires: [stg_engine_increases, stg_engine_spans, stg_pods, stg_pod_replicas, stg_cpu_increases]
params:
  old_queue_ms: {type: int, unit: ms, default: 900000, why: "arrivals behind a queue older than 15 minutes may have gone elsewhere: demand is a lower bound"}
---*/
WITH engine_pods AS (
  SELECT DISTINCT namespace, pod FROM stg_engine_increases
),
members AS (
  -- Pods that serve: they hold a GPU or expose an engine.
  SELECT COALESCE(r.namespace, e.namespace) AS namespace, COALESCE(r.pod, e.pod) AS pod,
    COALESCE(r.replica, e.pod) AS replica,
    COALESCE(r.workload_kind, 'pod') AS workload_kind,
    COALESCE(r.workload_name, e.pod) AS workload_name
  FROM stg_pod_replicas AS r
  FULL JOIN engine_pods AS e ON e.namespace = r.namespace AND e.pod = r.pod
  WHERE e.pod IS NOT NULL OR r.gpu_milli > 0
),
counts AS (
  -- Completed work belongs to the bucket of the scrape that reported it.
  SELECT m.namespace, m.workload_kind, m.workload_name, m.replica,
    i.container, i.target, i.engine, i.engine_index, i.model_name, i.pod,
    i.to_ms - i.to_ms % 300000 AS bucket_ms,
    SUM(CASE WHEN i.seen = 1 THEN i.requests ELSE 0 END) AS requests,
    SUM(CASE WHEN i.seen = 1 THEN i.prompt_tokens ELSE 0 END) AS prompt_tokens,
    SUM(CASE WHEN i.seen = 1 THEN i.output_tokens ELSE 0 END) AS output_tokens,
    SUM(CASE WHEN i.seen = 1 THEN i.prefix_hit_tokens ELSE 0 END) AS prefix_hit_tokens,
    SUM(CASE WHEN i.seen = 1 THEN i.prefix_query_tokens ELSE 0 END) AS prefix_query_tokens,
    SUM(CASE WHEN i.seen = 1 THEN i.preemptions ELSE 0 END) AS preemptions,
    SUM(CASE WHEN i.seen = 1 THEN i.rejected ELSE 0 END) AS rejected,
    SUM(CASE WHEN i.seen = 1 THEN COALESCE(i.waiting_to, 0) - COALESCE(i.waiting_from, 0) ELSE 0 END) AS queue_change,
    MAX(i.waiting_to) AS queue_max, MAX(i.running_to) AS running_max, MAX(i.kv_ppm) AS kv_ppm_max
  FROM stg_engine_increases AS i
  JOIN members AS m ON m.namespace = i.namespace AND m.pod = i.pod
  WHERE i.to_ms >= $day_start_ms AND i.to_ms < $day_end_ms
  GROUP BY m.namespace, m.workload_kind, m.workload_name, m.replica,
    i.container, i.target, i.engine, i.engine_index, i.model_name, i.pod,
    i.to_ms - i.to_ms % 300000
),
demand AS (
  SELECT namespace, workload_kind, workload_name, bucket_ms,
    SUM(requests) AS requests, SUM(prompt_tokens) AS prompt_tokens,
    SUM(output_tokens) AS output_tokens, SUM(prefix_hit_tokens) AS prefix_hit_tokens,
    SUM(prefix_query_tokens) AS prefix_query_tokens, SUM(preemptions) AS preemptions,
    SUM(rejected) AS rejected,
    -- Net over the bucket: a queue that comes and goes was completed work.
    GREATEST(SUM(queue_change), 0) AS queue_growth,
    SUM(queue_max) AS queue_max, SUM(running_max) AS running_max, MAX(kv_ppm_max) AS kv_ppm_max
  FROM counts
  GROUP BY namespace, workload_kind, workload_name, bucket_ms
),
cpu AS (
  SELECT m.namespace, m.workload_kind, m.workload_name, c.to_ms - c.to_ms % 300000 AS bucket_ms,
    SUM(c.periods) AS cfs_periods, SUM(c.throttled) AS cfs_throttled_periods, SUM(c.cpu_ms) AS cpu_ms
  FROM stg_cpu_increases AS c
  JOIN members AS m ON m.namespace = c.namespace AND m.pod = c.pod
  WHERE c.to_ms >= $day_start_ms AND c.to_ms < $day_end_ms
  GROUP BY m.namespace, m.workload_kind, m.workload_name, c.to_ms - c.to_ms % 300000
),
replicas AS (
  SELECT DISTINCT namespace, workload_kind, workload_name, replica FROM members
),
buckets AS (
  SELECT $day_start_ms + h.hour * 3600000 + f.five * 300000 AS bucket_ms
  FROM (
    VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15),
      (16), (17), (18), (19), (20), (21), (22), (23), (24)
  ) AS h(hour)
  CROSS JOIN (
    VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11)
  ) AS f(five)
),
spans AS (
  SELECT m.namespace, m.workload_kind, m.workload_name, m.replica, p.from_ms, p.to_ms,
    1 AS ready, 0 AS known, 0 AS queued
  FROM stg_pods AS p
  JOIN members AS m ON m.namespace = p.namespace AND m.pod = p.pod
  WHERE p.state = 'ready'
  UNION ALL
  SELECT r.namespace, r.workload_kind, r.workload_name, r.replica, e.from_ms, e.to_ms,
    0, CASE WHEN e.state < 3 THEN 1 ELSE 0 END, e.queued
  FROM stg_engine_spans AS e
  JOIN replicas AS r ON r.namespace = e.namespace AND r.replica = e.replica
),
points AS (
  SELECT namespace, workload_kind, workload_name, replica, t,
    SUM(ready) AS ready, SUM(known) AS known, SUM(queued) AS queued
  FROM (
    SELECT namespace, workload_kind, workload_name, replica, from_ms AS t, ready, known, queued
    FROM spans
    UNION ALL
    SELECT namespace, workload_kind, workload_name, replica, to_ms, -ready, -known, -queued
    FROM spans
    UNION ALL
    SELECT r.namespace, r.workload_kind, r.workload_name, r.replica, b.bucket_ms, 0, 0, 0
    FROM replicas AS r
    CROSS JOIN buckets AS b
  ) AS events
  GROUP BY namespace, workload_kind, workload_name, replica, t
),
running AS (
  SELECT namespace, workload_kind, workload_name, replica, t,
    LEAD(t) OVER (PARTITION BY namespace, workload_kind, workload_name, replica ORDER BY t) AS to_ms,
    SUM(ready) OVER w AS ready, SUM(known) OVER w AS known, SUM(queued) OVER w AS queued
  FROM points
  WINDOW w AS (PARTITION BY namespace, workload_kind, workload_name, replica ORDER BY t
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
queues AS (
  SELECT *,
    -- The last moment without a queue tells how old the queue is.
    MAX(CASE WHEN queued = 0 THEN to_ms END) OVER (
      PARTITION BY namespace, workload_kind, workload_name, replica ORDER BY t
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS queue_from_ms,
    MIN(t) OVER (PARTITION BY namespace, workload_kind, workload_name, replica) AS first_ms
  FROM running
),
supply AS (
  SELECT namespace, workload_kind, workload_name, t - t % 300000 AS bucket_ms,
    SUM(CASE WHEN ready > 0 THEN to_ms - t ELSE 0 END) AS replica_ms,
    SUM(CASE WHEN ready > 0 AND known > 0 THEN to_ms - t ELSE 0 END) AS known_ms,
    SUM(CASE WHEN queued > 0 THEN to_ms - t ELSE 0 END) AS queued_ms,
    MAX(CASE WHEN queued > 0
      AND to_ms - COALESCE(queue_from_ms, first_ms) > $old_queue_ms THEN 1 ELSE 0 END) AS old_queue
  FROM queues
  WHERE to_ms IS NOT NULL AND t >= $day_start_ms AND t < $day_end_ms
  GROUP BY namespace, workload_kind, workload_name, t - t % 300000
),
keys AS (
  SELECT namespace, workload_kind, workload_name, bucket_ms FROM supply
  WHERE replica_ms > 0 OR known_ms > 0 OR queued_ms > 0
  UNION
  SELECT namespace, workload_kind, workload_name, bucket_ms FROM demand
)
SELECT k.namespace, k.workload_kind, k.workload_name, k.bucket_ms,
  CAST(COALESCE(s.known_ms, 0) AS BIGINT) AS known_ms,
  CAST(COALESCE(s.replica_ms, 0) AS BIGINT) AS replica_ms,
  CAST(COALESCE(d.requests, 0) AS BIGINT) AS requests,
  CAST(COALESCE(d.prompt_tokens, 0) AS BIGINT) AS prompt_tokens,
  CAST(COALESCE(d.output_tokens, 0) AS BIGINT) AS output_tokens,
  CAST(COALESCE(d.prefix_hit_tokens, 0) AS BIGINT) AS prefix_hit_tokens,
  CAST(COALESCE(d.prefix_query_tokens, 0) AS BIGINT) AS prefix_query_tokens,
  CAST(COALESCE(d.queue_growth, 0) AS BIGINT) AS queue_growth,
  CAST(COALESCE(d.rejected, 0) AS BIGINT) AS rejected,
  CAST(COALESCE(d.preemptions, 0) AS BIGINT) AS preemptions,
  CAST(d.queue_max AS BIGINT) AS queue_max,
  CAST(d.running_max AS BIGINT) AS running_max,
  CAST(d.kv_ppm_max AS BIGINT) AS kv_usage_ppm_max,
  CAST(COALESCE(s.queued_ms, 0) AS BIGINT) AS queued_ms,
  COALESCE(d.preemptions, 0) > 0 OR COALESCE(s.old_queue, 0) > 0 AS lower_bound,
  CAST(COALESCE(c.cfs_periods, 0) AS BIGINT) AS cfs_periods,
  CAST(COALESCE(c.cfs_throttled_periods, 0) AS BIGINT) AS cfs_throttled_periods,
  CAST(COALESCE(c.cpu_ms, 0) AS BIGINT) AS cpu_ms
FROM keys AS k
LEFT JOIN supply AS s ON s.namespace = k.namespace AND s.workload_kind = k.workload_kind
  AND s.workload_name = k.workload_name AND s.bucket_ms = k.bucket_ms
LEFT JOIN demand AS d ON d.namespace = k.namespace AND d.workload_kind = k.workload_kind
  AND d.workload_name = k.workload_name AND d.bucket_ms = k.bucket_ms
LEFT JOIN cpu AS c ON c.namespace = k.namespace AND c.workload_kind = k.workload_kind
  AND c.workload_name = k.workload_name AND c.bucket_ms = k.bucket_ms
ORDER BY k.namespace, k.workload_kind, k.workload_name, k.bucket_ms
