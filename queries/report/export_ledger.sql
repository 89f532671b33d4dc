-- The ledger by day, node, workload and class over the window: what each GPU-hour did and cost.
SELECT
  date,
  cluster,
  node,
  gpu_product,
  price_key,
  namespace,
  workload_kind,
  workload_name,
  model,
  team,
  class,
  CAST(CAST(SUM(ms) AS DECIMAL(18, 6)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(18, 6)) AS gpu_hours,
  CAST(SUM(list_cost_usd) AS DECIMAL(38, 6)) AS list_cost_usd,
  CAST(SUM(effective_cost_usd) AS DECIMAL(38, 6)) AS effective_cost_usd,
  final
FROM v_ledger
WHERE date >= $from_date AND date < $to_date
GROUP BY date, cluster, node, gpu_product, price_key, namespace, workload_kind, workload_name, model, team, class, final
ORDER BY date, cluster, node, gpu_product, price_key, namespace, workload_kind, workload_name, model, team, class, final
