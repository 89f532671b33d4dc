-- What became of every exported change, as of the run: whether snapshots show it, by whose hand and
-- between which sightings, and its predicted dollars and latency beside what happened. A month that
-- nobody could measure yet is NULL.
SELECT
  recommendation_id,
  finding_id,
  detector,
  action,
  cluster,
  namespace,
  workload_kind,
  workload_name,
  state,
  to_timestamp_millis(exported_ms) AS exported,
  to_timestamp_millis(applied_not_before_ms) AS applied_not_before,
  to_timestamp_millis(applied_ms) AS applied,
  applied_by,
  to_timestamp_millis(ended_not_before_ms) AS ended_not_before,
  to_timestamp_millis(ended_ms) AS ended,
  ended_by,
  predicted_monthly_usd,
  predicted_low_usd,
  predicted_high_usd,
  band_percent,
  realised_monthly_usd,
  realised_low_usd,
  realised_high_usd,
  baseline,
  days_before,
  days_after,
  billed_monthly_usd,
  capped,
  CASE
    WHEN realised_monthly_usd IS NOT NULL
    THEN realised_monthly_usd >= predicted_low_usd AND realised_monthly_usd <= predicted_high_usd
  END AS inside_band,
  predicted_ttft_p95_ms,
  predicted_itl_p95_ms,
  ttft_p95_before_ms,
  itl_p95_before_ms,
  ttft_p95_after_ms,
  itl_p95_after_ms,
  manifest_sha256,
  changes_json
FROM outcomes
