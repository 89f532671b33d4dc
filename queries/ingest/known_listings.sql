-- What the snapshots of one source and day said of each kind.
SELECT
  kind,
  state,
  CAST(ROUND(EXTRACT(EPOCH FROM ts) * 1000) AS BIGINT) AS ts_ms
FROM snapshots
WHERE source = $source
  AND date = CAST($date AS DATE)
ORDER BY kind, ts_ms
