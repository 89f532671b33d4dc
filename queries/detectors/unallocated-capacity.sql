/*---
id: unallocated-capacity
version: 1.2.0
title: GPUs that nobody holds
status: stable
severity: medium
grain: [cluster, instance_type, gpu_product]
requires: [ledger, pods, nodes, node_details]
claims: [unallocated]
order: 10
window: {default: 14d, min: 3d}
params:
  min_unallocated_gpu_hours: {type: int, unit: GPU-hours, default: 24, why: "a day of one GPU: less is the slack in which pods come and go"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "below it nobody knows who held the rest of the time"}
false_positives:
  - capacity kept free on purpose for fail-over or for a launch
  - a reservation that is paid for whether nodes exist or not
remediation:
  action: return-capacity
  text: drain and return nodes, or pack the workloads of this instance type on fewer of them
references:
  - https://kubernetes.io/docs/concepts/cluster-administration/node-autoscaling/
rationale: >-
  A GPU that no pod holds is paid for and can serve nobody. What a MIG layout or a share leaves over
  counts too: it is bought and cannot be held. Why it is free is a split of the same seconds, the first that
  holds: what a layout leaves over (rest), a node on which nobody holds anything (empty-node), less room
  on the node than any pod asks for (fragment), requests of CPU or of memory that leave no room for the
  smallest GPU pod (stranded-by-cpu, stranded-by-memory), or room that could be held (free). Where
  requests or the size of a node are not known, nothing is called stranded.
---*/
-- The smallest GPU pod of the cluster, by its GPUs and by its requests of CPU and memory.
WITH smallest AS (
  SELECT
    cluster,
    MIN(gpu_milli) AS least_gpu_milli,
    MIN(cpu_request_milli) AS least_cpu_milli,
    MIN(memory_request_mib) AS least_memory_mib
  FROM pods
  WHERE gpu_milli > 0 AND valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms
  GROUP BY cluster
),
-- A day's mean of what pods ask for on a node; pods and nodes are cut at midnight.
asked AS (
  SELECT
    cluster,
    node,
    valid_from_ms - valid_from_ms % 86400000 AS day_ms,
    CAST(SUM(COALESCE(cpu_request_milli, 0) * (valid_to_ms - valid_from_ms)) AS BIGINT) AS cpu_milli_ms,
    CAST(SUM(COALESCE(memory_request_mib, 0) * (valid_to_ms - valid_from_ms)) AS BIGINT) AS memory_mib_ms
  FROM pods
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms
    AND (cpu_request_milli > 0 OR memory_request_mib > 0) AND node IS NOT NULL
  GROUP BY cluster, node, valid_from_ms - valid_from_ms % 86400000
),
-- A node's hour. Its slots are told apart below, and only where that can matter.
node_hours AS (
  SELECT
    cluster,
    COALESCE(instance_type, '') AS instance_type,
    COALESCE(gpu_product, '') AS gpu_product,
    node,
    hour_ms,
    CAST(SUM(ms) AS BIGINT) AS existed_ms,
    MAX(ms) AS longest_ms,
    CAST(SUM(CASE WHEN class = 'unallocated' THEN ms ELSE 0 END) AS BIGINT) AS unallocated_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms,
    CAST(SUM(CASE WHEN class = 'unallocated' AND slice = 'rest' THEN ms ELSE 0 END) AS BIGINT) AS rest_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent'
  GROUP BY cluster, COALESCE(instance_type, ''), COALESCE(gpu_product, ''), node, hour_ms
),
room AS (
  SELECT
    cluster,
    node,
    valid_from_ms - valid_from_ms % 86400000 AS day_ms,
    CAST(SUM(CAST(round(vcpus) AS BIGINT) * 1000 * (valid_to_ms - valid_from_ms)) AS BIGINT)
      AS cpu_milli_ms,
    CAST(SUM(valid_to_ms - valid_from_ms) AS BIGINT) AS lived_ms
  FROM nodes
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms AND vcpus IS NOT NULL
  GROUP BY cluster, node, valid_from_ms - valid_from_ms % 86400000
),
memory AS (
  SELECT
    cluster,
    node,
    valid_from_ms - valid_from_ms % 86400000 AS day_ms,
    MAX(CAST(CAST(memory_bytes - memory_bytes % 1048576 AS DOUBLE) / 1048576.0 AS BIGINT)) AS memory_mib
  FROM node_details
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms AND memory_bytes > 0
  GROUP BY cluster, node, valid_from_ms - valid_from_ms % 86400000
),
-- What is free of a node in an hour, beyond what its layout leaves over.
free_nodes AS (
  SELECT
    cluster,
    node,
    hour_ms,
    hour_ms - hour_ms % 86400000 AS day_ms,
    CAST(SUM(existed_ms - unallocated_ms) AS BIGINT) AS held_ms,
    CAST(SUM(unallocated_ms - rest_ms) AS BIGINT) AS free_ms
  FROM node_hours
  GROUP BY cluster, node, hour_ms
),
causes AS (
  SELECT
    f.cluster,
    f.node,
    f.hour_ms,
    CASE
      WHEN f.held_ms = 0 THEN 'empty-node'
      -- A slot free for part of an hour counts as so much of a GPU: short gaps are fragments of time.
      WHEN f.free_ms * 1000 < m.least_gpu_milli * 3600000 THEN 'fragment'
      WHEN r.cpu_milli_ms - COALESCE(a.cpu_milli_ms, 0) < m.least_cpu_milli * r.lived_ms
        THEN 'stranded-by-cpu'
      WHEN y.memory_mib * r.lived_ms - COALESCE(a.memory_mib_ms, 0) < m.least_memory_mib * r.lived_ms
        THEN 'stranded-by-memory'
      ELSE 'free'
    END AS cause
  FROM free_nodes AS f
  LEFT JOIN smallest AS m ON f.cluster = m.cluster
  LEFT JOIN asked AS a ON f.cluster = a.cluster AND f.node = a.node AND f.day_ms = a.day_ms
  LEFT JOIN room AS r ON f.cluster = r.cluster AND f.node = r.node AND f.day_ms = r.day_ms
  LEFT JOIN memory AS y ON f.cluster = y.cluster AND f.node = y.node AND f.day_ms = y.day_ms
  WHERE f.free_ms > 0
),
hours AS (
  SELECT
    s.cluster,
    s.instance_type,
    s.gpu_product,
    s.hour_ms,
    SUM(s.existed_ms) AS capacity_ms,
    MAX(s.longest_ms) AS longest_ms,
    SUM(s.unallocated_ms) AS unallocated_ms,
    SUM(s.unknown_ms) AS unknown_ms,
    SUM(s.rest_ms) AS rest_ms,
    SUM(CASE WHEN c.cause = 'empty-node' THEN s.unallocated_ms - s.rest_ms ELSE 0 END) AS empty_ms,
    SUM(CASE WHEN c.cause = 'fragment' THEN s.unallocated_ms - s.rest_ms ELSE 0 END)
      AS fragment_ms,
    SUM(CASE WHEN c.cause = 'stranded-by-cpu' THEN s.unallocated_ms - s.rest_ms ELSE 0 END)
      AS stranded_ms,
    SUM(CASE WHEN c.cause = 'stranded-by-memory' THEN s.unallocated_ms - s.rest_ms ELSE 0 END)
      AS memory_ms
  FROM node_hours AS s
  LEFT JOIN causes AS c ON s.cluster = c.cluster AND s.node = c.node AND s.hour_ms = c.hour_ms
  GROUP BY s.cluster, s.instance_type, s.gpu_product, s.hour_ms
),
-- How long a pool existed in an hour is how long its longest slot did. A row that fills the hour says it
-- all; only where there is none are the rows of each slot added up.
part_hours AS (
  SELECT cluster, instance_type, gpu_product, hour_ms FROM hours WHERE longest_ms < 3600000
),
part_slots AS (
  SELECT
    l.cluster,
    p.instance_type,
    p.gpu_product,
    l.node,
    l.slot,
    l.hour_ms,
    SUM(l.ms) AS existed_ms
  FROM ledger AS l
  INNER JOIN part_hours AS p
    ON l.cluster = p.cluster
    AND COALESCE(l.instance_type, '') = p.instance_type
    AND COALESCE(l.gpu_product, '') = p.gpu_product
    AND l.hour_ms = p.hour_ms
  WHERE l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class <> 'absent'
  GROUP BY l.cluster, p.instance_type, p.gpu_product, l.node, l.slot, l.hour_ms
),
lengths AS (
  SELECT
    cluster,
    instance_type,
    gpu_product,
    hour_ms,
    CAST(MAX(existed_ms) AS BIGINT) AS longest_ms
  FROM part_slots
  GROUP BY cluster, instance_type, gpu_product, hour_ms
),
sums AS (
  SELECT
    h.cluster,
    h.instance_type,
    h.gpu_product,
    CAST(SUM(h.capacity_ms) AS BIGINT) AS capacity_ms,
    CAST(SUM(COALESCE(l.longest_ms, h.longest_ms)) AS BIGINT) AS existed_ms,
    CAST(SUM(h.unallocated_ms) AS BIGINT) AS unallocated_ms,
    CAST(SUM(h.unknown_ms) AS BIGINT) AS unknown_ms,
    CAST(SUM(h.rest_ms) AS BIGINT) AS rest_ms,
    CAST(SUM(h.empty_ms) AS BIGINT) AS empty_ms,
    CAST(SUM(h.fragment_ms) AS BIGINT) AS fragment_ms,
    CAST(SUM(h.stranded_ms) AS BIGINT) AS stranded_ms,
    CAST(SUM(h.memory_ms) AS BIGINT) AS memory_ms,
    MAX(h.hour_ms) AS last_hour_ms
  FROM hours AS h
  LEFT JOIN lengths AS l
    ON h.cluster = l.cluster
    AND h.instance_type = l.instance_type
    AND h.gpu_product = l.gpu_product
    AND h.hour_ms = l.hour_ms
  GROUP BY h.cluster, h.instance_type, h.gpu_product
),
judged AS (
  SELECT
    s.*,
    unallocated_ms - rest_ms - empty_ms - fragment_ms - stranded_ms - memory_ms AS free_ms,
    -- Tenths of a GPU-hour, rounded half up.
    CAST(CAST(unallocated_ms + 180000 - (unallocated_ms + 180000) % 360000 AS DOUBLE) / 360000.0
      AS BIGINT) AS tenths,
    CASE
      WHEN unallocated_ms >= $min_unallocated_gpu_hours * 3600000 THEN 'alarm'
      WHEN (capacity_ms - unknown_ms) * 100 < capacity_ms * $min_coverage_percent
        THEN 'undetermined'
      ELSE 'ok'
    END AS status
  FROM sums AS s
),
texts AS (
  SELECT
    j.*,
    -- The largest part names the cause; the order of the list decides a tie.
    CASE
      WHEN unallocated_ms = 0 THEN 'none'
      WHEN empty_ms >= GREATEST(rest_ms, fragment_ms, stranded_ms, memory_ms, free_ms) THEN 'empty-node'
      WHEN rest_ms >= GREATEST(fragment_ms, stranded_ms, memory_ms, free_ms) THEN 'rest'
      WHEN fragment_ms >= GREATEST(stranded_ms, memory_ms, free_ms) THEN 'fragment'
      WHEN stranded_ms >= GREATEST(memory_ms, free_ms) THEN 'stranded-by-cpu'
      WHEN memory_ms >= free_ms THEN 'stranded-by-memory'
      ELSE 'free'
    END AS cause,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS unallocated_hours
  FROM judged AS j
)
SELECT
  cluster,
  instance_type,
  gpu_product,
  CAST($window_start_ms AS BIGINT) AS window_start_ms,
  CAST($window_end_ms AS BIGINT) AS window_end_ms,
  status,
  CASE WHEN capacity_ms > 0
    THEN CAST(capacity_ms - unknown_ms AS DOUBLE) / CAST(capacity_ms AS DOUBLE) END AS coverage,
  CASE WHEN (capacity_ms - unknown_ms) * 100 >= capacity_ms * $min_coverage_percent
    THEN 'high' ELSE 'medium' END AS confidence,
  CAST(NULL AS VARCHAR) AS model,
  CAST(NULL AS VARCHAR) AS team,
  CASE WHEN gpu_product = '' THEN 'free capacity' ELSE 'free ' || gpu_product END
    || CASE WHEN instance_type = '' THEN ' on nodes of unknown type'
      ELSE ' on ' || instance_type END AS headline,
  'nobody held it for ' || unallocated_hours || ' GPU-hours' AS because,
  CASE status
    WHEN 'alarm' THEN 'No pod held ' || unallocated_hours
      || ' GPU-hours of schedulable capacity in the window.'
    WHEN 'undetermined' THEN
      'Who held these GPUs is unknown for too much of the window to call the rest in use.'
    ELSE 'Free capacity stayed below the threshold: ' || unallocated_hours || ' GPU-hours.'
  END AS reason,
  existed_ms,
  CAST(CASE WHEN last_hour_ms + 3600000 >= $window_end_ms THEN 1 ELSE 0 END AS BIGINT) AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  CASE cause
    WHEN 'empty-node' THEN 'Return the nodes on which nobody holds a GPU. '
    WHEN 'rest' THEN 'Choose a layout that covers the card: what this one leaves over nobody can hold. '
    WHEN 'fragment' THEN 'What is free on each node is less than any pod asks for: pack, or split the cards for what is asked. '
    WHEN 'stranded-by-cpu' THEN 'CPU requests leave no room for another GPU pod: lower them, or move pods without GPUs off these nodes. '
    WHEN 'stranded-by-memory' THEN 'Memory requests leave no room for another GPU pod: lower them, or move pods without GPUs off these nodes. '
    ELSE ''
  END || 'Pack the workloads of ' || CASE WHEN instance_type = '' THEN 'these nodes'
    ELSE instance_type END || ' on fewer nodes and return what is then empty.' AS remedy,
  'return-capacity' AS remedy_action,
  CAST(NULL AS VARCHAR) AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed,
  'medium' AS remedy_risk,
  'pods that share a node with free GPUs move once' AS remedy_disruption,
  cause AS ev_cause,
  capacity_ms AS ev_capacity_gpu_ms,
  unallocated_ms AS ev_unallocated_gpu_ms,
  empty_ms AS ev_on_empty_nodes_gpu_ms,
  rest_ms AS ev_unholdable_rest_gpu_ms,
  fragment_ms AS ev_fragments_gpu_ms,
  stranded_ms AS ev_stranded_by_cpu_gpu_ms,
  memory_ms AS ev_stranded_by_memory_gpu_ms,
  free_ms AS ev_free_to_hold_gpu_ms,
  unknown_ms AS ev_unknown_gpu_ms
FROM texts
ORDER BY cluster, instance_type, gpu_product
