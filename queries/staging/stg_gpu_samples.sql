/*---
name: stg_gpu_samples
title: GPU samples with one row a device and scrape, in integers
order: 10
parts: nodes
grain: [node, gpu, uuid, mig_instance, ts_ms]
requires: [gpu_samples]
params:
  lookback_ms: {type: int, unit: ms, default: 1800000, why: "a value held or a median begun before the span must be seen; twice the 15-minute median"}
  default_scrape_interval_ms: {type: int, unit: ms, default: 60000, why: "a target scraped once has no spacing; one minute is Prometheus' own default"}
  bad_sensor_util_percent: {type: int, unit: "%", default: 50, why: "a profiling counter stuck at 0 beside this utilisation is a bad sensor"}
---*/
WITH raw AS (
  SELECT
    node, gpu, uuid,
    COALESCE(mig_instance, '') AS mig_instance,
    target,
    CAST(round(extract(epoch FROM ts) * 1000) AS BIGINT) AS ts_ms,
    COALESCE(scrape_interval_ms, $default_scrape_interval_ms) AS scrape_interval_ms,
    -- Values outside any meaning (NaN, negative, garbage) are missing, not zero.
    CASE WHEN util_percent >= 0 AND util_percent <= 150 THEN util_percent END AS util,
    CASE WHEN gr_engine_active >= 0 AND gr_engine_active <= 1.5 THEN gr_engine_active END AS gr,
    CASE WHEN dram_active >= 0 AND dram_active <= 1.5 THEN dram_active END AS dram,
    CASE WHEN power_watts >= 0 AND power_watts <= 100000 THEN power_watts END AS power,
    CASE WHEN fb_used_mib >= 0 AND fb_used_mib <= 100000000 THEN fb_used_mib END AS fb_used,
    CASE WHEN fb_free_mib >= 0 AND fb_free_mib <= 100000000 THEN fb_free_mib END AS fb_free,
    CASE WHEN fb_reserved_mib >= 0 AND fb_reserved_mib <= 100000000 THEN fb_reserved_mib END AS fb_reserved
  FROM gpu_samples
  WHERE cluster = $cluster
),
one AS (
  -- Two exporters or two Prometheus replicas may say the same thing: the larger value stands.
  SELECT node, gpu, uuid, mig_instance, ts_ms,
    MIN(target) AS target,
    MAX(scrape_interval_ms) AS scrape_interval_ms,
    MAX(util) AS util, MAX(gr) AS gr, MAX(dram) AS dram, MAX(power) AS power,
    MAX(fb_used) AS fb_used, MAX(fb_free) AS fb_free, MAX(fb_reserved) AS fb_reserved
  FROM raw
  WHERE ts_ms >= $day_start_ms - $margin_ms - $lookback_ms
    AND ts_ms < $day_end_ms + $margin_ms + $lookback_ms
  GROUP BY node, gpu, uuid, mig_instance, ts_ms
)
SELECT node, gpu, uuid, mig_instance, ts_ms, target, scrape_interval_ms,
  CASE
    WHEN gr IS NOT NULL AND NOT (gr = 0 AND COALESCE(util, 0) > $bad_sensor_util_percent)
      THEN CAST(LEAST(round(gr * 1000000), 1000000) AS BIGINT)
    WHEN util IS NOT NULL THEN CAST(LEAST(round(util * 10000), 1000000) AS BIGINT)
  END AS activity_ppm,
  -- LEAST passes over NULL: without the guard a missing gauge would read as full traffic.
  CASE WHEN dram IS NOT NULL
    THEN CAST(LEAST(round(dram * 1000000), 1000000) AS BIGINT) END AS dram_ppm,
  CAST(round(power * 1000) AS BIGINT) AS power_mw,
  CAST(round(fb_used) AS BIGINT) AS fb_used_mib,
  CAST(round(fb_used + fb_free + COALESCE(fb_reserved, 0)) AS BIGINT) AS fb_total_mib
FROM one
ORDER BY node, gpu, uuid, mig_instance, ts_ms
