-- What else was asked of one workload: placements that were tried, and what other detectors say of it.
SELECT
  'placement' AS what,
  candidate AS name,
  verdict,
  why,
  CASE verdict WHEN 'feasible' THEN 1 WHEN 'borderline' THEN 2 WHEN 'infeasible' THEN 3 ELSE 4 END AS rank
FROM placements
WHERE cluster = $cluster AND namespace = $namespace AND workload_kind = $kind AND workload_name = $workload
UNION ALL
SELECT
  'detector' AS what,
  detector AS name,
  status AS verdict,
  reason AS why,
  CASE status WHEN 'alarm' THEN 1 WHEN 'undetermined' THEN 2 WHEN 'ok' THEN 3 ELSE 4 END AS rank
FROM findings
WHERE cluster = $cluster AND namespace = $namespace AND workload_kind = $kind AND workload_name = $workload
  AND $workload <> '' AND finding_id <> $finding_id
ORDER BY what DESC, rank, name
