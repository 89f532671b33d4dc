-- Each GPU node and day with what its price hangs on: type, region, capacity, reservation, pool.
SELECT
  n.cluster,
  n.node,
  n.provider,
  n.region,
  n.zone,
  n.instance_type,
  d.instance_type_from,
  n.capacity_type,
  d.capacity_type_from,
  d.reservation_id,
  d.reservation_type,
  d.pool,
  d.lifecycle_state,
  n.gpu_product,
  n.gpu_count,
  n.gpu_count_basis,
  d.counts_json,
  n.sharing,
  d.sharers,
  d.mig_strategy,
  n.vcpus,
  d.memory_bytes,
  n.ready,
  n.repair,
  n.cordoned,
  n.gpus_lost,
  to_timestamp_millis(n.valid_from_ms) AS valid_from,
  to_timestamp_millis(n.valid_to_ms) AS valid_to
FROM nodes n
LEFT JOIN node_details d
  ON d.cluster = n.cluster
  AND d.date = n.date
  AND d.node = n.node
  AND d.valid_from_ms <= n.valid_from_ms
  AND d.valid_to_ms > n.valid_from_ms
