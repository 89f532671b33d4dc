/*---
name: stg_engine_spans
title: What the engines of each serving replica say about its work
order: 80
parts: workloads
grain: [namespace, replica, from_ms]
requires: [stg_engine_increases, stg_pod_replicas]
params: {}
---*/
WITH chained AS (
  SELECT namespace, pod, from_ms, to_ms, next_ms, cover_ms, seen, work,
    COALESCE(waiting_from, 0) AS waiting_from, COALESCE(waiting_to, 0) AS waiting_to,
    asleep_from, asleep_to,
    LEAD(seen) OVER (
      PARTITION BY namespace, pod, container, target, engine, engine_index, model_name
      ORDER BY to_ms) AS next_seen
  FROM stg_engine_increases
),
spans AS (
  -- Between two scrapes the counters speak for the whole time.
  SELECT namespace, pod, from_ms, to_ms,
    CASE WHEN work = 1 THEN 1 ELSE 2 END AS kind,
    CASE WHEN waiting_from > 0 THEN 1 ELSE 0 END AS queued, asleep_from AS asleep
  FROM chained
  WHERE seen = 1
  UNION ALL
  -- After a scrape that no counted one follows, its verdict holds as long as a sample does.
  SELECT namespace, pod, to_ms AS from_ms,
    LEAST(COALESCE(next_ms, to_ms + cover_ms), to_ms + cover_ms) AS to_ms,
    CASE WHEN seen = 0 THEN 3 WHEN work = 1 THEN 1 ELSE 2 END AS kind,
    CASE WHEN waiting_to > 0 THEN 1 ELSE 0 END AS queued, asleep_to AS asleep
  FROM chained
  WHERE next_seen IS NULL OR next_seen = 0
  UNION ALL
  -- A hole inside a process's life is unseen, whatever its sisters say.
  SELECT namespace, pod, LEAST(from_ms + cover_ms, to_ms), to_ms, 3, 0, 0
  FROM chained
  WHERE seen = 0 AND from_ms IS NOT NULL
),
owned AS (
  SELECT s.namespace, COALESCE(r.replica, s.pod) AS replica, s.from_ms, s.to_ms, s.kind,
    s.queued, s.asleep
  FROM spans AS s
  LEFT JOIN stg_pod_replicas AS r ON r.namespace = s.namespace AND r.pod = s.pod
  WHERE s.to_ms > s.from_ms
),
events AS (
  SELECT namespace, replica, from_ms AS t,
    CASE WHEN kind = 1 THEN 1 ELSE 0 END AS work, CASE WHEN kind = 2 THEN 1 ELSE 0 END AS quiet,
    CASE WHEN kind = 3 THEN 1 ELSE 0 END AS hole, queued,
    CASE WHEN kind <> 3 AND asleep = 0 THEN 1 ELSE 0 END AS awake
  FROM owned
  UNION ALL
  SELECT namespace, replica, to_ms,
    CASE WHEN kind = 1 THEN -1 ELSE 0 END, CASE WHEN kind = 2 THEN -1 ELSE 0 END,
    CASE WHEN kind = 3 THEN -1 ELSE 0 END, -queued,
    CASE WHEN kind <> 3 AND asleep = 0 THEN -1 ELSE 0 END
  FROM owned
),
points AS (
  SELECT namespace, replica, t, SUM(work) AS work, SUM(quiet) AS quiet, SUM(hole) AS hole,
    SUM(queued) AS queued, SUM(awake) AS awake
  FROM events
  GROUP BY namespace, replica, t
),
running AS (
  SELECT namespace, replica, t,
    SUM(work) OVER w AS work, SUM(quiet) OVER w AS quiet, SUM(hole) OVER w AS hole,
    SUM(queued) OVER w AS queued, SUM(awake) OVER w AS awake
  FROM points
  WINDOW w AS (PARTITION BY namespace, replica ORDER BY t
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
judged AS (
  SELECT namespace, replica, t,
    CASE WHEN work > 0 THEN 1 WHEN hole > 0 THEN 3 WHEN quiet > 0 THEN 2 ELSE 0 END AS state,
    CASE WHEN queued > 0 THEN 1 ELSE 0 END AS queued,
    CASE WHEN work = 0 AND hole = 0 AND quiet > 0 AND awake = 0 THEN 1 ELSE 0 END AS asleep
  FROM running
),
changed AS (
  SELECT namespace, replica, t, state, queued, asleep,
    LAG(state * 4 + queued * 2 + asleep) OVER (PARTITION BY namespace, replica ORDER BY t) AS before
  FROM judged
),
bounded AS (
  SELECT namespace, replica, t AS from_ms,
    LEAD(t) OVER (PARTITION BY namespace, replica ORDER BY t) AS to_ms, state, queued, asleep
  FROM changed
  WHERE before IS NULL OR before <> state * 4 + queued * 2 + asleep
)
SELECT namespace, replica, from_ms, to_ms, CAST(state AS BIGINT) AS state,
  CAST(queued AS BIGINT) AS queued, CAST(asleep AS BIGINT) AS asleep
FROM bounded
WHERE to_ms IS NOT NULL AND state > 0
ORDER BY namespace, replica, from_ms
