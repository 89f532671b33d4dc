/*---
id: scale-to-zero-chance
version: 1.1.0
title: Pauses in which a workload could sleep, with a signal that wakes it
status: stable
severity: medium
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts, autoscalers, scaler_demand]
claims: [dark, lull]
order: 35
window: {default: 14d, min: 3d}
params:
  min_sleep_gpu_hours: {type: int, unit: GPU-hours, default: 24, why: "a day of one GPU in a fortnight: less is not worth a cold start"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "what was seen must speak for the window"}
  min_days_seen: {type: int, unit: days, default: 3, why: "two days do not show a week's rhythm"}
  declared_floors: {type: text, default: "policy", why: "a floor that somebody declared is a decision, and not for this rule to question"}
false_positives:
  - users who cannot wait for a cold start
  - weights that take longer to load than the pause lasts
remediation:
  action: scale-to-zero
  text: set the scaler's minimum to zero; its signal exists while there is no pod and wakes it
references:
  - https://keda.sh/docs/latest/concepts/scaling-deployments/
  - https://github.com/kedacore/keda/issues/3065
rationale: >-
  Only hours from end to end without work of any replica are claimed: the part hours around them pay
  for cool-down and cold start. Only where a trigger measures demand outside of the pods (a queue, a
  gateway's or router's requests, Knative's activator): a metric that the pods export is gone when they
  are, and nothing would wake them. Where a queue feeds it, an hour in which anything waited there is no
  pause whatever the GPU did, and what its scaler read there stands for requests that no engine counts.
  It takes what the replica claims before it left.
---*/
-- Triggers that still speak when there is no pod; what is not known to do so does not count.
WITH signals AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    scaler_kind,
    scaler_name,
    min_replicas,
    idle_replicas,
    CASE
      WHEN findings_json LIKE '%wake-signal-vanishes%' OR findings_json LIKE '%blind-scaler%'
        OR findings_json LIKE '%label-mismatch%' OR findings_json LIKE '%renamed-metric%' THEN 0
      WHEN policy_json LIKE '%"no_zero"%' OR policy_json LIKE '%"paused"%' THEN 0
      -- An HPA alone cannot go below one.
      WHEN scaler_kind LIKE 'horizontalpodautoscaler%' THEN 0
      WHEN triggers_json LIKE '%"type":"kafka"%' OR triggers_json LIKE '%"type":"apache-kafka"%'
        OR triggers_json LIKE '%"type":"rabbitmq"%' OR triggers_json LIKE '%"type":"aws-sqs-queue"%'
        OR triggers_json LIKE '%"type":"azure-servicebus"%' OR triggers_json LIKE '%"type":"azure-queue"%'
        OR triggers_json LIKE '%"type":"gcp-pubsub"%' OR triggers_json LIKE '%"type":"redis%'
        OR triggers_json LIKE '%"type":"nats-jetstream"%' OR triggers_json LIKE '%"type":"external-push"%'
        OR triggers_json LIKE '%"type":"knative"%' THEN 1
      WHEN triggers_json LIKE '%"type":"prometheus"%' AND (
        triggers_json LIKE '%llm_d_epp_request_total%' OR triggers_json LIKE '%inference_objective_request_total%'
        OR triggers_json LIKE '%istio_requests_total%' OR triggers_json LIKE '%envoy_cluster_upstream_rq%'
        OR triggers_json LIKE '%nginx_ingress_controller_requests%' OR triggers_json LIKE '%traefik_service_requests_total%'
        OR triggers_json LIKE '%dynamo_frontend_%' OR triggers_json LIKE '%vllm:num_incoming_requests_total%')
        THEN 1
      ELSE 0
    END AS wake_safe,
    CASE WHEN min_replicas = 0 OR idle_replicas = 0 THEN 1 ELSE 0 END AS sleeps,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY valid_to_ms DESC, valid_from_ms DESC, scaler_kind, scaler_name
    ) AS newest
  FROM autoscalers
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms
    AND workload_name IS NOT NULL
),
-- Hours in which no replica did anything at all, whoever claimed their seconds before.
resting AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    hour_ms,
    CAST(SUM(ms) AS BIGINT) AS quiet_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name, hour_ms
  HAVING SUM(CASE WHEN class IN ('lull', 'dark') THEN 0 ELSE 1 END) = 0
),
asleep AS (
  SELECT r.*
  FROM resting AS r
  LEFT JOIN scaler_demand AS q
    ON r.cluster = q.cluster
    AND r.namespace = q.namespace
    AND r.workload_kind = q.workload_kind
    AND r.workload_name = q.workload_name
    AND r.hour_ms = q.hour_ms
  WHERE COALESCE(q.asked_ms, 0) = 0
),
-- What its queue said while what it did is unknown.
told AS (
  SELECT
    l.cluster,
    l.namespace,
    l.workload_kind,
    l.workload_name,
    CAST(SUM(CASE WHEN q.is_told = 1 THEN l.ms ELSE 0 END) AS BIGINT) AS told_ms,
    CAST(SUM(CASE WHEN q.asked_ms > 0 THEN l.ms ELSE 0 END) AS BIGINT) AS asked_ms,
    CAST(COUNT(DISTINCT CASE WHEN q.is_told = 1 THEN l.hour_ms - l.hour_ms % 86400000 END) AS BIGINT) AS told_days
  FROM ledger AS l
  INNER JOIN scaler_demand AS q
    ON l.cluster = q.cluster
    AND l.namespace = q.namespace
    AND l.workload_kind = q.workload_kind
    AND l.workload_name = q.workload_name
    AND l.hour_ms = q.hour_ms
  WHERE l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class = 'unknown' AND l.workload_name <> ''
  GROUP BY l.cluster, l.namespace, l.workload_kind, l.workload_name
),
found_sleep AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(quiet_ms) AS BIGINT) AS sleep_ms,
    CAST(COUNT(DISTINCT hour_ms - hour_ms % 86400000) AS BIGINT) AS sleep_days
  FROM asleep
  GROUP BY cluster, namespace, workload_kind, workload_name
),
seen AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(COUNT(DISTINCT hour_ms - hour_ms % 86400000) AS BIGINT) AS days_seen
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class NOT IN ('absent', 'unknown') AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name
),
sums AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(ms) AS BIGINT) AS total_ms,
    CAST(SUM(CASE WHEN class = 'lull' THEN ms ELSE 0 END) AS BIGINT) AS lull_ms,
    CAST(SUM(CASE WHEN class IN ('serving', 'starved') THEN ms ELSE 0 END) AS BIGINT) AS busy_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name
),
joined AS (
  SELECT
    w.*,
    COALESCE(s.total_ms, 0) AS total_ms,
    COALESCE(s.busy_ms, 0) AS busy_ms,
    COALESCE(s.lull_ms, 0) AS lull_ms,
    COALESCE(s.unknown_ms, 0) AS unknown_ms,
    COALESCE(f.sleep_ms, 0) AS sleep_ms,
    COALESCE(f.sleep_days, 0) AS sleep_days,
    GREATEST(COALESCE(n.days_seen, 0), COALESCE(t.told_days, 0)) AS days_seen,
    COALESCE(t.told_ms, 0) AS told_ms,
    t.asked_ms,
    g.scaler_kind,
    g.scaler_name,
    g.wake_safe,
    COALESCE(g.sleeps, 0) AS sleeps,
    CAST(CAST(COALESCE(f.sleep_ms, 0) + 180000 - (COALESCE(f.sleep_ms, 0) + 180000) % 360000 AS DOUBLE) / 360000.0 AS BIGINT) AS tenths
  FROM workload_facts AS w
  LEFT JOIN sums AS s
    ON w.cluster = s.cluster
    AND w.namespace = s.namespace
    AND w.workload_kind = s.workload_kind
    AND w.workload_name = s.workload_name
  LEFT JOIN found_sleep AS f
    ON w.cluster = f.cluster
    AND w.namespace = f.namespace
    AND w.workload_kind = f.workload_kind
    AND w.workload_name = f.workload_name
  LEFT JOIN seen AS n
    ON w.cluster = n.cluster
    AND w.namespace = n.namespace
    AND w.workload_kind = n.workload_kind
    AND w.workload_name = n.workload_name
  LEFT JOIN told AS t
    ON w.cluster = t.cluster
    AND w.namespace = t.namespace
    AND w.workload_kind = t.workload_kind
    AND w.workload_name = t.workload_name
  LEFT JOIN signals AS g
    ON w.cluster = g.cluster
    AND w.namespace = g.namespace
    AND w.workload_kind = g.workload_kind
    AND w.workload_name = g.workload_name
    AND g.newest = 1
),
-- The first reason that holds decides, so that status and sentence cannot disagree.
judged AS (
  SELECT
    j.*,
    CASE
      WHEN workload_class IN ('batch', 'training', 'notebook', 'system') THEN 'other-class'
      WHEN total_ms = 0 THEN 'no-gpu'
      WHEN (total_ms - unknown_ms + told_ms) * 100 < total_ms * $min_coverage_percent THEN 'unseen'
      WHEN busy_ms = 0 AND COALESCE(asked_ms, 0) = 0 THEN 'unused'
      WHEN sleep_ms < $min_sleep_gpu_hours * 3600000 THEN 'little'
      WHEN days_seen < $min_days_seen THEN 'few-days'
      WHEN standby_declared THEN 'declared'
      WHEN floor_why = $declared_floors THEN 'declared'
      WHEN COALESCE(floor_replicas, 1) > 1 THEN 'spread'
      WHEN wake_safe IS NULL THEN 'no-scaler'
      WHEN wake_safe = 0 THEN 'no-signal'
      WHEN sleeps = 1 THEN 'sleeps'
      ELSE 'chance'
    END AS verdict_code
  FROM joined AS j
),
texts AS (
  SELECT
    j.*,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS sleep_hours,
    workload_name || COALESCE(' (' || COALESCE(model, model_raw) || ')', '')
      || COALESCE(' on ' || gpu_product, '') AS headline
  FROM judged AS j
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
    WHEN verdict_code IN ('unseen', 'few-days') THEN 'undetermined'
    WHEN verdict_code = 'chance' THEN 'alarm'
    ELSE 'ok'
  END AS status,
  CASE WHEN total_ms > 0
    THEN CAST(total_ms - unknown_ms AS DOUBLE) / CAST(total_ms AS DOUBLE) END AS coverage,
  'medium' AS confidence,
  model,
  gpu_product,
  team,
  headline,
  'it paused for ' || sleep_hours || ' GPU-hours from end to end of the hour, and its scaler could wake it' AS because,
  CASE verdict_code
    WHEN 'other-class' THEN 'It is no serving workload (' || workload_class || '): it does not wait for requests.'
    WHEN 'no-gpu' THEN 'It held no GPU in the closed hours of the window.'
    WHEN 'unseen' THEN 'Too much of its time is unknown for what was seen to speak for the window.'
    WHEN 'unused' THEN 'It did no work in the window: idle time of it is judged as dark capacity.'
    WHEN 'little' THEN 'Hours without any work of it are below the threshold: ' || sleep_hours || ' GPU-hours.'
    WHEN 'few-days' THEN 'It was seen on ' || CAST(days_seen AS VARCHAR) || ' days, fewer than the '
      || CAST($min_days_seen AS VARCHAR) || ' that show its rhythm.'
    WHEN 'declared' THEN 'Its floor is declared: somebody decided that it stays awake.'
    WHEN 'spread' THEN 'Its disruption budget or spread asks for more than one replica.'
    WHEN 'no-scaler' THEN 'It pauses for ' || sleep_hours
      || ' GPU-hours, and no scaler was seen that could wake it.'
    WHEN 'no-signal' THEN 'It pauses for ' || sleep_hours || ' GPU-hours, and its scaler has no signal that '
      || 'is known to exist while there is no pod: asleep, nothing would wake it.'
    WHEN 'sleeps' THEN 'Its scaler may already take it to zero.'
    ELSE 'On ' || CAST(sleep_days AS VARCHAR) || ' days it had whole hours without any work, and its scaler '
      || 'listens to a signal that exists while there is no pod: ' || sleep_hours || ' GPU-hours.'
  END AS reason,
  existed_ms,
  alive_at_end AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  'Let ' || COALESCE(scaler_kind || '/' || scaler_name, 'its scaler') || ' take it to zero in its pauses, after asking who would wait for the cold start.' AS remedy,
  'scale-to-zero' AS remedy_action,
  CAST(COALESCE(min_replicas, replicas) AS VARCHAR) AS remedy_current,
  '0' AS remedy_proposed,
  'medium' AS remedy_risk,
  'the first request after a pause waits for a cold start' AS remedy_disruption,
  total_ms AS ev_held_gpu_ms,
  lull_ms AS ev_lull_gpu_ms,
  sleep_ms AS ev_whole_hours_asleep_gpu_ms,
  sleep_days AS ev_days_with_pauses,
  scaler_name AS ev_scaler,
  wake_safe AS ev_wake_signal_outside_of_pods,
  asked_ms AS ev_unknown_while_its_queue_waited_gpu_ms,
  unknown_ms AS ev_unknown_gpu_ms
FROM texts
ORDER BY cluster, namespace, workload_kind, workload_name
