-- Where sources contradict each other or leave a hole: what each says, and what was used.
SELECT
  cluster,
  scope,
  namespace,
  kind,
  name,
  check_id,
  message,
  stated_json,
  to_timestamp_millis(MIN(valid_from_ms)) AS valid_from,
  to_timestamp_millis(MAX(valid_to_ms)) AS valid_to
FROM data_quality
GROUP BY cluster, scope, namespace, kind, name, check_id, message, stated_json
