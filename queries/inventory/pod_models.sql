-- The model that each pod's engine names itself, the last one where it changed.
WITH named AS (
  SELECT
    namespace,
    pod,
    model_name,
    MAX(ts) AS last_ts
  FROM serving_samples
  WHERE cluster = $cluster
    AND date >= CAST($from_date AS DATE)
    AND date <= CAST($to_date AS DATE)
    AND model_name IS NOT NULL
  GROUP BY namespace, pod, model_name
),
ranked AS (
  SELECT
    namespace,
    pod,
    model_name,
    ROW_NUMBER() OVER (PARTITION BY namespace, pod ORDER BY last_ts DESC, model_name) AS place
  FROM named
)
SELECT namespace, pod, model_name
FROM ranked
WHERE place = 1
ORDER BY namespace, pod
