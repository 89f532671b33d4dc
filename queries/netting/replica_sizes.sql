/*---
name: replica_sizes
title: How much of a GPU one replica of each workload holds, and how many replicas stay
grain: [cluster, namespace, workload_kind, workload_name]
requires: [workload_facts]
order: 1
---*/
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  gpu_milli_per_replica,
  GREATEST(COALESCE(floor_replicas, 1), 1) AS floor_replicas
FROM workload_facts
WHERE gpu_milli_per_replica IS NOT NULL
ORDER BY cluster, namespace, workload_kind, workload_name
