/*---
name: gpu_hours
title: Each device by the hour
order: 24
parts: nodes
grain: [node, gpu, uuid, mig_instance, hour_ms]
requires: [gpu_5m]
params: {}
---*/
SELECT node, gpu, uuid, mig_instance, bucket_ms - bucket_ms % 3600000 AS hour_ms,
  CAST(SUM(samples) AS BIGINT) AS samples,
  CAST(SUM(known_ms) AS BIGINT) AS known_ms,
  CAST(SUM(active_ms) AS BIGINT) AS active_ms,
  CAST(SUM(activity_ppm_sum) AS BIGINT) AS activity_ppm_sum,
  CAST(SUM(activity_samples) AS BIGINT) AS activity_samples,
  MAX(activity_ppm_max) AS activity_ppm_max,
  CAST(SUM(dram_ppm_sum) AS BIGINT) AS dram_ppm_sum,
  CAST(SUM(dram_samples) AS BIGINT) AS dram_samples,
  MAX(fb_used_mib_max) AS fb_used_mib_max,
  MAX(fb_total_mib_max) AS fb_total_mib_max,
  CAST(SUM(power_mw_sum) AS BIGINT) AS power_mw_sum,
  CAST(SUM(power_samples) AS BIGINT) AS power_samples
FROM gpu_5m
GROUP BY node, gpu, uuid, mig_instance, bucket_ms - bucket_ms % 3600000
ORDER BY node, gpu, uuid, mig_instance NULLS FIRST, hour_ms
