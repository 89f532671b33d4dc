/*---
name: stg_gpu_spans
title: Known activity of each device as non-overlapping spans
order: 20
parts: nodes
grain: [node, gpu, uuid, mig_instance, from_ms]
requires: [stg_gpu_samples]
params:
  cover_percent: {type: int, unit: "%", default: 250, why: "a sample holds 2.5 x its target's interval: one lost scrape is bridged, two are not"}
  gauge_hold_ms: {type: int, unit: ms, default: 600000, why: "exporters drop a gauge while it is idle; beyond ten minutes beside its siblings it is unknown"}
  idle_floor_ppm: {type: int, unit: ppm, default: 10000, why: "display and monitoring wake a GPU below 1 %"}
  quiet_median_ppm: {type: int, unit: ppm, default: 50000, why: "with counters at probe level a median up to 5 % is probes, not requests"}
  low_activity_ppm: {type: int, unit: ppm, default: 300000, why: "a starved GPU is mostly waiting"}
  idle_dram_ppm: {type: int, unit: ppm, default: 10000, why: "memory traffic above 1 % is somebody's work"}
  idle_power_over_min_percent: {type: int, unit: "%", default: 30, why: "idle power differs by product; the device's own minimum within the span is the yardstick"}
---*/
WITH keyed AS (
  SELECT node, gpu, uuid, mig_instance, target,
    MIN(ts_ms) AS first_ms, MAX(ts_ms) + $gauge_hold_ms AS last_ms
  FROM stg_gpu_samples
  GROUP BY node, gpu, uuid, mig_instance, target
),
scrapes AS (
  SELECT target, ts_ms, MAX(scrape_interval_ms) AS scrape_interval_ms
  FROM stg_gpu_samples
  GROUP BY target, ts_ms
),
-- Every scrape of a target is seen by all its devices: a device missing beside its siblings
-- is a gauge missing, not a scrape missing.
grid AS (
  SELECT k.node, k.gpu, k.uuid, k.mig_instance, s.ts_ms,
    MAX(s.scrape_interval_ms) AS scrape_interval_ms
  FROM keyed AS k
  JOIN scrapes AS s ON s.target = k.target
  WHERE s.ts_ms >= k.first_ms AND s.ts_ms <= k.last_ms
  GROUP BY k.node, k.gpu, k.uuid, k.mig_instance, s.ts_ms
),
-- A window over a whole device holds all its rows at once, and the engine those of many: every
-- window here runs along, and what is of the whole is grouped apart.
minima AS (
  SELECT node, gpu, uuid, mig_instance, MIN(power_mw) AS power_min_mw
  FROM stg_gpu_samples
  WHERE target IS NOT NULL
  GROUP BY node, gpu, uuid, mig_instance
),
seen AS (
  SELECT g.node, g.gpu, g.uuid, g.mig_instance, g.ts_ms, g.scrape_interval_ms,
    s.activity_ppm, s.dram_ppm, s.power_mw, m.power_min_mw
  FROM grid AS g
  JOIN minima AS m
    ON m.node = g.node AND m.gpu = g.gpu AND m.uuid = g.uuid AND m.mig_instance = g.mig_instance
  LEFT JOIN stg_gpu_samples AS s
    ON s.node = g.node AND s.gpu = g.gpu AND s.uuid = g.uuid
    AND s.mig_instance = g.mig_instance AND s.ts_ms = g.ts_ms
),
judged AS (
  SELECT node, gpu, uuid, mig_instance, ts_ms, scrape_interval_ms, activity_ppm,
    CASE
      WHEN dram_ppm IS NULL AND power_mw IS NULL THEN NULL
      WHEN dram_ppm > $idle_dram_ppm THEN 0
      WHEN power_mw * 100 > power_min_mw * (100 + $idle_power_over_min_percent) THEN 0
      ELSE 1
    END AS hardware_idle,
    LEAD(ts_ms) OVER (PARTITION BY node, gpu, uuid, mig_instance ORDER BY ts_ms) AS next_ms,
    -- A frame bound cannot be a parameter: 900000 ms is the design's 15-minute median.
    SUM(CASE WHEN activity_ppm > $quiet_median_ppm THEN 1 ELSE 0 END) OVER (
      PARTITION BY node, gpu, uuid, mig_instance ORDER BY ts_ms
      RANGE BETWEEN 900000 PRECEDING AND CURRENT ROW) AS above_median,
    COUNT(activity_ppm) OVER (
      PARTITION BY node, gpu, uuid, mig_instance ORDER BY ts_ms
      RANGE BETWEEN 900000 PRECEDING AND CURRENT ROW) AS in_median,
    COUNT(activity_ppm) OVER (
      PARTITION BY node, gpu, uuid, mig_instance ORDER BY ts_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS activity_group
  FROM seen
),
grouped AS (
  SELECT node, gpu, uuid, mig_instance, ts_ms, next_ms, activity_group, activity_ppm,
    above_median, in_median,
    ts_ms + CAST(CAST(scrape_interval_ms * $cover_percent
      - (scrape_interval_ms * $cover_percent) % 100 AS DOUBLE) / CAST(100 AS DOUBLE) AS BIGINT) AS cover_to_ms,
    hardware_idle,
    COUNT(hardware_idle) OVER (
      PARTITION BY node, gpu, uuid, mig_instance ORDER BY ts_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS hardware_group
  FROM judged
),
-- What is known opens its group: the greatest of a group up to a row is what was known there.
held AS (
  SELECT node, gpu, uuid, mig_instance, ts_ms,
    LEAST(COALESCE(next_ms, cover_to_ms), cover_to_ms) AS seen_to_ms,
    above_median, in_median,
    MAX(activity_ppm) OVER (
      PARTITION BY node, gpu, uuid, mig_instance, activity_group ORDER BY ts_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS activity_ppm,
    MAX(CASE WHEN activity_ppm IS NOT NULL THEN ts_ms END) OVER (
      PARTITION BY node, gpu, uuid, mig_instance, activity_group ORDER BY ts_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS activity_at_ms,
    MAX(hardware_idle) OVER (
      PARTITION BY node, gpu, uuid, mig_instance, hardware_group ORDER BY ts_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS hardware_idle,
    MAX(CASE WHEN hardware_idle IS NOT NULL THEN ts_ms END) OVER (
      PARTITION BY node, gpu, uuid, mig_instance, hardware_group ORDER BY ts_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS hardware_at_ms
  FROM grouped
),
bounded AS (
  SELECT node, gpu, uuid, mig_instance, ts_ms AS from_ms,
    CASE WHEN activity_at_ms = ts_ms THEN seen_to_ms
      ELSE LEAST(seen_to_ms, activity_at_ms + $gauge_hold_ms) END AS to_ms,
    activity_ppm, above_median, in_median,
    CASE WHEN hardware_at_ms = ts_ms OR hardware_at_ms + $gauge_hold_ms >= seen_to_ms
      THEN hardware_idle ELSE 0 END AS hardware_idle
  FROM held
  WHERE activity_ppm IS NOT NULL
),
spans AS (
  SELECT node, gpu, uuid, mig_instance, from_ms, to_ms,
    CASE WHEN activity_ppm > $idle_floor_ppm THEN 1 ELSE 0 END AS active,
    CASE
      WHEN in_median = 0 THEN CASE WHEN activity_ppm > $quiet_median_ppm THEN 1 ELSE 0 END
      WHEN above_median * 2 > in_median THEN 1 ELSE 0
    END AS active_by_median,
    CASE WHEN activity_ppm <= $low_activity_ppm THEN 1 ELSE 0 END AS low,
    COALESCE(hardware_idle, 0) AS hardware_idle
  FROM bounded
  WHERE to_ms > from_ms
),
-- What follows upon its like without a gap is one span with it: a day of scrapes becomes its changes.
compared AS (
  SELECT *,
    CASE WHEN LAG(to_ms) OVER w = from_ms
      AND LAG(active + 2 * active_by_median + 4 * low + 8 * hardware_idle) OVER w
        = active + 2 * active_by_median + 4 * low + 8 * hardware_idle THEN 0 ELSE 1 END AS begins
  FROM spans
  WINDOW w AS (PARTITION BY node, gpu, uuid, mig_instance ORDER BY from_ms)
),
numbered AS (
  SELECT *,
    SUM(begins) OVER (PARTITION BY node, gpu, uuid, mig_instance ORDER BY from_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS span
  FROM compared
)
SELECT node, gpu, uuid, mig_instance, MIN(from_ms) AS from_ms, MAX(to_ms) AS to_ms,
  CAST(MAX(active) AS BIGINT) AS active,
  CAST(MAX(active_by_median) AS BIGINT) AS active_by_median,
  CAST(MAX(low) AS BIGINT) AS low,
  CAST(MAX(hardware_idle) AS BIGINT) AS hardware_idle
FROM numbered
GROUP BY node, gpu, uuid, mig_instance, span
ORDER BY node, gpu, uuid, mig_instance, from_ms
