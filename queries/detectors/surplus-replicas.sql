/*---
id: surplus-replicas
version: 1.2.0
title: More replicas than demand needs
status: stable
severity: high
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts, workload_hours, demand, placements, scaler_demand]
claims: [lull, serving]
order: 30
window: {default: 14d, min: 3d}
params:
  min_surplus_gpu_hours: {type: int, unit: GPU-hours, default: 24, why: "a day of one GPU in a fortnight: less is not worth a change"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "what was seen must speak for the window"}
  min_days_seen: {type: int, unit: days, default: 3, why: "two days do not show a week's rhythm"}
  max_starved_percent: {type: int, unit: percent, default: 5, why: "demand that the CPU held back was not seen, so it cannot be sized on"}
false_positives:
  - replicas held for a launch or for fail-over of another region
  - a model whose load time is longer than the ramp of its demand
remediation:
  action: lower-min-replicas
  text: lower the autoscaler's minimum, or the replicas where nothing scales them
references:
  - https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
rationale: >-
  Each hour is sized on its busiest five minutes with headroom, never below the policy's floor. Where
  nothing scales the replicas the whole window is sized on its peak. Why there are too many is a split
  of the same hours, the first that holds: nothing scales them (static-replicas), the scaler's bounds
  are one number (max-pinned), it stood at its minimum (static-floor), or it stood above the minimum
  and came down too slowly or aims too low (slow-scale-down). What of it fell into nights and weekends
  (20:00 to 06:00, Saturday and Sunday, UTC) stands beside it. Where no engine counts requests and a
  queue feeds it, the replicas that each hour needed are the queue's longest over the scaler's target of
  one replica; what was held beyond them is said and not claimed, for what the GPUs did is unknown.
---*/
WITH sums AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(ms) AS BIGINT) AS total_ms,
    CAST(SUM(CASE WHEN class IN ('serving', 'lull') THEN ms ELSE 0 END) AS BIGINT) AS used_ms,
    CAST(SUM(CASE WHEN class = 'starved' THEN ms ELSE 0 END) AS BIGINT) AS starved_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name
),
same_tier AS (
  SELECT
    p.*,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY candidate
    ) AS pick
  FROM placements AS p
  WHERE candidate_kind = 'same-tier'
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
    w.min_replicas,
    p.gpu_milli_per_replica AS gpu_milli,
    p.gpu_product AS product,
    p.price_key AS product_price_key,
    p.prefill_milli_tokens_per_second,
    p.decode_milli_tokens_per_second,
    p.headroom_ppm,
    GREATEST(COALESCE(p.replicas_at_peak, 1), COALESCE(w.floor_replicas, 1), 1) AS peak_replicas,
    GREATEST(COALESCE(p.floor_replicas, 1), COALESCE(w.floor_replicas, 1), 1) AS floor_replicas
  FROM workload_facts AS w
  INNER JOIN same_tier AS p
    ON w.cluster = p.cluster
    AND w.namespace = p.namespace
    AND w.workload_kind = p.workload_kind
    AND w.workload_name = p.workload_name
  WHERE p.pick = 1 AND p.verdict IN ('feasible', 'borderline')
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
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND class IN ('serving', 'lull') AND workload_name <> '' AND final
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
surplus AS (
  SELECT
    n.*,
    GREATEST(0, available_ms
      - CAST(ceil(CAST(needed_replicas * gpu_milli_today * existed_ms AS DOUBLE) / 1000.0) AS BIGINT))
      AS surplus_ms
  FROM needs AS n
),
found_surplus AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(surplus_ms) AS BIGINT) AS surplus_ms,
    -- Up to the minimum it is the floor's, above it the scaler's.
    CAST(SUM(CASE WHEN fixed_replicas THEN 0 ELSE LEAST(surplus_ms, GREATEST(0, available_ms
      - CAST(ceil(CAST(COALESCE(min_replicas, 0) * gpu_milli_today * existed_ms AS DOUBLE) / 1000.0) AS BIGINT)))
      END) AS BIGINT) AS above_floor_ms,
    -- 1970-01-01 was a Thursday: two days later the week ends.
    CAST(SUM(CASE WHEN hour_ms % 86400000 >= 72000000 OR hour_ms % 86400000 < 21600000
      OR (hour_ms - hour_ms % 86400000 - 172800000) % 604800000 IN (0, 86400000)
      THEN surplus_ms ELSE 0 END) AS BIGINT) AS quiet_hours_ms,
    MIN(needed_replicas) AS least_replicas,
    MAX(needed_replicas) AS most_replicas
  FROM surplus
  GROUP BY cluster, namespace, workload_kind, workload_name
),
-- What the scaler's own metric asked for, in hours in which it was read, beside what was held.
queue_hours AS (
  SELECT
    w.cluster,
    w.namespace,
    w.workload_kind,
    w.workload_name,
    w.floor_replicas,
    w.gpu_milli_per_replica,
    w.first_ms,
    w.last_ms,
    q.hour_ms,
    q.scaler,
    q.needed_replicas,
    CAST(SUM(l.ms) AS BIGINT) AS held_ms
  FROM scaler_demand AS q
  INNER JOIN workload_facts AS w
    ON q.cluster = w.cluster
    AND q.namespace = w.namespace
    AND q.workload_kind = w.workload_kind
    AND q.workload_name = w.workload_name
  INNER JOIN ledger AS l
    ON q.cluster = l.cluster
    AND q.namespace = l.namespace
    AND q.workload_kind = l.workload_kind
    AND q.workload_name = l.workload_name
    AND q.hour_ms = l.hour_ms
  WHERE q.is_told = 1 AND q.needed_replicas IS NOT NULL
    AND l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class NOT IN ('absent', 'unavailable', 'dark') AND l.workload_name <> ''
  GROUP BY w.cluster, w.namespace, w.workload_kind, w.workload_name, w.floor_replicas,
    w.gpu_milli_per_replica, w.first_ms, w.last_ms, q.hour_ms, q.scaler, q.needed_replicas
),
queued AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    MIN(scaler) AS scaler,
    CAST(SUM(held_ms) AS BIGINT) AS queue_held_ms,
    MAX(needed_replicas) AS queue_replicas,
    CAST(SUM(GREATEST(0, held_ms - CAST(ceil(CAST(
      GREATEST(needed_replicas, COALESCE(floor_replicas, 1), 1) * gpu_milli_per_replica
        * (LEAST(hour_ms + 3600000, last_ms) - GREATEST(hour_ms, first_ms)) AS DOUBLE) / 1000.0) AS BIGINT))) AS BIGINT)
      AS queue_surplus_ms
  FROM queue_hours
  GROUP BY cluster, namespace, workload_kind, workload_name
),
widest AS (
  SELECT cluster, namespace, workload_kind, workload_name, MAX(available_ms) AS widest_ms
  FROM hours
  GROUP BY cluster, namespace, workload_kind, workload_name
),
joined AS (
  SELECT
    w.*,
    COALESCE(s.total_ms, 0) AS total_ms,
    COALESCE(s.used_ms, 0) AS used_ms,
    COALESCE(s.starved_ms, 0) AS starved_ms,
    COALESCE(s.unknown_ms, 0) AS unknown_ms,
    COALESCE(f.surplus_ms, 0) AS surplus_ms,
    COALESCE(f.above_floor_ms, 0) AS above_floor_ms,
    COALESCE(f.quiet_hours_ms, 0) AS quiet_hours_ms,
    f.least_replicas,
    f.most_replicas,
    f.surplus_ms IS NOT NULL AS sized,
    COALESCE(x.widest_ms, 0) <= COALESCE(w.floor_replicas, 1) * w.gpu_milli_per_replica * 3600
      AS at_floor,
    COALESCE(d.days_seen, 0) AS days_seen,
    COALESCE(d.peak_lower_bound, TRUE) AS peak_lower_bound,
    d.requests,
    t.verdict,
    t.why AS verdict_why,
    t.confidence AS placement_confidence,
    t.headroom_ppm,
    q.scaler,
    q.queue_replicas,
    q.queue_surplus_ms,
    COALESCE(q.queue_held_ms, 0) AS queue_held_ms,
    CAST(CAST(COALESCE(f.surplus_ms, 0) + 180000 - (COALESCE(f.surplus_ms, 0) + 180000) % 360000 AS DOUBLE) / 360000.0 AS BIGINT)
      AS tenths
  FROM workload_facts AS w
  LEFT JOIN sums AS s
    ON w.cluster = s.cluster
    AND w.namespace = s.namespace
    AND w.workload_kind = s.workload_kind
    AND w.workload_name = s.workload_name
  LEFT JOIN found_surplus AS f
    ON w.cluster = f.cluster
    AND w.namespace = f.namespace
    AND w.workload_kind = f.workload_kind
    AND w.workload_name = f.workload_name
  LEFT JOIN widest AS x
    ON w.cluster = x.cluster
    AND w.namespace = x.namespace
    AND w.workload_kind = x.workload_kind
    AND w.workload_name = x.workload_name
  LEFT JOIN demand AS d
    ON w.cluster = d.cluster
    AND w.namespace = d.namespace
    AND w.workload_kind = d.workload_kind
    AND w.workload_name = d.workload_name
  LEFT JOIN same_tier AS t
    ON w.cluster = t.cluster
    AND w.namespace = t.namespace
    AND w.workload_kind = t.workload_kind
    AND w.workload_name = t.workload_name
    AND t.pick = 1
  LEFT JOIN queued AS q
    ON w.cluster = q.cluster
    AND w.namespace = q.namespace
    AND w.workload_kind = q.workload_kind
    AND w.workload_name = q.workload_name
),
-- The first reason that holds decides, so that status and sentence cannot disagree.
judged AS (
  SELECT
    j.*,
    CASE
      WHEN workload_class IN ('batch', 'training', 'notebook', 'system') THEN 'other-class'
      WHEN total_ms = 0 THEN 'no-gpu'
      WHEN (total_ms - unknown_ms) * 100 < total_ms * $min_coverage_percent
        THEN CASE WHEN unknown_ms > 0 AND queue_held_ms * 100 >= unknown_ms * $min_coverage_percent
          THEN 'by-queue' ELSE 'unseen' END
      WHEN used_ms = 0 THEN 'unused'
      WHEN at_floor THEN 'at-floor'
      WHEN role LIKE '%+%' THEN 'roles'
      WHEN days_seen < $min_days_seen THEN 'few-days'
      WHEN peak_lower_bound THEN 'lower-bound'
      WHEN starved_ms * 100 > total_ms * $max_starved_percent THEN 'starved'
      WHEN NOT sized THEN 'unsized'
      WHEN surplus_ms > 0 AND surplus_ms >= $min_surplus_gpu_hours * 3600000 THEN 'surplus'
      ELSE 'enough'
    END AS verdict_code
  FROM joined AS j
),
texts AS (
  SELECT
    j.*,
    CASE
      WHEN verdict_code <> 'surplus' THEN 'none'
      WHEN autoscaler IS NULL THEN 'static-replicas'
      WHEN min_replicas = max_replicas THEN 'max-pinned'
      WHEN above_floor_ms * 2 > surplus_ms THEN 'slow-scale-down'
      ELSE 'static-floor'
    END AS cause,
    COALESCE(min_replicas, replicas) AS current_replicas,
    CASE WHEN autoscaler IS NULL THEN most_replicas ELSE least_replicas END AS proposed_replicas,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS surplus_hours,
    workload_name || COALESCE(' (' || COALESCE(model, model_raw) || ')', '')
      || COALESCE(' on ' || gpu_product, '') AS headline
  FROM judged AS j
),
remedies AS (
  SELECT
    t.*,
    COALESCE(current_replicas <= proposed_replicas, FALSE) AND autoscaler IS NOT NULL AS by_target
  FROM texts AS t
)
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  CAST($window_start_ms AS BIGINT) AS window_start_ms,
  CAST($window_end_ms AS BIGINT) AS window_end_ms,
  CASE
    WHEN verdict_code IN ('other-class', 'no-gpu') THEN 'skip'
    WHEN verdict_code = 'surplus' THEN 'alarm'
    WHEN verdict_code IN ('unused', 'at-floor', 'enough') THEN 'ok'
    ELSE 'undetermined'
  END AS status,
  CASE WHEN total_ms > 0
    THEN CAST(total_ms - unknown_ms AS DOUBLE) / CAST(total_ms AS DOUBLE) END AS coverage,
  CASE WHEN verdict = 'borderline' THEN 'low' ELSE COALESCE(placement_confidence, 'low') END
    AS confidence,
  model,
  gpu_product,
  team,
  headline,
  'its replicas were up for ' || surplus_hours || ' GPU-hours more than its demand needed'
    AS because,
  CASE verdict_code
    WHEN 'other-class' THEN
      'It is no serving workload (' || workload_class || '): demand does not size it.'
    WHEN 'no-gpu' THEN 'It held no GPU in the closed hours of the window.'
    WHEN 'unseen' THEN 'Too much of its time is unknown for what was seen to speak for the window.'
    WHEN 'by-queue' THEN 'No engine counts its requests. By its scaler''s own metric (' || scaler
      || ') no hour needed more than ' || CAST(queue_replicas AS VARCHAR) || ' replicas, and '
      || CAST(CAST(round(CAST(queue_surplus_ms AS DOUBLE) / 3600000.0) AS BIGINT) AS VARCHAR)
      || ' GPU-hours were held beyond what each hour needed; what the GPUs did then is unknown, so nothing is claimed.'
    WHEN 'unused' THEN 'It did no work in the window: idle time of it is judged as dark capacity.'
    WHEN 'at-floor' THEN 'It never had more replicas than its floor of '
      || CAST(COALESCE(floor_replicas, 1) AS VARCHAR) || '.'
    WHEN 'roles' THEN 'Its replicas play different roles (' || role
      || '), and one cannot stand in for another.'
    WHEN 'few-days' THEN 'Its demand was seen on ' || CAST(days_seen AS VARCHAR)
      || ' days, fewer than the ' || CAST($min_days_seen AS VARCHAR) || ' that show its rhythm.'
    WHEN 'lower-bound' THEN
      'Its peak is only a lower bound: queues or preemptions hid how much was asked for.'
    WHEN 'starved' THEN
      'Its CPU limit held it back, so what it was asked for at its peak was not seen.'
    WHEN 'unsized' THEN COALESCE('What one replica can do is unknown: ' || verdict_why || '.',
      'What one replica can do is unknown: no estimate for its model on this GPU.')
    WHEN 'surplus' THEN 'Sized hour by hour on its busiest five minutes, demand needed between '
      || CAST(least_replicas AS VARCHAR) || ' and ' || CAST(most_replicas AS VARCHAR)
      || ' replicas; what was up beyond that makes ' || surplus_hours || ' GPU-hours.'
    ELSE 'What it has beyond its demand is below the threshold: ' || surplus_hours || ' GPU-hours.'
  END AS reason,
  existed_ms,
  alive_at_end AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  CASE
    WHEN by_target THEN 'Let the autoscaler put more load on each replica: its minimum is not what '
      || 'keeps the surplus up.'
    WHEN autoscaler IS NULL THEN 'Lower the replicas to what the peak needs.'
    ELSE 'Lower the minimum of the autoscaler to what the quiet hours need.'
  END AS remedy,
  CASE WHEN by_target THEN 'scaler-target' ELSE 'bounds' END AS remedy_action,
  CASE WHEN by_target THEN CAST(NULL AS VARCHAR) ELSE CAST(current_replicas AS VARCHAR) END
    AS remedy_current,
  CASE WHEN by_target THEN CAST(NULL AS VARCHAR) ELSE CAST(proposed_replicas AS VARCHAR) END
    AS remedy_proposed,
  'medium' AS remedy_risk,
  'fewer replicas share the load; a replica that is added again waits for its start'
    AS remedy_disruption,
  cause AS ev_cause,
  above_floor_ms AS ev_surplus_above_the_minimum_gpu_ms,
  quiet_hours_ms AS ev_surplus_by_night_and_weekend_gpu_ms,
  total_ms AS ev_held_gpu_ms,
  used_ms AS ev_serving_and_lull_gpu_ms,
  surplus_ms AS ev_surplus_gpu_ms,
  unknown_ms AS ev_unknown_gpu_ms,
  CAST(least_replicas AS BIGINT) AS ev_least_replicas,
  CAST(most_replicas AS BIGINT) AS ev_most_replicas,
  headroom_ppm AS ev_headroom_ppm,
  requests AS ev_requests,
  days_seen AS ev_days_seen,
  COALESCE(scaler, 'none') AS ev_queue_told_by,
  CAST(queue_replicas AS BIGINT) AS ev_most_replicas_by_its_queue,
  queue_surplus_ms AS ev_held_beyond_its_queue_gpu_ms
FROM remedies
ORDER BY cluster, namespace, workload_kind, workload_name
