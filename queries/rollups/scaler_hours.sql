/*---
name: scaler_hours
title: What each autoscaler's own signal said, by the hour
order: 245
grain: [namespace, scaler_kind, scaler_name, hour_ms]
requires: [scaler_samples, misc_samples, series]
params:
  lookback_ms: {type: int, unit: ms, default: 1800000, why: "the sample that holds into the day's first minutes lies before the day"}
  default_scrape_interval_ms: {type: int, unit: ms, default: 60000, why: "a target scraped once has no spacing; one minute is Prometheus' own default"}
  cover_percent: {type: int, unit: "%", default: 250, why: "a sample holds 2.5 x its target's interval: one lost scrape is bridged, two are not"}
---*/
-- KEDA exports the value that it scales by. The largest of a scaler's triggers stands for all: zero
-- means that every one of them is zero.
WITH keda AS (
  SELECT namespace, scaler_kind, scaler_name,
    CAST(round(extract(epoch FROM ts) * 1000) AS BIGINT) AS ts_ms,
    COALESCE(scrape_interval_ms, $default_scrape_interval_ms) AS scrape_interval_ms,
    CASE WHEN metric_value >= 0 AND metric_value < 9000000000000 THEN CAST(round(metric_value * 1000) AS BIGINT) END AS value_milli,
    CASE WHEN errors_total >= 0 AND errors_total < 9000000000000 THEN CAST(round(errors_total) AS BIGINT) END AS errors
  FROM scaler_samples
  WHERE cluster = $cluster AND scaler_kind = 'scaledobject.keda.sh'
),
-- kube-state-metrics repeats what an HPA last read. CPU and memory of the pods are no demand.
named AS (
  SELECT series_fp,
    MIN(split_part(split_part(labels_json, '"namespace":"', 2), '"', 1)) AS namespace,
    MIN(split_part(split_part(labels_json, '"horizontalpodautoscaler":"', 2), '"', 1)) AS scaler_name
  FROM series
  WHERE cluster = $cluster AND metric = 'kube_horizontalpodautoscaler_status_target_metric'
    AND labels_json LIKE '%"horizontalpodautoscaler":"%' AND labels_json LIKE '%"namespace":"%'
    AND labels_json NOT LIKE '%"metric_name":"cpu"%' AND labels_json NOT LIKE '%"metric_name":"memory"%'
  GROUP BY series_fp
),
hpa AS (
  SELECT n.namespace, 'horizontalpodautoscaler.autoscaling' AS scaler_kind, n.scaler_name,
    CAST(round(extract(epoch FROM m.ts) * 1000) AS BIGINT) AS ts_ms,
    CAST($default_scrape_interval_ms AS BIGINT) AS scrape_interval_ms,
    CASE WHEN m.value >= 0 AND m.value < 9000000000000 THEN CAST(round(m.value * 1000) AS BIGINT) END AS value_milli,
    CAST(NULL AS BIGINT) AS errors
  FROM named AS n
  JOIN misc_samples AS m ON m.series_fp = n.series_fp
  WHERE m.cluster = $cluster AND m.metric = 'kube_horizontalpodautoscaler_status_target_metric'
),
-- Operators in a pair are one witness.
one AS (
  SELECT namespace, scaler_kind, scaler_name, ts_ms,
    MAX(scrape_interval_ms) AS scrape_interval_ms, MAX(value_milli) AS value_milli, MAX(errors) AS errors
  FROM (
    SELECT namespace, scaler_kind, scaler_name, ts_ms, scrape_interval_ms, value_milli, errors FROM keda
    UNION ALL
    SELECT namespace, scaler_kind, scaler_name, ts_ms, scrape_interval_ms, value_milli, errors FROM hpa
  ) AS told
  WHERE ts_ms >= $day_start_ms - $lookback_ms AND ts_ms < $day_end_ms + $lookback_ms
  GROUP BY namespace, scaler_kind, scaler_name, ts_ms
),
paired AS (
  SELECT namespace, scaler_kind, scaler_name, ts_ms, value_milli, errors,
    LEAD(ts_ms) OVER w AS next_ms, LAG(errors) OVER w AS errors_before, LEAD(errors) OVER w AS errors_after,
    ts_ms + CAST(CAST(scrape_interval_ms * $cover_percent
      - (scrape_interval_ms * $cover_percent) % 100 AS DOUBLE) / CAST(100 AS DOUBLE) AS BIGINT) AS covered_ms
  FROM one
  WINDOW w AS (PARTITION BY namespace, scaler_kind, scaler_name ORDER BY ts_ms)
),
held AS (
  SELECT namespace, scaler_kind, scaler_name, value_milli, ts_ms AS from_ms,
    CASE WHEN next_ms < covered_ms THEN next_ms ELSE covered_ms END AS to_ms,
    ts_ms - ts_ms % 3600000 + 3600000 AS hour_end_ms
  FROM paired
  WHERE value_milli IS NOT NULL
    -- Where its queue does not answer KEDA repeats the last value: that is no word of the queue.
    AND NOT COALESCE(errors > errors_before, FALSE)
    AND NOT COALESCE(errors_after > errors, FALSE)
),
parts AS (
  SELECT namespace, scaler_kind, scaler_name, value_milli, hour_end_ms - 3600000 AS hour_ms,
    CASE WHEN to_ms < hour_end_ms THEN to_ms ELSE hour_end_ms END - from_ms AS ms
  FROM held
  UNION ALL
  -- What holds into the next hour; beyond that a sample does not reach.
  SELECT namespace, scaler_kind, scaler_name, value_milli, hour_end_ms,
    CASE WHEN to_ms < hour_end_ms + 3600000 THEN to_ms - hour_end_ms ELSE 3600000 END
  FROM held
  WHERE to_ms > hour_end_ms
)
SELECT namespace, scaler_kind, scaler_name, hour_ms,
  CAST(SUM(ms) AS BIGINT) AS known_ms,
  CAST(SUM(CASE WHEN value_milli > 0 THEN ms ELSE 0 END) AS BIGINT) AS asked_ms,
  CAST(MAX(value_milli) AS BIGINT) AS value_milli_max
FROM parts
WHERE hour_ms >= $day_start_ms AND hour_ms < $day_end_ms AND ms > 0
GROUP BY namespace, scaler_kind, scaler_name, hour_ms
ORDER BY namespace, scaler_kind, scaler_name, hour_ms
