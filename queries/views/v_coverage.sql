-- How much of each workload's GPU time was known, by day.
SELECT
  date,
  cluster,
  namespace,
  workload_kind,
  workload_name,
  CAST(SUM(ms) AS DOUBLE) / CAST(3600000 AS DOUBLE) AS gpu_hours,
  CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS DOUBLE) / CAST(3600000 AS DOUBLE) AS unknown_gpu_hours,
  CAST(SUM(CASE WHEN class = 'unknown' THEN 0 ELSE ms END) AS DOUBLE) / CAST(SUM(ms) AS DOUBLE) AS coverage
FROM ledger
GROUP BY date, cluster, namespace, workload_kind, workload_name
