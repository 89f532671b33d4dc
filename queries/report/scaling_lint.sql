-- What is wrong with what autoscalers listen to, in the whole fleet.
SELECT cluster, namespace, scaler_kind, scaler_name, workload_kind, workload_name, rule, sentence
FROM v_scaling_lint
ORDER BY cluster, namespace, scaler_kind, scaler_name, rule, sentence, valid_from
