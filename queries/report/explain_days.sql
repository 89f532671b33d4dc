-- The days of one subject: what its GPUs did by observed class, and what the finding took of it.
SELECT
  CAST(l.date AS VARCHAR) AS day,
  l.class,
  CAST(SUM(l.ms) AS BIGINT) AS ms
FROM ledger AS l
WHERE l.cluster = $cluster
  AND l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
  AND l.class <> 'absent'
  AND (
    ($workload <> '' AND l.namespace = $namespace AND l.workload_kind = $kind AND l.workload_name = $workload)
    OR ($workload = '' AND $product <> '' AND l.gpu_product = $product)
  )
GROUP BY l.date, l.class
UNION ALL
SELECT
  CAST(CAST(to_timestamp_millis(c.hour_ms) AS DATE) AS VARCHAR) AS day,
  'claimed' AS class,
  CAST(SUM(c.ms_freed) AS BIGINT) AS ms
FROM claims_netted AS c
WHERE c.finding_id = $finding_id
GROUP BY CAST(to_timestamp_millis(c.hour_ms) AS DATE)
ORDER BY day, class
