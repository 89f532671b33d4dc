-- All serving and quiet time that earlier detectors left is freed; the parts of cards that the whole
-- remaining demand needs are added, once an hour, at the share of the cards that the joint packing
-- fills: what stays free on them is paid by those who are on them.
WITH packed AS (
  SELECT
    p.*,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY gpu_milli_per_replica, candidate
    ) AS pick
  FROM placements AS p
  WHERE candidate_kind = 'consolidation' AND verdict = 'feasible'
),
sizing AS (
  -- What one replica can do, and where the floor is.
  SELECT
    w.cluster,
    w.namespace,
    w.workload_kind,
    w.workload_name,
    w.first_ms,
    w.last_ms,
    w.gpu_milli_per_replica AS gpu_milli_today,
    w.autoscaler IS NULL AS fixed_replicas,
    p.gpu_milli_per_replica AS gpu_milli,
    p.gpu_product AS product,
    p.price_key AS product_price_key,
    p.prefill_milli_tokens_per_second,
    p.decode_milli_tokens_per_second,
    p.headroom_ppm,
    GREATEST(COALESCE(p.replicas_at_peak, 1), COALESCE(w.floor_replicas, 1), 1) AS peak_replicas,
    GREATEST(COALESCE(p.floor_replicas, 1), COALESCE(w.floor_replicas, 1), 1) AS floor_replicas
  FROM workload_facts AS w
  INNER JOIN packed AS p
    ON w.cluster = p.cluster
    AND w.namespace = p.namespace
    AND w.workload_kind = p.workload_kind
    AND w.workload_name = p.workload_name
  WHERE p.pick = 1
    AND p.prefill_milli_tokens_per_second > 0
    AND p.decode_milli_tokens_per_second > 0
    AND p.headroom_ppm > 0
),
hours AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    hour_ms,
    CAST(SUM(ms) AS BIGINT) AS available_ms
  FROM claimable
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND class IN ('serving', 'lull') AND workload_name <> '' AND ms > 0
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms
),
loads AS (
  SELECT
    s.*,
    h.hour_ms,
    h.available_ms,
    LEAST(h.hour_ms + 3600000, s.last_ms) - GREATEST(h.hour_ms, s.first_ms) AS existed_ms,
    COALESCE(d.lower_bound_buckets, 1) > 0 AS peak_unsure,
    -- The busiest five minutes of the hour, in millionths of one replica; prompts net of the
    -- hour's share of prefix hits.
    CASE WHEN COALESCE(d.prompt_tokens, 0) > 0
      THEN CAST(d.peak_prompt_tokens_5m
        * (d.prompt_tokens - LEAST(d.prefix_hit_tokens, d.prompt_tokens)) AS DOUBLE)
        / CAST(d.prompt_tokens AS DOUBLE)
      ELSE CAST(0 AS DOUBLE) END AS net_prompt_tokens_5m,
    CAST(COALESCE(d.peak_output_tokens_5m, 0) AS DOUBLE) AS output_tokens_5m
  FROM hours AS h
  INNER JOIN sizing AS s
    ON h.cluster = s.cluster
    AND h.namespace = s.namespace
    AND h.workload_kind = s.workload_kind
    AND h.workload_name = s.workload_name
  LEFT JOIN workload_hours AS d
    ON h.cluster = d.cluster
    AND h.namespace = d.namespace
    AND h.workload_kind = d.workload_kind
    AND h.workload_name = d.workload_name
    AND h.hour_ms = d.hour_ms
),
hourly AS (
  SELECT
    l.*,
    CAST(ceil(CAST(
      CAST(net_prompt_tokens_5m * 1000000000 AS DOUBLE)
        / CAST(prefill_milli_tokens_per_second * 300 AS DOUBLE)
      + CAST(output_tokens_5m * 1000000000 AS DOUBLE)
        / CAST(decode_milli_tokens_per_second * 300 AS DOUBLE)
      AS DOUBLE) / CAST(headroom_ppm AS DOUBLE)) AS BIGINT) AS load_replicas
  FROM loads AS l
),
needs AS (
  SELECT
    h.*,
    -- Replicas that nothing scales must do for the peak at all hours; so must those of an hour
    -- whose own peak nobody saw.
    CASE
      WHEN fixed_replicas THEN GREATEST(floor_replicas, peak_replicas)
      WHEN peak_unsure THEN GREATEST(floor_replicas, peak_replicas, load_replicas)
      ELSE GREATEST(floor_replicas, load_replicas)
    END AS needed_replicas
  FROM hourly AS h
),
added AS (
  SELECT
    n.*,
    -- An hour in which less than one replica-hour is left was not served all the hour.
    CAST(ceil(CAST(
      needed_replicas * gpu_milli
        * LEAST(existed_ms, CAST(ceil(CAST(available_ms * 1000 AS DOUBLE)
          / CAST(gpu_milli_today AS DOUBLE)) AS BIGINT))
      AS DOUBLE) / 1000.0) AS BIGINT) AS added_ms
  FROM needs AS n
  WHERE gpu_milli_today > 0
),
rows_of_hour AS (
  SELECT
    c.*,
    x.added_ms,
    x.product,
    x.product_price_key,
    ROW_NUMBER() OVER (
      PARTITION BY c.cluster, c.namespace, c.workload_kind, c.workload_name, c.hour_ms
      ORDER BY c.instance_type, c.gpu_product, c.price_key, c.class
    ) AS row_of_hour
  FROM claimable AS c
  INNER JOIN found AS f
    ON c.cluster = f.cluster
    AND c.namespace = f.namespace
    AND c.workload_kind = f.workload_kind
    AND c.workload_name = f.workload_name
  INNER JOIN added AS x
    ON c.cluster = x.cluster
    AND c.namespace = x.namespace
    AND c.workload_kind = x.workload_kind
    AND c.workload_name = x.workload_name
    AND c.hour_ms = x.hour_ms
  WHERE f.status = 'alarm' AND c.class IN ('serving', 'lull') AND c.ms > 0
)
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  instance_type,
  gpu_product,
  price_key,
  hour_ms,
  class,
  ms AS ms_freed,
  CASE WHEN row_of_hour = 1 THEN added_ms ELSE 0 END AS ms_added,
  product AS product_added,
  product_price_key AS price_key_added
FROM rows_of_hour
ORDER BY cluster, namespace, workload_kind, workload_name, instance_type, gpu_product, price_key,
  hour_ms, class
