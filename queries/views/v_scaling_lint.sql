-- What is wrong with what autoscalers listen to: which rule, why in a sentence, since when it was seen.
SELECT
  cluster,
  namespace,
  scaler_kind,
  scaler_name,
  workload_kind,
  workload_name,
  rule,
  sentence,
  reference,
  to_timestamp_millis(MIN(valid_from_ms)) AS valid_from,
  to_timestamp_millis(MAX(valid_to_ms)) AS valid_to
FROM scaling_lint
GROUP BY cluster, namespace, scaler_kind, scaler_name, workload_kind, workload_name, rule, sentence,
  reference
