-- Where the sources about one workload contradict each other or leave a hole.
SELECT check_id, message, stated_json, valid_from, valid_to
FROM v_data_quality
WHERE cluster = $cluster AND scope = 'workload' AND namespace = $namespace
  AND kind = $workload_kind AND name = $workload_name
ORDER BY check_id, valid_from, message, stated_json
