-- What is wrong with what the autoscalers of one workload listen to.
SELECT rule, scaler_kind || '/' || scaler_name AS scaler, sentence, reference, valid_from, valid_to
FROM v_scaling_lint
WHERE cluster = $cluster AND namespace = $namespace
  AND workload_kind = $workload_kind AND workload_name = $workload_name
ORDER BY scaler, rule, sentence, valid_from
