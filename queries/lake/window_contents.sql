-- What each ingest window that touches a span holds, by content: what a derived day rests on.
SELECT source, source_kind, window_start, window_end, samples, rows_json, content_digest
FROM ingest_windows
WHERE cluster = $cluster AND window_start < $to_ts AND window_end > $from_ts
ORDER BY source, source_kind, window_start, window_end, content_digest, samples, rows_json
