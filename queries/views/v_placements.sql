-- Where each workload could run: latency with its band, dollars a month with the rung of their price,
-- and which of all that hold at a latency is the cheapest, so that an owner chooses a limit.
WITH priced AS (
  SELECT
    p.*,
    r.rung AS price_rung,
    r.band_percent AS price_band_percent,
    r.provenance AS price_provenance,
    CAST(
      CAST(p.replicas_at_peak * p.gpu_milli_per_replica AS DECIMAL(18, 0))
      * COALESCE(r.effective_usd_per_gpu_hour, r.contracted_usd_per_gpu_hour, r.list_usd_per_gpu_hour)
      * CAST(0.73 AS DECIMAL(4, 2))
      AS DECIMAL(38, 6)) AS monthly_usd_at_peak,
    CAST(ceil(CAST(p.itl_ms * (100 + p.band_percent) AS DOUBLE) / 100.0) AS BIGINT) AS itl_ms_pessimistic,
    CAST(ceil(CAST(p.ttft_ms * (100 + p.band_percent) AS DOUBLE) / 100.0) AS BIGINT) AS ttft_ms_pessimistic
  FROM placements AS p
  LEFT JOIN prices AS r
    ON p.cluster = r.cluster AND p.run_id = r.run_id AND p.price_key = r.price_key
),
ranked AS (
  SELECT
    p.*,
    MIN(CASE WHEN verdict = 'feasible' AND candidate_kind NOT IN ('mig-slice', 'co-location')
      THEN monthly_usd_at_peak END) OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY itl_ms_pessimistic
      RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS least_usd_at_this_latency
  FROM priced AS p
)
SELECT
  run_id,
  cluster,
  namespace,
  workload_kind,
  workload_name,
  candidate,
  candidate_kind,
  gpu_product,
  gpu_milli_per_replica,
  verdict,
  why,
  replicas_at_peak,
  ttft_ms,
  ttft_ms_pessimistic,
  itl_ms,
  itl_ms_pessimistic,
  band_percent,
  evidence,
  confidence,
  monthly_usd_at_peak,
  price_key,
  price_rung,
  price_band_percent,
  price_provenance,
  -- Nothing that is as fast, pessimistically, costs less.
  verdict = 'feasible' AND candidate_kind NOT IN ('mig-slice', 'co-location')
    AND monthly_usd_at_peak IS NOT NULL
    AND monthly_usd_at_peak = least_usd_at_this_latency AS cheapest_at_this_latency,
  slo_ttft_p95_ms,
  slo_itl_p95_ms,
  slo_source,
  max_concurrency,
  headroom_ppm,
  floor_replicas,
  prefill_milli_tokens_per_second,
  decode_milli_tokens_per_second,
  demand_json,
  estimator_version
FROM ranked
