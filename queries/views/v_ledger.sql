-- Where every GPU-millisecond went, split by what the run concluded.
--
-- Claims stand per workload, hour, product, price key and observed class. They are dealt to the
-- key's slots by cumulative shares in whole milliseconds, so that every slot keeps its sum:
--   surplus     taken from serving and lull by replica claims
--   misplaced   taken by tier and fraction claims, times (1 - cost added / cost freed) of the finding
--   productive  the rest of what those took, and serving that was judged and that nobody took
-- Serving that nothing could judge stays serving; every other class stays what was observed.
WITH claims AS (
  SELECT
    n.cluster,
    n.namespace,
    n.workload_kind,
    n.workload_name,
    n.hour_ms,
    n.gpu_product,
    n.price_key,
    n.class,
    n.finding_id,
    n.ms_freed,
    n.ms_added,
    n.detector IN ('fraction-consolidation', 'tier-misplacement') AS is_tier,
    CAST(COALESCE(f.effective_usd_per_gpu_hour, f.contracted_usd_per_gpu_hour, f.list_usd_per_gpu_hour)
      * CAST(1000000 AS DECIMAL(10, 0)) AS DECIMAL(20, 0)) AS freed_price,
    CASE
      WHEN n.ms_added = 0 THEN CAST(0 AS DECIMAL(20, 0))
      ELSE CAST(COALESCE(a.effective_usd_per_gpu_hour, a.contracted_usd_per_gpu_hour, a.list_usd_per_gpu_hour)
        * CAST(1000000 AS DECIMAL(10, 0)) AS DECIMAL(20, 0))
    END AS added_price
  FROM claims_netted n
  LEFT JOIN prices f ON f.cluster = n.cluster AND f.price_key = n.price_key
  LEFT JOIN prices a ON a.cluster = n.cluster AND a.price_key = n.price_key_added
  WHERE n.detector IN ('surplus-replicas', 'scale-to-zero-chance', 'fraction-consolidation', 'tier-misplacement')
    AND n.class IN ('serving', 'lull')
),
-- A finding with a price that is not known has no ratio: nothing of it is shown as misplaced.
tier_findings AS (
  SELECT
    finding_id,
    CAST(SUM(CAST(ms_freed AS DECIMAL(18, 0)) * freed_price) AS DECIMAL(38, 0)) AS cost_freed,
    CAST(SUM(CAST(ms_added AS DECIMAL(18, 0)) * added_price) AS DECIMAL(38, 0)) AS cost_added
  FROM claims
  WHERE is_tier
  GROUP BY finding_id
  HAVING COUNT(*) = COUNT(freed_price) AND COUNT(*) = COUNT(added_price)
    AND SUM(CAST(ms_freed AS DECIMAL(18, 0)) * freed_price) > 0
),
tier_running AS (
  SELECT
    c.cluster,
    c.namespace,
    c.workload_kind,
    c.workload_name,
    c.hour_ms,
    c.gpu_product,
    c.price_key,
    c.class,
    c.ms_freed,
    t.cost_freed AS whole,
    CASE WHEN t.cost_added < t.cost_freed THEN t.cost_freed - t.cost_added ELSE CAST(0 AS DECIMAL(38, 0)) END AS part,
    CAST(SUM(c.ms_freed) OVER (
      PARTITION BY c.finding_id, c.price_key
      ORDER BY c.hour_ms, c.class, c.namespace, c.workload_kind, c.workload_name, c.gpu_product
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS DECIMAL(18, 0)) AS running
  FROM claims c
  LEFT JOIN tier_findings t ON t.finding_id = c.finding_id
  WHERE c.is_tier
),
tier_shares AS (
  SELECT
    r.*,
    COALESCE(CAST(
      (CAST(running * part AS DECIMAL(38, 0)) - CAST(running * part AS DECIMAL(38, 0)) % whole) / whole
      AS BIGINT), CAST(0 AS BIGINT)) AS upto,
    COALESCE(CAST(
      (CAST((running - CAST(ms_freed AS DECIMAL(18, 0))) * part AS DECIMAL(38, 0))
        - CAST((running - CAST(ms_freed AS DECIMAL(18, 0))) * part AS DECIMAL(38, 0)) % whole) / whole
      AS BIGINT), CAST(0 AS BIGINT)) AS before
  FROM tier_running r
),
-- A key is numbered, so that its slots are gathered by one number and not by eight texts. Slots of no key
-- are gathered together, to no end.
taken AS (
  SELECT
    ROW_NUMBER() OVER () AS key_id,
    cluster, namespace, workload_kind, workload_name, hour_ms, gpu_product, price_key, class,
    CAST(SUM(surplus_ms) AS BIGINT) AS surplus_ms,
    CAST(SUM(tier_ms) AS BIGINT) AS tier_ms,
    CAST(SUM(misplaced_ms) AS BIGINT) AS misplaced_ms
  FROM (
    SELECT
      cluster, namespace, workload_kind, workload_name, hour_ms, gpu_product, price_key, class,
      ms_freed AS surplus_ms,
      CAST(0 AS BIGINT) AS tier_ms,
      CAST(0 AS BIGINT) AS misplaced_ms
    FROM claims
    WHERE NOT is_tier
    UNION ALL
    SELECT
      cluster, namespace, workload_kind, workload_name, hour_ms, gpu_product, price_key, class,
      CAST(0 AS BIGINT) AS surplus_ms,
      ms_freed AS tier_ms,
      upto - before AS misplaced_ms
    FROM tier_shares
  ) AS both_kinds
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms, gpu_product, price_key, class
),
judged AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    MIN(window_start_ms) AS from_ms,
    MAX(window_end_ms) AS to_ms
  FROM findings
  WHERE detector IN ('surplus-replicas', 'tier-misplacement') AND status IN ('ok', 'alarm')
  GROUP BY cluster, namespace, workload_kind, workload_name
),
rows_all AS (
  SELECT
    l.*,
    t.key_id,
    COALESCE(t.surplus_ms, 0) AS key_surplus,
    COALESCE(t.tier_ms, 0) AS key_tier,
    COALESCE(t.misplaced_ms, 0) AS key_misplaced,
    l.final AND j.cluster IS NOT NULL AND l.hour_ms >= j.from_ms AND l.hour_ms < j.to_ms AS is_judged
  FROM ledger l
  LEFT JOIN taken t
    ON l.final
    AND t.cluster = l.cluster
    AND t.namespace = l.namespace
    AND t.workload_kind = l.workload_kind
    AND t.workload_name = l.workload_name
    AND t.hour_ms = l.hour_ms
    AND t.gpu_product = COALESCE(l.gpu_product, '')
    AND t.price_key = l.price_key
    AND t.class = l.class
  LEFT JOIN judged j
    ON j.cluster = l.cluster
    AND j.namespace = l.namespace
    AND j.workload_kind = l.workload_kind
    AND j.workload_name = l.workload_name
  WHERE l.class <> 'absent' AND l.ms > 0
),
-- One share after the other, each of what the one before left, so that none is negative. All are floors of
-- the place in the key, so what was dealt up to a row follows from that place alone: one running sum.
placed AS (
  SELECT
    r.*,
    CAST(SUM(ms) OVER (
      PARTITION BY date, key_id
      ORDER BY node, slot, slice
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS DECIMAL(18, 0)) AS upto,
    CAST(SUM(ms) OVER (PARTITION BY date, key_id) AS DECIMAL(18, 0)) AS total
  FROM rows_all r
),
dealt_surplus AS (
  SELECT
    r.*,
    upto - ms AS upto_before,
    CASE WHEN key_surplus = 0 THEN CAST(0 AS BIGINT) ELSE
      CAST((upto * key_surplus - (upto * key_surplus) % total) / total AS BIGINT)
    END AS surplus_upto,
    CASE WHEN key_surplus = 0 THEN CAST(0 AS BIGINT) ELSE
      CAST(((upto - ms) * key_surplus - ((upto - ms) * key_surplus) % total) / total AS BIGINT)
    END AS surplus_before
  FROM placed r
),
left_over AS (
  SELECT
    r.*,
    CAST(upto - surplus_upto AS DECIMAL(18, 0)) AS left_upto,
    CAST(upto_before - surplus_before AS DECIMAL(18, 0)) AS left_before,
    CASE WHEN total > key_surplus THEN CAST(total - key_surplus AS DECIMAL(18, 0)) ELSE CAST(1 AS DECIMAL(18, 0)) END AS left_total
  FROM dealt_surplus r
),
dealt_tier AS (
  SELECT
    r.*,
    CASE WHEN key_tier = 0 THEN CAST(0 AS BIGINT) ELSE
      CAST((left_upto * key_tier - (left_upto * key_tier) % left_total) / left_total AS BIGINT)
    END AS tier_upto,
    CASE WHEN key_tier = 0 THEN CAST(0 AS BIGINT) ELSE
      CAST((left_before * key_tier - (left_before * key_tier) % left_total) / left_total AS BIGINT)
    END AS tier_before
  FROM left_over r
),
split AS (
  SELECT
    cluster, node, slot, slice, gpu_uuid, gpu_product, namespace, workload_kind, workload_name, model, team,
    final, hour_ms, date, price_key, class, is_judged,
    surplus_upto - surplus_before AS surplus_ms,
    ms - (surplus_upto - surplus_before) AS left_ms,
    tier_upto - tier_before AS tier_ms,
    CASE WHEN key_misplaced = 0 THEN CAST(0 AS BIGINT) ELSE
      CAST((CAST(tier_upto AS DECIMAL(18, 0)) * key_misplaced
        - (CAST(tier_upto AS DECIMAL(18, 0)) * key_misplaced) % key_tier) / key_tier AS BIGINT)
      - CAST((CAST(tier_before AS DECIMAL(18, 0)) * key_misplaced
        - (CAST(tier_before AS DECIMAL(18, 0)) * key_misplaced) % key_tier) / key_tier AS BIGINT)
    END AS misplaced_ms
  FROM dealt_tier r
),
-- A row for each part of each row: joined, so that the shares above are dealt once and not once a part.
parts AS (
  SELECT 'surplus' AS part_name
  UNION ALL SELECT 'misplaced' AS part_name
  UNION ALL SELECT 'productive' AS part_name
  UNION ALL SELECT 'observed' AS part_name
),
portions AS (
  SELECT
    cluster, node, slot, slice, gpu_uuid, gpu_product, namespace, workload_kind, workload_name, model, team,
    final, hour_ms, date, price_key,
    CASE WHEN part_name = 'observed' THEN class ELSE part_name END AS shown,
    CASE
      WHEN part_name = 'surplus' THEN surplus_ms
      WHEN part_name = 'misplaced' THEN misplaced_ms
      WHEN part_name = 'productive' THEN
        tier_ms - misplaced_ms + CASE WHEN class = 'serving' AND is_judged THEN left_ms - tier_ms ELSE CAST(0 AS BIGINT) END
      WHEN class = 'serving' AND is_judged THEN CAST(0 AS BIGINT)
      ELSE left_ms - tier_ms
    END AS shown_ms
  FROM split
  CROSS JOIN parts
)
SELECT
  to_timestamp_millis(l.hour_ms) AS hour,
  l.cluster,
  l.node,
  l.slot AS gpu_slot,
  l.gpu_uuid,
  l.gpu_product,
  l.shown AS class,
  CAST(CAST(l.shown_ms AS DECIMAL(38, 3)) / CAST(1000 AS DECIMAL(4, 0)) AS DECIMAL(38, 3)) AS seconds,
  CAST(CAST(l.shown_ms AS DECIMAL(15, 0)) * CAST(p.list_usd_per_gpu_hour AS DECIMAL(16, 6)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(38, 10)) AS list_cost_usd,
  CAST(CAST(l.shown_ms AS DECIMAL(15, 0)) * CAST(
    COALESCE(p.effective_usd_per_gpu_hour, p.contracted_usd_per_gpu_hour, p.list_usd_per_gpu_hour)
    AS DECIMAL(16, 6)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(38, 10)) AS effective_cost_usd,
  l.namespace,
  l.workload_kind,
  l.workload_name,
  l.model,
  l.team,
  l.final,
  l.shown_ms AS ms,
  l.date,
  l.slice,
  l.price_key
FROM portions l
LEFT JOIN prices p ON p.cluster = l.cluster AND p.price_key = l.price_key
WHERE l.shown_ms > 0
