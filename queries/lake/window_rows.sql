-- How many rows of each table every complete window came with: what the tables must hold.
SELECT source, window_start, window_end, rows_json
FROM ingest_windows
ORDER BY source, window_start, window_end
