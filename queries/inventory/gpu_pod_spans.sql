-- Which pod a GPU's telemetry named, joined up over ingest windows.
WITH spans AS (
  SELECT
    node,
    gpu,
    uuid,
    mig_instance,
    namespace,
    pod,
    CAST(ROUND(EXTRACT(EPOCH FROM first_ts) * 1000) AS BIGINT) AS first_ms,
    CAST(ROUND(EXTRACT(EPOCH FROM last_ts) * 1000) AS BIGINT) AS last_ms
  FROM gpu_pod_spans
  WHERE cluster = $cluster
    AND date >= CAST($from_date AS DATE)
    AND date <= CAST($to_date AS DATE)
),
marked AS (
  SELECT
    s.*,
    CASE
      WHEN first_ms - LAG(last_ms) OVER (
        PARTITION BY node, gpu, uuid, mig_instance, namespace, pod ORDER BY first_ms, last_ms
      ) <= $hold_ms
      THEN CAST(0 AS BIGINT)
      ELSE CAST(1 AS BIGINT)
    END AS starts
  FROM spans s
),
islands AS (
  SELECT
    m.*,
    SUM(starts) OVER (
      PARTITION BY node, gpu, uuid, mig_instance, namespace, pod ORDER BY first_ms, last_ms
    ) AS island
  FROM marked m
)
SELECT
  node,
  gpu,
  uuid,
  mig_instance,
  namespace,
  pod,
  MIN(first_ms) AS first_ms,
  MAX(last_ms) AS last_ms
FROM islands
GROUP BY node, gpu, uuid, mig_instance, namespace, pod, island
ORDER BY node, gpu, uuid, mig_instance NULLS FIRST, namespace, pod, first_ms
