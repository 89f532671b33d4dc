-- GPU-milliseconds that slots existed in the window, from the inventory alone: what the ledger,
-- which is made another way, must sum to.
WITH spans AS (
  SELECT DISTINCT
    cluster,
    node,
    slot,
    GREATEST(valid_from_ms, CAST($window_start_ms AS BIGINT)) AS from_ms,
    LEAST(valid_to_ms, CAST($window_end_ms AS BIGINT)) AS to_ms
  FROM slices
  WHERE valid_to_ms > $window_start_ms AND valid_from_ms < $window_end_ms
),
reach AS (
  SELECT
    s.*,
    MAX(to_ms) OVER (
      PARTITION BY cluster, node, slot
      ORDER BY from_ms, to_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS reached_ms
  FROM spans s
),
added AS (
  SELECT
    cluster,
    node,
    slot,
    CASE
      WHEN reached_ms IS NULL OR reached_ms <= from_ms THEN to_ms - from_ms
      WHEN reached_ms >= to_ms THEN CAST(0 AS BIGINT)
      ELSE to_ms - reached_ms
    END AS ms
  FROM reach
)
SELECT
  COALESCE(SUM(ms), CAST(0 AS BIGINT)) AS capacity_ms,
  COUNT(DISTINCT cluster || '/' || node || '/' || CAST(slot AS VARCHAR)) AS gpus
FROM added
WHERE ms > 0
ORDER BY capacity_ms
