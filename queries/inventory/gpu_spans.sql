-- Stretches without holes in which one GPU or MIG instance was reported by one target.
WITH samples AS (
  SELECT
    node,
    gpu,
    uuid,
    mig_instance,
    mig_profile,
    model_name,
    target,
    CAST(ROUND(EXTRACT(EPOCH FROM ts) * 1000) AS BIGINT) AS ts_ms,
    COALESCE(scrape_interval_ms, CAST($default_interval_ms AS BIGINT)) AS interval_ms
  FROM gpu_samples
  WHERE cluster = $cluster
    AND date >= CAST($from_date AS DATE)
    AND date <= CAST($to_date AS DATE)
),
marked AS (
  SELECT
    s.*,
    CASE
      WHEN (ts_ms - LAG(ts_ms) OVER device) * 2 <= interval_ms * 5
        AND LAG(interval_ms) OVER device = interval_ms
      THEN CAST(0 AS BIGINT)
      ELSE CAST(1 AS BIGINT)
    END AS starts
  FROM samples s
  WINDOW device AS (PARTITION BY node, gpu, uuid, mig_instance, target ORDER BY ts_ms)
),
islands AS (
  SELECT
    m.*,
    SUM(starts) OVER (
      PARTITION BY node, gpu, uuid, mig_instance, target ORDER BY ts_ms
    ) AS island
  FROM marked m
)
SELECT
  node,
  gpu,
  uuid,
  mig_instance,
  MAX(mig_profile) AS mig_profile,
  MAX(model_name) AS model_name,
  target,
  MIN(ts_ms) AS first_ms,
  MAX(ts_ms) AS last_ms,
  MAX(interval_ms) AS interval_ms
FROM islands
GROUP BY node, gpu, uuid, mig_instance, target, island
ORDER BY node, gpu, uuid, mig_instance NULLS FIRST, target, first_ms
