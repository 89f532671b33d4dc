-- What a finding took and what it needs instead, by price: the terms of its formula.
WITH terms AS (
  SELECT
    cluster, class, price_key, gpu_product, 'freed' AS side, ms_freed AS ms
  FROM claims_netted
  WHERE finding_id = $finding_id AND ms_freed > 0
  UNION ALL
  SELECT
    cluster, class, price_key_added AS price_key, product_added AS gpu_product, 'added' AS side, ms_added AS ms
  FROM claims_netted
  WHERE finding_id = $finding_id AND ms_added > 0
)
SELECT
  t.side,
  t.class,
  t.gpu_product,
  CAST(SUM(t.ms) AS BIGINT) AS ms,
  p.rung,
  p.provenance,
  COALESCE(p.effective_usd_per_gpu_hour, p.contracted_usd_per_gpu_hour, p.list_usd_per_gpu_hour) AS usd_per_gpu_hour
FROM terms AS t
LEFT JOIN prices AS p ON p.cluster = t.cluster AND p.price_key = t.price_key
GROUP BY t.side, t.class, t.gpu_product, p.rung, p.provenance,
  COALESCE(p.effective_usd_per_gpu_hour, p.contracted_usd_per_gpu_hour, p.list_usd_per_gpu_hour)
ORDER BY t.side DESC, t.class, t.gpu_product, usd_per_gpu_hour
