-- What each team's workloads held and cost by day; what nobody answers for has its own line.
SELECT
  date,
  cluster,
  CASE
    WHEN workload_name = '' THEN '(unallocated)'
    ELSE COALESCE(team, '(no team)')
  END AS team,
  CAST(CAST(SUM(ms) AS DECIMAL(18, 3)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(18, 3)) AS gpu_hours,
  SUM(list_cost_usd) AS list_cost_usd,
  SUM(effective_cost_usd) AS effective_cost_usd,
  CAST(SUM(CASE WHEN list_cost_usd IS NULL THEN ms ELSE 0 END) AS BIGINT) AS unpriced_ms
FROM v_ledger
GROUP BY
  date,
  cluster,
  CASE
    WHEN workload_name = '' THEN '(unallocated)'
    ELSE COALESCE(team, '(no team)')
  END
