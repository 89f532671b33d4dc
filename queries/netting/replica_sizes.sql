/*---
name: replica_sizes
title: How much of a GPU one replica of each workload holds
grain: [cluster, namespace, workload_kind, workload_name]
requires: [workload_facts]
order: 1
---*/
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  gpu_milli_per_replica
FROM workload_facts
WHERE gpu_milli_per_replica IS NOT NULL
ORDER BY cluster, namespace, workload_kind, workload_name
