-- The machines that held one workload in some days, as a bill calls them.
WITH held AS (
  SELECT DISTINCT cluster, node
  FROM ledger
  WHERE cluster = $cluster
    AND namespace = $namespace
    AND workload_kind = $kind
    AND workload_name = $workload
    AND hour_ms >= $from_ms
    AND hour_ms < $to_ms
    AND final
    AND class <> 'absent'
)
SELECT DISTINCT
  n.provider_id
FROM nodes n
INNER JOIN held h ON n.cluster = h.cluster AND n.node = h.node
WHERE n.provider_id IS NOT NULL
  AND n.valid_from_ms < $to_ms
  AND n.valid_to_ms > $from_ms
ORDER BY n.provider_id
