-- Open findings of the publication about workloads of one cluster: what a change may close or make larger.
SELECT
  namespace,
  workload_kind,
  workload_name,
  detector,
  handle,
  net_monthly_usd,
  waste_gpu_ms
FROM findings
WHERE cluster = $cluster AND status = 'alarm' AND state = 'open' AND workload_name <> ''
ORDER BY namespace, workload_kind, workload_name, detector, handle
