-- The windows that were read whole: a window counts only while it is listed.
SELECT source, window_start, window_end
FROM ingest_windows
