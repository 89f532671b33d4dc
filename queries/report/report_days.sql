-- The ledger by day, holder, product and class, once for the whole report: `v_ledger` is dear to ask,
-- and everything that the report says of classes, days, workloads, slices, weeks and movers adds these
-- rows up. Hours without a price stand apart, so that a sum never hides them.
SELECT
  date,
  cluster,
  namespace,
  workload_kind,
  workload_name,
  model,
  team,
  gpu_product,
  class,
  final,
  effective_cost_usd IS NULL AS unpriced,
  CAST(SUM(ms) AS BIGINT) AS ms,
  SUM(effective_cost_usd) AS cost_usd
FROM v_ledger
WHERE date >= CAST($weeks_date AS DATE) AND date < CAST($shown_date AS DATE)
GROUP BY date, cluster, namespace, workload_kind, workload_name, model, team, gpu_product, class, final,
  effective_cost_usd IS NULL
