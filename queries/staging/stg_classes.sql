/*---
name: stg_classes
title: The observed class of every moment of a slice
order: 170
grain: [node, slot, slice, from_ms]
requires: [stg_verdicts]
params:
  dark_ms: {type: int, unit: ms, default: 21600000, why: "no idle run of 143 real serving containers lay between 5.1 and 21.8 h"}
  lull_ms: {type: int, unit: ms, default: 1800000, why: "shorter pauses are how requests arrive"}
  bridge_ms: {type: int, unit: ms, default: 1800000, why: "a restart or a hole of half an hour does not make two nights of one"}
  warm_up_burst_ms: {type: int, unit: ms, default: 300000, why: "loading and the first canaries work for less than five minutes"}
  warm_up_within_ms: {type: int, unit: ms, default: 1800000, why: "warm-up follows a restart at once"}
---*/
WITH ordered AS (
  SELECT *,
    CASE
      WHEN verdict = 'quiet' THEN 'quiet'
      WHEN verdict IN ('pending', 'unknown') THEN 'bridge'
      WHEN verdict IN ('work', 'starved') THEN 'work'
      ELSE 'end'
    END AS kind
  FROM stg_verdicts
),
compared AS (
  SELECT *,
    CASE WHEN LAG(to_ms) OVER w = from_ms AND LAG(namespace) OVER w = namespace
      AND LAG(workload_kind) OVER w = workload_kind
      AND LAG(workload_name) OVER w = workload_name THEN 0 ELSE 1 END AS other,
    CASE WHEN LAG(kind) OVER w = kind THEN 0 ELSE 1 END AS turned
  FROM ordered
  WINDOW w AS (PARTITION BY node, slot, slice ORDER BY from_ms)
),
numbered AS (
  SELECT *,
    SUM(CASE WHEN other = 1 OR turned = 1 THEN 1 ELSE 0 END) OVER (
      PARTITION BY node, slot, slice ORDER BY from_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS stretch
  FROM compared
),
measured AS (
  SELECT *,
    SUM(to_ms - from_ms) OVER (PARTITION BY node, slot, slice, stretch) AS stretch_ms,
    MAX(to_ms) OVER (PARTITION BY node, slot, slice, stretch) AS stretch_to_ms,
    MIN(restart_ms) OVER (PARTITION BY node, slot, slice, stretch) AS stretch_restart_ms
  FROM numbered
),
broken AS (
  SELECT *,
    SUM(CASE
      WHEN other = 1 THEN 1
      WHEN kind = 'end' THEN 1
      WHEN kind = 'bridge' AND stretch_ms > $bridge_ms THEN 1
      WHEN kind = 'work' AND NOT (stretch_restart_ms IS NOT NULL
        AND stretch_ms <= $warm_up_burst_ms
        AND stretch_to_ms <= stretch_restart_ms + $warm_up_within_ms) THEN 1
      ELSE 0
    END) OVER (PARTITION BY node, slot, slice ORDER BY from_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS run
  FROM measured
),
runs AS (
  SELECT *,
    SUM(CASE WHEN kind = 'quiet' THEN to_ms - from_ms ELSE 0 END)
      OVER (PARTITION BY node, slot, slice, run) AS quiet_ms
  FROM broken
),
classed AS (
  SELECT *,
    CASE
      WHEN verdict = 'work' THEN 'serving'
      WHEN verdict = 'active' THEN 'unknown'
      WHEN verdict <> 'quiet' THEN verdict
      WHEN asleep = 1 THEN 'standby'
      WHEN declared = 1 AND quiet_ms >= $lull_ms THEN 'standby'
      WHEN quiet_ms >= $dark_ms THEN 'dark'
      -- Hardware alone proves a dark run, never a pause.
      WHEN has_engine = 0 THEN 'unknown'
      WHEN quiet_ms >= $lull_ms THEN 'lull'
      ELSE 'serving'
    END AS class
  FROM runs
)
SELECT node, slot, slice, from_ms, to_ms, slice_id, holder_id,
  namespace, pod, workload_kind, workload_name, verdict, class,
  CASE WHEN class = 'dark' THEN CASE WHEN has_engine = 1 THEN 'high' ELSE 'medium' END END
    AS quiet_confidence,
  CAST(CASE WHEN kind = 'quiet' THEN quiet_ms END AS BIGINT) AS run_ms
FROM classed
ORDER BY node, slot, slice, from_ms
