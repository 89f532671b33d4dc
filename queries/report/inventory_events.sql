-- The latest changes of one workload's scale.
SELECT seen, not_before, what, before, after, object, field, actor, actor_from, gpus_added, usd_per_hour, cost_usd
FROM v_scaling_events
WHERE cluster = $cluster AND namespace = $namespace
  AND workload_kind = $workload_kind AND workload_name = $workload_name
ORDER BY seen DESC, object, field
LIMIT 20
