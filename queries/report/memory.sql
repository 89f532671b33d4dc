-- GPU memory, its bandwidth and activity by workload: what is paid for, what was in use at most, how full the
-- cache was, how busy the devices. Only hours in which one workload alone held a device that was measured: what shares a device
-- cannot be told apart. Bandwidth is the share of time in which memory moved, over measured samples.
WITH alone AS (
  SELECT
    cluster,
    gpu_uuid,
    hour_ms,
    MAX(namespace) AS namespace,
    MAX(workload_kind) AS workload_kind,
    MAX(workload_name) AS workload_name,
    MAX(gpu_product) AS gpu_product
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms AND gpu_uuid IS NOT NULL
  GROUP BY cluster, gpu_uuid, hour_ms
  HAVING MIN(workload_name) = MAX(workload_name)
    AND MIN(workload_kind) = MAX(workload_kind)
    AND MIN(namespace) = MAX(namespace)
    AND MAX(workload_name) <> ''
),
measured AS (
  SELECT
    cluster,
    uuid,
    hour_ms,
    MAX(fb_used_mib_max) AS used_mib,
    MAX(fb_total_mib_max) AS total_mib,
    CAST(SUM(dram_ppm_sum) AS BIGINT) AS dram_ppm_sum,
    CAST(SUM(dram_samples) AS BIGINT) AS dram_samples,
    CAST(SUM(activity_ppm_sum) AS BIGINT) AS activity_ppm_sum,
    CAST(SUM(activity_samples) AS BIGINT) AS activity_samples
  FROM gpu_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
  GROUP BY cluster, uuid, hour_ms
  -- Instances of a device are not the device.
  HAVING COUNT(mig_instance) = 0
),
joined AS (
  SELECT
    a.*,
    m.used_mib,
    m.total_mib,
    m.dram_ppm_sum,
    m.dram_samples,
    m.activity_ppm_sum,
    m.activity_samples,
    CASE WHEN m.dram_samples > 0 THEN
      CAST(CAST(m.dram_ppm_sum - m.dram_ppm_sum % m.dram_samples AS DOUBLE) / CAST(m.dram_samples AS DOUBLE) AS BIGINT)
    END AS hour_ppm
  FROM alone AS a
  INNER JOIN measured AS m
    ON m.cluster = a.cluster AND m.uuid = a.gpu_uuid AND m.hour_ms = a.hour_ms
),
caches AS (
  SELECT cluster, namespace, workload_kind, workload_name, MAX(kv_usage_ppm_max) AS kv_ppm
  FROM workload_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
  GROUP BY cluster, namespace, workload_kind, workload_name
)
SELECT
  j.cluster,
  j.namespace,
  j.workload_kind,
  j.workload_name,
  MAX(j.gpu_product) AS gpu_product,
  CAST(COUNT(DISTINCT j.gpu_uuid) AS BIGINT) AS gpus,
  CAST(COUNT(*) AS BIGINT) AS gpu_hours,
  MAX(j.total_mib) AS total_mib,
  MAX(j.used_mib) AS used_mib,
  CAST(SUM(j.dram_ppm_sum) AS BIGINT) AS dram_ppm_sum,
  CAST(SUM(j.dram_samples) AS BIGINT) AS dram_samples,
  MAX(j.hour_ppm) AS busiest_ppm,
  CAST(SUM(j.activity_ppm_sum) AS BIGINT) AS activity_ppm_sum,
  CAST(SUM(j.activity_samples) AS BIGINT) AS activity_samples,
  MAX(c.kv_ppm) AS kv_ppm
FROM joined AS j
LEFT JOIN caches AS c
  ON c.cluster = j.cluster
  AND c.namespace = j.namespace
  AND c.workload_kind = j.workload_kind
  AND c.workload_name = j.workload_name
GROUP BY j.cluster, j.namespace, j.workload_kind, j.workload_name
ORDER BY j.cluster, j.namespace, j.workload_kind, j.workload_name
