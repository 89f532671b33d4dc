-- Workloads that a scaling spec can be replayed for: each as it last was in the window, what one replica was
-- estimated to serve on its GPUs of today, and the scaler that reaches it.
WITH newest AS (
  SELECT w.*, ROW_NUMBER() OVER (
    PARTITION BY cluster, namespace, workload_kind, workload_name ORDER BY valid_to_ms DESC, valid_from_ms DESC
  ) AS place
  FROM workloads AS w
  WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE)
),
requests AS (
  SELECT cluster, namespace, workload_kind, workload_name, MAX(cpu_request_milli) AS cpu_request_milli
  FROM pods
  WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE) AND gpu_milli > 0
  GROUP BY cluster, namespace, workload_kind, workload_name
),
estimates AS (
  SELECT p.*, ROW_NUMBER() OVER (
    PARTITION BY cluster, namespace, workload_kind, workload_name ORDER BY candidate
  ) AS place
  FROM placements AS p
  WHERE candidate_kind = 'same-tier' AND prefill_milli_tokens_per_second > 0 AND decode_milli_tokens_per_second > 0
),
scalers AS (
  SELECT a.*, ROW_NUMBER() OVER (
    PARTITION BY cluster, namespace, workload_kind, workload_name
    -- KEDA makes an HPA, and both may be known; what a resource says of itself comes last.
    ORDER BY CASE WHEN scaler_kind = 'scaledobject.keda.sh' THEN 0
        WHEN scaler_kind = 'horizontalpodautoscaler.autoscaling' THEN 1 ELSE 2 END,
      valid_to_ms DESC, valid_from_ms DESC, scaler_kind, scaler_name
  ) AS place
  FROM autoscalers AS a
  WHERE date >= CAST($from_date AS DATE) AND date < CAST($to_date AS DATE) AND workload_name IS NOT NULL
)
SELECT
  n.cluster,
  n.namespace,
  n.workload_kind,
  n.workload_name,
  n.replicas,
  n.gpu_milli_per_replica,
  COALESCE(e.slo_ttft_p95_ms, n.slo_ttft_p95_ms) AS slo_ttft_p95_ms,
  e.slo_source,
  e.prefill_milli_tokens_per_second,
  e.decode_milli_tokens_per_second,
  e.max_concurrency,
  r.cpu_request_milli,
  s.scaler_kind,
  s.scaler_name,
  s.triggers_json,
  s.policy_json
FROM newest AS n
LEFT JOIN requests AS r
  ON r.cluster = n.cluster AND r.namespace = n.namespace
  AND r.workload_kind = n.workload_kind AND r.workload_name = n.workload_name
LEFT JOIN estimates AS e
  ON e.cluster = n.cluster AND e.namespace = n.namespace
  AND e.workload_kind = n.workload_kind AND e.workload_name = n.workload_name AND e.place = 1
LEFT JOIN scalers AS s
  ON s.cluster = n.cluster AND s.namespace = n.namespace
  AND s.workload_kind = n.workload_kind AND s.workload_name = n.workload_name AND s.place = 1
WHERE n.place = 1 AND n.gpu_milli_per_replica > 0
ORDER BY n.cluster, n.namespace, n.workload_name, n.workload_kind
