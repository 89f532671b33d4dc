-- What of each kind of node could be handed back, by price key: how many nodes and GPUs there are in the
-- window's last hour, and what of them would be free in the last week once every open recommendation
-- is carried out. Free is what nobody holds, and what claims free, less what they add; starved time is
-- won, not freed, and what somebody accepted stays held. Packing is not done here: whole nodes out of
-- these GPUs are the most that can go.
WITH node_hours AS (
  SELECT
    cluster,
    price_key,
    node,
    hour_ms,
    CAST(COUNT(DISTINCT slot) AS BIGINT) AS gpus,
    CAST(SUM(CASE WHEN class = 'unallocated' THEN ms ELSE 0 END) AS BIGINT) AS free_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms >= $window_end_ms - 604800000 AND hour_ms < $window_end_ms
    AND final AND class <> 'absent'
  GROUP BY cluster, price_key, node, hour_ms
),
open_claims AS (
  SELECT c.cluster, c.price_key, c.price_key_added, c.hour_ms, c.class, c.ms_freed, c.ms_added
  FROM claims_netted AS c
  INNER JOIN findings AS f ON f.cluster = c.cluster AND f.finding_id = c.finding_id
  WHERE f.status = 'alarm' AND f.state = 'open'
),
moved AS (
  SELECT cluster, price_key, hour_ms, CAST(SUM(ms) AS BIGINT) AS ms
  FROM (
    SELECT cluster, price_key, hour_ms, ms_freed AS ms
    FROM open_claims
    WHERE class NOT IN ('unallocated', 'starved')
    UNION ALL
    SELECT cluster, price_key_added AS price_key, hour_ms, 0 - ms_added AS ms
    FROM open_claims
    WHERE ms_added > 0 AND price_key_added IS NOT NULL
  ) AS both_ways
  GROUP BY cluster, price_key, hour_ms
),
pool_hours AS (
  SELECT
    h.cluster,
    h.price_key,
    h.hour_ms,
    CAST(COUNT(*) AS BIGINT) AS nodes,
    CAST(SUM(h.gpus) AS BIGINT) AS gpus,
    CAST(SUM(h.free_ms) + COALESCE(MAX(m.ms), 0) AS BIGINT) AS free_ms
  FROM node_hours AS h
  LEFT JOIN moved AS m ON m.cluster = h.cluster AND m.price_key = h.price_key AND m.hour_ms = h.hour_ms
  GROUP BY h.cluster, h.price_key, h.hour_ms
),
pools AS (
  SELECT
    cluster,
    price_key,
    CAST(MAX(CASE WHEN hour_ms >= $window_end_ms - 3600000 THEN nodes ELSE 0 END) AS BIGINT) AS nodes,
    CAST(MAX(CASE WHEN hour_ms >= $window_end_ms - 3600000 THEN gpus ELSE 0 END) AS BIGINT) AS gpus,
    MIN(free_ms) AS least_free_ms,
    CAST(SUM(free_ms) AS BIGINT) AS free_ms,
    CAST(COUNT(*) AS BIGINT) AS hours
  FROM pool_hours
  GROUP BY cluster, price_key
),
reserved AS (
  SELECT
    h.cluster,
    h.price_key,
    CAST(COUNT(DISTINCT h.node) AS BIGINT) AS reserved_nodes
  FROM node_hours AS h
  INNER JOIN node_details AS d ON d.cluster = h.cluster AND d.node = h.node
  WHERE h.hour_ms >= $window_end_ms - 3600000
    AND d.valid_to_ms >= $window_end_ms AND d.valid_from_ms < $window_end_ms
    AND d.reservation_id IS NOT NULL AND d.reservation_id <> ''
  GROUP BY h.cluster, h.price_key
)
SELECT
  p.cluster,
  p.price_key,
  p.nodes,
  p.gpus,
  r.gpus_per_node,
  p.least_free_ms,
  p.free_ms,
  p.hours,
  COALESCE(r.effective_usd_per_gpu_hour, r.contracted_usd_per_gpu_hour, r.list_usd_per_gpu_hour)
    AS usd_per_gpu_hour,
  r.commitment_id,
  r.commitment_end_ms,
  COALESCE(v.reserved_nodes, CAST(0 AS BIGINT)) AS reserved_nodes
FROM pools AS p
LEFT JOIN prices AS r ON r.cluster = p.cluster AND r.price_key = p.price_key
LEFT JOIN reserved AS v ON v.cluster = p.cluster AND v.price_key = p.price_key
WHERE p.nodes > 0
ORDER BY p.cluster, p.price_key
