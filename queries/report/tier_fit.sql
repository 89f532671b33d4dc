-- Where each workload runs, and the cheapest placement that would carry its peak: latencies at the
-- pessimistic end, dollars a month at the peak's replicas.
WITH today AS (
  SELECT
    p.*,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name ORDER BY candidate
    ) AS pick
  FROM v_placements AS p
  WHERE candidate_kind = 'same-tier'
),
feasible AS (
  SELECT
    p.*,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY monthly_usd_at_peak, candidate
    ) AS pick
  FROM v_placements AS p
  WHERE verdict = 'feasible' AND monthly_usd_at_peak IS NOT NULL
    AND candidate_kind NOT IN ('mig-slice', 'co-location')
)
SELECT
  t.cluster,
  t.namespace,
  t.workload_kind,
  t.workload_name,
  t.candidate AS today,
  t.verdict AS today_verdict,
  t.replicas_at_peak AS today_replicas,
  t.monthly_usd_at_peak AS today_usd,
  t.itl_ms_pessimistic AS today_itl_ms,
  f.candidate AS cheapest,
  f.replicas_at_peak AS cheapest_replicas,
  f.monthly_usd_at_peak AS cheapest_usd,
  f.itl_ms_pessimistic AS cheapest_itl_ms,
  f.confidence AS confidence
FROM today AS t
LEFT JOIN feasible AS f
  ON f.cluster = t.cluster
  AND f.namespace = t.namespace
  AND f.workload_kind = t.workload_kind
  AND f.workload_name = t.workload_name
  AND f.pick = 1
WHERE t.pick = 1
ORDER BY t.cluster, t.namespace, t.workload_kind, t.workload_name
