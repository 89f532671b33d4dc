-- Samples of telemetry in complete windows; what snapshots count are sightings of objects.
SELECT CAST(COALESCE(SUM(samples), 0) AS BIGINT) AS samples
FROM ingest_windows
WHERE source_kind NOT LIKE 'kubernetes%'
