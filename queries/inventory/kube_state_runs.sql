-- kube-state-metrics as runs of one value, and KEDA's count of empty answers; a gap beyond the
-- hold ends a run.
WITH samples AS (
  SELECT
    metric,
    series_fp,
    CAST(ROUND(EXTRACT(EPOCH FROM ts) * 1000) AS BIGINT) AS ts_ms,
    value
  FROM misc_samples
  WHERE cluster = $cluster
    AND (metric LIKE 'kube\_%' OR metric = 'keda_scaler_empty_upstream_responses_total')
    AND date >= CAST($from_date AS DATE)
    AND date <= CAST($to_date AS DATE)
    AND value IS NOT NULL
),
marked AS (
  SELECT
    metric,
    series_fp,
    ts_ms,
    value,
    CASE
      WHEN LAG(value) OVER (PARTITION BY metric, series_fp ORDER BY ts_ms) = value
        AND ts_ms - LAG(ts_ms) OVER (PARTITION BY metric, series_fp ORDER BY ts_ms) <= $hold_ms
      THEN CAST(0 AS BIGINT)
      ELSE CAST(1 AS BIGINT)
    END AS starts
  FROM samples
),
islands AS (
  SELECT
    metric,
    series_fp,
    ts_ms,
    value,
    SUM(starts) OVER (PARTITION BY metric, series_fp ORDER BY ts_ms) AS island
  FROM marked
),
labels AS (
  SELECT metric, series_fp, MIN(labels_json) AS labels_json
  FROM series
  WHERE cluster = $cluster AND metric LIKE 'kube\_%'
  GROUP BY metric, series_fp
)
SELECT
  i.metric,
  l.labels_json,
  MIN(i.ts_ms) AS first_ms,
  MAX(i.ts_ms) AS last_ms,
  MIN(i.value) AS value
FROM islands i
INNER JOIN labels l ON l.metric = i.metric AND l.series_fp = i.series_fp
GROUP BY i.metric, i.series_fp, l.labels_json, i.island
ORDER BY i.metric, l.labels_json, first_ms
