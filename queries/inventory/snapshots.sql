-- Which kinds were listed when: only then does an object's absence mean anything.
SELECT DISTINCT
  CAST(ROUND(EXTRACT(EPOCH FROM ts) * 1000) AS BIGINT) AS ts_ms,
  kind
FROM snapshots
WHERE cluster = $cluster
  AND state = 'listed'
ORDER BY ts_ms, kind
