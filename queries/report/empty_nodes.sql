-- Nodes that are there in the window's last hour and of which nobody has held anything for a day and
-- more, and since which hour. Time that is unknown is not called free.
WITH node_hours AS (
  SELECT
    cluster,
    price_key,
    node,
    hour_ms,
    CAST(SUM(ms) AS BIGINT) AS ms,
    CAST(SUM(CASE WHEN class = 'unallocated' THEN ms ELSE 0 END) AS BIGINT) AS free_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms AND final AND class <> 'absent'
  GROUP BY cluster, price_key, node, hour_ms
),
nodes AS (
  SELECT
    cluster,
    price_key,
    node,
    MAX(hour_ms) AS last_hour_ms,
    COALESCE(MAX(CASE WHEN free_ms < ms THEN hour_ms + 3600000 END), MIN(hour_ms)) AS free_from_ms
  FROM node_hours
  GROUP BY cluster, price_key, node
)
SELECT cluster, price_key, node, free_from_ms
FROM nodes
WHERE last_hour_ms >= $window_end_ms - 3600000 AND free_from_ms <= $window_end_ms - 86400000
ORDER BY cluster, price_key, node
