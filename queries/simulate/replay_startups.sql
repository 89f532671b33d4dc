-- How long pods of the whole fleet took from their creation to ready, in the order of time taken. A pod that
-- was ready when it was first seen says nothing.
WITH lives AS (
  SELECT
    cluster,
    namespace,
    pod,
    uid,
    MIN(valid_from_ms) AS from_ms,
    MIN(CASE WHEN state = 'ready' THEN valid_from_ms END) AS ready_ms
  FROM pods
  WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE) AND gpu_milli > 0
  GROUP BY cluster, namespace, pod, uid
)
SELECT ready_ms - from_ms AS startup_ms
FROM lives
WHERE ready_ms > from_ms
ORDER BY ready_ms - from_ms
