-- What each workload is and does: engine, replicas, tokens, cost and waste, and its engine's CPU. How busy its GPUs
-- were is `report/memory.sql`'s. What was not measured stays NULL. `report_days` is the ledger by day.
WITH costs AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    MAX(gpu_product) AS gpu_product,
    CAST(SUM(ms) AS BIGINT) AS held_ms,
    CAST(SUM(CASE WHEN class = 'starved' THEN ms ELSE 0 END) AS BIGINT) AS starved_ms,
    CAST(SUM(CASE WHEN unpriced THEN ms ELSE 0 END) AS BIGINT) AS unpriced_ms,
    CAST(SUM(cost_usd) AS DECIMAL(38, 6)) AS cost_usd,
    CAST(SUM(CASE WHEN class IN ('surplus', 'misplaced', 'starved', 'dark') THEN cost_usd END) AS DECIMAL(38, 6)) AS waste_usd
  FROM report_days
  WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE) AND final AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name
),
-- Intervals are cut at midnight; the last one is what is known now.
intervals AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    model,
    model_raw,
    quantisation,
    engine,
    tensor_parallel,
    gpu_milli_per_replica,
    replicas,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY valid_to_ms DESC, valid_from_ms DESC
    ) AS place,
    MIN(valid_from_ms) OVER (PARTITION BY cluster, namespace, workload_kind, workload_name) AS first_ms
  FROM workloads
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $weeks_start_ms
),
served AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(known_ms) AS BIGINT) AS known_ms,
    CAST(SUM(requests) AS BIGINT) AS requests,
    CAST(SUM(prompt_tokens) AS BIGINT) AS prompt_tokens,
    CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
    CAST(SUM(prefix_hit_tokens) AS BIGINT) AS hit_tokens,
    CAST(SUM(cfs_periods) AS BIGINT) AS cfs_periods,
    CAST(SUM(cfs_throttled_periods) AS BIGINT) AS cfs_throttled_periods
  FROM workload_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
  GROUP BY cluster, namespace, workload_kind, workload_name
),
cpu AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(cpu_ms) AS BIGINT) AS cpu_ms,
    CAST(SUM(known_ms) AS BIGINT) AS cpu_known_ms,
    MAX(peak_milli) AS cpu_peak_milli
  FROM cpu_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms AND is_engine = 1
  GROUP BY cluster, namespace, workload_kind, workload_name
),
-- Cores for each GPU of a node, whatever runs there.
machines AS (
  SELECT
    cluster,
    node,
    MIN(CAST(round(vcpus * 1000.0) AS BIGINT)) AS cores_milli,
    MAX(gpu_count) AS gpus
  FROM nodes
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms AND vcpus > 0 AND gpu_count > 0
  GROUP BY cluster, node
),
placed AS (
  SELECT
    p.cluster,
    p.namespace,
    p.workload_kind,
    p.workload_name,
    MAX(p.cpu_limit_milli) AS cpu_limit_milli,
    MAX(p.gpu_milli) AS pod_gpu_milli,
    MIN(CAST(CAST(m.cores_milli - m.cores_milli % m.gpus AS DOUBLE) / CAST(m.gpus AS DOUBLE) AS BIGINT)) AS node_cores_milli
  FROM pods AS p
  LEFT JOIN machines AS m ON m.cluster = p.cluster AND m.node = p.node
  WHERE p.valid_from_ms < $window_end_ms AND p.valid_to_ms > $window_start_ms AND p.gpu_milli > 0
  GROUP BY p.cluster, p.namespace, p.workload_kind, p.workload_name
)
SELECT
  c.cluster,
  c.namespace,
  c.workload_kind,
  c.workload_name,
  c.gpu_product,
  c.held_ms,
  c.starved_ms,
  c.unpriced_ms,
  c.cost_usd,
  c.waste_usd,
  i.model,
  i.model_raw,
  i.quantisation,
  i.engine,
  i.tensor_parallel,
  i.gpu_milli_per_replica,
  i.replicas,
  i.first_ms,
  s.known_ms,
  s.requests,
  s.prompt_tokens,
  s.output_tokens,
  s.hit_tokens,
  s.cfs_periods,
  s.cfs_throttled_periods,
  u.cpu_ms,
  u.cpu_known_ms,
  u.cpu_peak_milli,
  p.cpu_limit_milli,
  p.pod_gpu_milli,
  p.node_cores_milli
FROM costs AS c
LEFT JOIN intervals AS i
  ON i.cluster = c.cluster AND i.namespace = c.namespace
  AND i.workload_kind = c.workload_kind AND i.workload_name = c.workload_name AND i.place = 1
LEFT JOIN served AS s
  ON s.cluster = c.cluster AND s.namespace = c.namespace
  AND s.workload_kind = c.workload_kind AND s.workload_name = c.workload_name
LEFT JOIN cpu AS u
  ON u.cluster = c.cluster AND u.namespace = c.namespace
  AND u.workload_kind = c.workload_kind AND u.workload_name = c.workload_name
LEFT JOIN placed AS p
  ON p.cluster = c.cluster AND p.namespace = c.namespace
  AND p.workload_kind = c.workload_kind AND p.workload_name = c.workload_name
ORDER BY c.cost_usd DESC NULLS LAST, c.cluster, c.namespace, c.workload_kind, c.workload_name
