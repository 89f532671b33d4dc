-- What is recorded of the complete windows of one source: a rerun compares itself with it.
SELECT
  CAST(ROUND(EXTRACT(EPOCH FROM window_start) * 1000) AS BIGINT) AS window_start_ms,
  CAST(ROUND(EXTRACT(EPOCH FROM window_end) * 1000) AS BIGINT) AS window_end_ms,
  samples,
  content_digest,
  selector_digest,
  CAST(ROUND(EXTRACT(EPOCH FROM source_end) * 1000) AS BIGINT) AS source_end_ms
FROM ingest_windows
WHERE source = $source
  AND date >= CAST($from_date AS DATE)
  AND date <= CAST($to_date AS DATE)
ORDER BY window_start_ms
