-- Every pod with GPUs of a range of workloads: when it was there, and when it became ready for the first time.
SELECT
  namespace,
  workload_kind,
  workload_name,
  replica,
  MIN(valid_from_ms) AS from_ms,
  MAX(valid_to_ms) AS to_ms,
  MIN(CASE WHEN state = 'ready' THEN valid_from_ms END) AS ready_ms
FROM pods
WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
  AND cluster = $cluster
  AND namespace >= $first_namespace AND namespace <= $last_namespace
  AND (namespace > $first_namespace OR workload_name >= $first_name)
  AND (namespace < $last_namespace OR workload_name <= $last_name)
  AND gpu_milli > 0
GROUP BY namespace, workload_kind, workload_name, replica, pod, uid
ORDER BY namespace, workload_name, workload_kind, replica, from_ms
