/*---
name: gpu_5m
title: Each device in 5-minute buckets
order: 22
parts: nodes
grain: [node, gpu, uuid, mig_instance, bucket_ms]
requires: [stg_gpu_samples, stg_gpu_spans]
params: {}
---*/
WITH sampled AS (
  SELECT node, gpu, uuid, mig_instance, ts_ms - ts_ms % 300000 AS bucket_ms,
    COUNT(*) AS samples,
    SUM(activity_ppm) AS activity_ppm_sum, COUNT(activity_ppm) AS activity_samples,
    MAX(activity_ppm) AS activity_ppm_max,
    SUM(dram_ppm) AS dram_ppm_sum, COUNT(dram_ppm) AS dram_samples,
    MAX(fb_used_mib) AS fb_used_mib_max, MAX(fb_total_mib) AS fb_total_mib_max,
    SUM(power_mw) AS power_mw_sum, COUNT(power_mw) AS power_samples
  FROM stg_gpu_samples
  WHERE ts_ms >= $day_start_ms AND ts_ms < $day_end_ms
  GROUP BY node, gpu, uuid, mig_instance, ts_ms - ts_ms % 300000
),
devices AS (
  SELECT DISTINCT node, gpu, uuid, mig_instance
  FROM stg_gpu_spans
  WHERE from_ms < $day_end_ms AND to_ms > $day_start_ms
),
buckets AS (
  SELECT $day_start_ms + h.hour * 3600000 + f.five * 300000 AS bucket_ms
  FROM (
    VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15),
      (16), (17), (18), (19), (20), (21), (22), (23)
  ) AS h(hour)
  CROSS JOIN (
    VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11)
  ) AS f(five)
),
-- Spans are cut by laying the bucket edges among their own.
points AS (
  SELECT node, gpu, uuid, mig_instance, t, SUM(known) AS known, SUM(active) AS active
  FROM (
    SELECT node, gpu, uuid, mig_instance, GREATEST(from_ms, $day_start_ms) AS t, 1 AS known, active
    FROM stg_gpu_spans
    WHERE from_ms < $day_end_ms AND to_ms > $day_start_ms
    UNION ALL
    SELECT node, gpu, uuid, mig_instance, LEAST(to_ms, $day_end_ms), -1, -active
    FROM stg_gpu_spans
    WHERE from_ms < $day_end_ms AND to_ms > $day_start_ms
    UNION ALL
    SELECT d.node, d.gpu, d.uuid, d.mig_instance, b.bucket_ms, 0, 0
    FROM devices AS d
    CROSS JOIN buckets AS b
  ) AS events
  GROUP BY node, gpu, uuid, mig_instance, t
),
running AS (
  SELECT node, gpu, uuid, mig_instance, t, LEAD(t) OVER w AS to_ms,
    SUM(known) OVER (PARTITION BY node, gpu, uuid, mig_instance ORDER BY t
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS known,
    SUM(active) OVER (PARTITION BY node, gpu, uuid, mig_instance ORDER BY t
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS active
  FROM points
  WINDOW w AS (PARTITION BY node, gpu, uuid, mig_instance ORDER BY t)
),
covered AS (
  SELECT node, gpu, uuid, mig_instance, t - t % 300000 AS bucket_ms,
    SUM(CASE WHEN known > 0 THEN to_ms - t ELSE 0 END) AS known_ms,
    SUM(CASE WHEN active > 0 THEN to_ms - t ELSE 0 END) AS active_ms
  FROM running
  WHERE to_ms IS NOT NULL
  GROUP BY node, gpu, uuid, mig_instance, t - t % 300000
),
joined AS (
  SELECT COALESCE(s.node, c.node) AS node, COALESCE(s.gpu, c.gpu) AS gpu,
    COALESCE(s.uuid, c.uuid) AS uuid,
    NULLIF(COALESCE(s.mig_instance, c.mig_instance), '') AS mig_instance,
    COALESCE(s.bucket_ms, c.bucket_ms) AS bucket_ms,
    CAST(COALESCE(s.samples, 0) AS BIGINT) AS samples,
    CAST(COALESCE(c.known_ms, 0) AS BIGINT) AS known_ms,
    CAST(COALESCE(c.active_ms, 0) AS BIGINT) AS active_ms,
    CAST(s.activity_ppm_sum AS BIGINT) AS activity_ppm_sum,
    CAST(s.activity_samples AS BIGINT) AS activity_samples,
    s.activity_ppm_max,
    CAST(s.dram_ppm_sum AS BIGINT) AS dram_ppm_sum, CAST(s.dram_samples AS BIGINT) AS dram_samples,
    s.fb_used_mib_max, s.fb_total_mib_max,
    CAST(s.power_mw_sum AS BIGINT) AS power_mw_sum,
    CAST(s.power_samples AS BIGINT) AS power_samples
  FROM sampled AS s
  FULL JOIN covered AS c
    ON c.node = s.node AND c.gpu = s.gpu AND c.uuid = s.uuid
    AND c.mig_instance = s.mig_instance AND c.bucket_ms = s.bucket_ms
)
SELECT *
FROM joined
WHERE samples > 0 OR known_ms > 0
ORDER BY node, gpu, uuid, mig_instance NULLS FIRST, bucket_ms
