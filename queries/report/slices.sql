-- The window's ledger by cluster, team, namespace, model and tier at once: what each held, what it cost,
-- and what of that was avoidable; the report adds it up along each. Hours that nobody held stand under
-- their own name, not under a team's.
SELECT
  cluster,
  CASE WHEN workload_name = '' THEN 'held by nobody' ELSE COALESCE(team, 'no team') END AS team,
  CASE WHEN workload_name = '' THEN 'held by nobody' ELSE cluster || '/' || namespace END AS namespace,
  CASE WHEN workload_name = '' THEN 'held by nobody' ELSE COALESCE(model, 'model not known') END AS model,
  COALESCE(gpu_product, 'product not known') AS tier,
  CAST(SUM(ms) AS BIGINT) AS ms,
  CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms,
  CAST(SUM(cost_usd) AS DECIMAL(38, 6)) AS cost_usd,
  CAST(SUM(CASE WHEN class IN ('surplus', 'misplaced', 'starved', 'dark', 'unallocated') THEN cost_usd END)
    AS DECIMAL(38, 6)) AS waste_usd,
  CAST(SUM(CASE WHEN unpriced THEN ms ELSE 0 END) AS BIGINT) AS unpriced_ms
FROM report_days
WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
GROUP BY
  cluster,
  CASE WHEN workload_name = '' THEN 'held by nobody' ELSE COALESCE(team, 'no team') END,
  CASE WHEN workload_name = '' THEN 'held by nobody' ELSE cluster || '/' || namespace END,
  CASE WHEN workload_name = '' THEN 'held by nobody' ELSE COALESCE(model, 'model not known') END,
  COALESCE(gpu_product, 'product not known')
ORDER BY cluster, team, namespace, model, tier
