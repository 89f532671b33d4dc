-- The prices of the nodes that the fleet's ledger names: what a sheet is asked for.
SELECT
  p.price_key,
  MAX(p.gpus_per_node) AS gpus_per_node,
  MAX(p.rung) AS rung,
  MAX(p.provenance) AS provenance,
  MAX(COALESCE(p.effective_usd_per_gpu_hour, p.contracted_usd_per_gpu_hour, p.list_usd_per_gpu_hour))
    AS usd_per_gpu_hour
FROM prices AS p
INNER JOIN (SELECT DISTINCT cluster, price_key FROM ledger) AS l
  ON p.cluster = l.cluster AND p.price_key = l.price_key
GROUP BY p.price_key
ORDER BY p.price_key
