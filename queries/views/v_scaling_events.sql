-- Every change of scale that was seen: what, before and after, between which sightings, by whom, at what cost.
--
-- usd_per_hour is what the change added (or took off) from then on, at today's price; cost_usd the sum of
-- it until the same was changed again, or until the data ends. Both are NULL where no price is known and
-- where the change by itself holds no GPU. Of an interval's floor it is what the floor keeps at least.
WITH priced AS (
  SELECT
    e.*,
    CAST(COALESCE(b.effective_usd_per_gpu_hour, b.contracted_usd_per_gpu_hour, b.list_usd_per_gpu_hour)
      AS DECIMAL(16, 6)) AS usd_before,
    CAST(COALESCE(a.effective_usd_per_gpu_hour, a.contracted_usd_per_gpu_hour, a.list_usd_per_gpu_hour)
      AS DECIMAL(16, 6)) AS usd_after,
    LEAD(e.seen_ms) OVER (
      PARTITION BY e.cluster, e.namespace, e.workload_kind, e.workload_name, e.object, e.field, e.cost_basis
      ORDER BY e.seen_ms
    ) AS next_ms
  FROM scaling_events e
  LEFT JOIN prices b ON b.cluster = e.cluster AND b.price_key = e.price_key_before
  LEFT JOIN prices a ON a.cluster = e.cluster AND a.price_key = e.price_key_after
),
ends AS (
  SELECT cluster, MAX(valid_to_ms) AS end_ms
  FROM workloads
  GROUP BY cluster
),
rated AS (
  SELECT
    p.*,
    COALESCE(p.next_ms, d.end_ms) AS until_ms,
    CAST(
      CAST(p.gpu_milli_after AS DECIMAL(12, 0)) * CASE WHEN p.gpu_milli_after = 0 THEN CAST(0 AS DECIMAL(16, 6)) ELSE p.usd_after END
      / CAST(1000 AS DECIMAL(4, 0))
      AS DECIMAL(20, 6)) AS hourly_after,
    CAST(
      CAST(p.gpu_milli_before AS DECIMAL(12, 0)) * CASE WHEN p.gpu_milli_before = 0 THEN CAST(0 AS DECIMAL(16, 6)) ELSE p.usd_before END
      / CAST(1000 AS DECIMAL(4, 0))
      AS DECIMAL(20, 6)) AS hourly_before
  FROM priced p
  LEFT JOIN ends d ON d.cluster = p.cluster
)
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  to_timestamp_millis(seen_ms) AS seen,
  to_timestamp_millis(not_before_ms) AS not_before,
  what,
  before,
  after,
  object,
  field,
  seen_in,
  actor,
  actor_from,
  to_timestamp_millis(acted_ms) AS acted,
  cost_basis,
  CAST(gpu_milli_after - gpu_milli_before AS DOUBLE) / CAST(1000 AS DOUBLE) AS gpus_added,
  CAST(hourly_after - hourly_before AS DECIMAL(20, 6)) AS usd_per_hour,
  to_timestamp_millis(until_ms) AS until,
  CAST(
    CAST(hourly_after - hourly_before AS DECIMAL(18, 6))
    * CAST(CASE WHEN until_ms > seen_ms THEN until_ms - seen_ms ELSE 0 END AS DECIMAL(13, 0))
    / CAST(3600000 AS DECIMAL(7, 0))
    AS DECIMAL(20, 6)) AS cost_usd,
  date
FROM rated
