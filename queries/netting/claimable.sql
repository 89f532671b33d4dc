/*---
name: claimable
title: The closed milliseconds of the window, before any detector claims some
grain: [cluster, namespace, workload_kind, workload_name, instance_type, gpu_product, price_key, class, hour_ms]
requires: [ledger]
order: 0
---*/
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  COALESCE(instance_type, '') AS instance_type,
  COALESCE(gpu_product, '') AS gpu_product,
  price_key,
  class,
  hour_ms,
  CAST(SUM(ms) AS BIGINT) AS ms
FROM ledger
WHERE final AND class <> 'absent' AND hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
GROUP BY
  cluster, namespace, workload_kind, workload_name, COALESCE(instance_type, ''),
  COALESCE(gpu_product, ''), price_key, class, hour_ms
ORDER BY
  cluster, namespace, workload_kind, workload_name, instance_type, gpu_product, price_key, class,
  hour_ms
