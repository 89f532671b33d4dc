/*---
id: dark-capacity
version: 1.2.0
title: Serving capacity that had no work for six hours and more
status: stable
severity: high
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts, workload_details, workload_hours, gpu_hours, scaler_demand]
claims: [dark]
order: 20
window: {default: 14d, min: 3d}
params:
  min_dark_hours: {type: int, unit: GPU-hours, default: 24, why: "a day of one GPU in a fortnight: less is not worth a change"}
  min_coverage_percent: {type: int, unit: percent, default: 80, why: "what was seen must speak for the window: a fifth unseen may hold all the work"}
false_positives:
  - a stand-by for disaster recovery that declares itself nowhere
  - a service for rare batches whose cold start nobody can wait for
remediation:
  action: scale-to-zero
  text: remove it, scale it to zero, or let it scale to zero for its dark hours
references:
  - https://keda.sh/docs/latest/concepts/scaling-deployments/
rationale: >-
  Loaded and asked for nothing, for an unbroken run of at least six hours. Probes are not work, and
  time that nobody saw is not dark. Why it is dark is a cause within this finding, never a finding of
  its own, for the seconds are the same: a pod that no controller owns (orphan-reservation), a revision
  whose routes weigh nothing (leftover-revision), nothing that routes to it (unroutable), requests that
  never rise above a probe (probes-only), none of these (dead-deployment), or work between
  dark runs (quiet-hours). Where a queue feeds it, its demand is what its scaler reads of that queue:
  dark hours in which something waited there are no waste but a fault (stuck-consumer) and are not
  claimed, hours of unknown GPUs in which something waited are work, and an empty queue beside an idle
  GPU corroborates. A queue that nobody read is never an empty one. Where its GPU moved in time that is
  unknown (a worker that exports nothing) somebody may want it, and it is never stopped
  (unexplained-activity).
---*/
-- The newest word on who routes to it.
WITH routed AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    served,
    traffic_percent,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY valid_to_ms DESC, valid_from_ms DESC, served, traffic_percent
    ) AS newest
  FROM workload_details
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms
),
asked AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(requests) AS BIGINT) AS requests
  FROM workload_hours
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
  GROUP BY cluster, namespace, workload_kind, workload_name
),
sums AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(ms) AS BIGINT) AS total_ms,
    CAST(SUM(CASE WHEN class = 'dark' THEN ms ELSE 0 END) AS BIGINT) AS dark_ms,
    CAST(SUM(CASE WHEN class = 'dark' AND quiet_confidence = 'medium' THEN ms ELSE 0 END) AS BIGINT)
      AS medium_ms,
    CAST(SUM(CASE WHEN class IN ('serving', 'lull', 'starved') THEN ms ELSE 0 END) AS BIGINT)
      AS used_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms,
    CAST(SUM(CASE WHEN class = 'standby' THEN ms ELSE 0 END) AS BIGINT) AS standby_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name
),
-- What its queue said while it held GPUs.
told AS (
  SELECT
    l.cluster,
    l.namespace,
    l.workload_kind,
    l.workload_name,
    MIN(q.scaler) AS scaler,
    CAST(SUM(CASE WHEN l.class = 'dark' AND q.asked_ms > 0 THEN l.ms ELSE 0 END) AS BIGINT) AS waited_ms,
    CAST(SUM(CASE WHEN l.class = 'dark' AND q.asked_ms = 0 AND q.is_told = 1 THEN l.ms ELSE 0 END) AS BIGINT)
      AS empty_ms,
    CAST(SUM(CASE WHEN l.class = 'unknown' AND q.asked_ms > 0 THEN l.ms ELSE 0 END) AS BIGINT) AS asked_ms,
    CAST(SUM(CASE WHEN l.class = 'unknown' AND q.is_told = 1 THEN l.ms ELSE 0 END) AS BIGINT) AS told_ms
  FROM ledger AS l
  INNER JOIN scaler_demand AS q
    ON l.cluster = q.cluster
    AND l.namespace = q.namespace
    AND l.workload_kind = q.workload_kind
    AND l.workload_name = q.workload_name
    AND l.hour_ms = q.hour_ms
  WHERE l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class IN ('dark', 'unknown') AND l.workload_name <> ''
  GROUP BY l.cluster, l.namespace, l.workload_kind, l.workload_name
),
-- Unknown time in which its GPU moved: work that nothing explains.
moved AS (
  SELECT
    l.cluster,
    l.namespace,
    l.workload_kind,
    l.workload_name,
    CAST(SUM(LEAST(l.ms, g.active_ms)) AS BIGINT) AS moved_ms
  FROM ledger AS l
  INNER JOIN (
    SELECT cluster, uuid, hour_ms, MAX(active_ms) AS active_ms
    FROM gpu_hours
    WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms AND active_ms > 0
    GROUP BY cluster, uuid, hour_ms
  ) AS g
    ON l.cluster = g.cluster
    AND l.gpu_uuid = g.uuid
    AND l.hour_ms = g.hour_ms
  WHERE l.hour_ms >= $window_start_ms AND l.hour_ms < $window_end_ms
    AND l.final AND l.class = 'unknown' AND l.workload_name <> ''
  GROUP BY l.cluster, l.namespace, l.workload_kind, l.workload_name
),
joined AS (
  SELECT
    w.*,
    COALESCE(s.total_ms, 0) AS total_ms,
    COALESCE(s.dark_ms, 0) AS dark_ms,
    -- What is dark and was not wanted.
    COALESCE(s.dark_ms, 0) - COALESCE(q.waited_ms, 0) AS idle_ms,
    COALESCE(s.medium_ms, 0) AS medium_ms,
    COALESCE(s.used_ms, 0) AS used_ms,
    COALESCE(s.unknown_ms, 0) AS unknown_ms,
    COALESCE(s.standby_ms, 0) AS standby_ms,
    r.served,
    r.traffic_percent,
    a.requests,
    COALESCE(m.moved_ms, 0) AS moved_ms,
    q.scaler,
    q.waited_ms,
    q.empty_ms,
    COALESCE(q.asked_ms, 0) AS asked_ms,
    COALESCE(q.told_ms, 0) AS told_ms
  FROM workload_facts AS w
  LEFT JOIN sums AS s
    ON w.cluster = s.cluster
    AND w.namespace = s.namespace
    AND w.workload_kind = s.workload_kind
    AND w.workload_name = s.workload_name
  LEFT JOIN routed AS r
    ON w.cluster = r.cluster
    AND w.namespace = r.namespace
    AND w.workload_kind = r.workload_kind
    AND w.workload_name = r.workload_name
    AND r.newest = 1
  LEFT JOIN asked AS a
    ON w.cluster = a.cluster
    AND w.namespace = a.namespace
    AND w.workload_kind = a.workload_kind
    AND w.workload_name = a.workload_name
  LEFT JOIN moved AS m
    ON w.cluster = m.cluster
    AND w.namespace = m.namespace
    AND w.workload_kind = m.workload_kind
    AND w.workload_name = m.workload_name
  LEFT JOIN told AS q
    ON w.cluster = q.cluster
    AND w.namespace = q.namespace
    AND w.workload_kind = q.workload_kind
    AND w.workload_name = q.workload_name
),
judged AS (
  SELECT
    j.*,
    used_ms = 0 AND asked_ms = 0 AND COALESCE(waited_ms, 0) = 0 AND moved_ms = 0 AS unwanted,
    CASE
      WHEN used_ms > 0 OR asked_ms > 0 THEN 'quiet-hours'
      WHEN moved_ms > 0 THEN 'unexplained-activity'
      WHEN waited_ms > 0 THEN 'stuck-consumer'
      WHEN workload_kind = 'pod' THEN 'orphan-reservation'
      WHEN traffic_percent = 0 THEN 'leftover-revision'
      -- A worker takes its work from the queue: nothing needs to route to it.
      WHEN served = 'nothing' AND scaler IS NULL THEN 'unroutable'
      WHEN requests > 0 THEN 'probes-only'
      ELSE 'dead-deployment'
    END AS cause,
    CAST(CAST(idle_ms + 180000 - (idle_ms + 180000) % 360000 AS DOUBLE) / 360000.0 AS BIGINT) AS tenths,
    CASE
      WHEN workload_class IN ('batch', 'training', 'notebook', 'system') THEN 'skip'
      WHEN total_ms = 0 THEN 'skip'
      WHEN (total_ms - unknown_ms + told_ms) * 100 < total_ms * $min_coverage_percent
        THEN 'undetermined'
      WHEN idle_ms > 0 AND idle_ms >= $min_dark_hours * 3600000 THEN 'alarm'
      -- It did nothing while work waited: that is a fault, and what it would need is not known.
      WHEN waited_ms > 0 AND waited_ms >= $min_dark_hours * 3600000 THEN 'undetermined'
      ELSE 'ok'
    END AS status
  FROM joined AS j
),
texts AS (
  SELECT
    j.*,
    (total_ms - unknown_ms + told_ms) * 100 >= total_ms * $min_coverage_percent AS covered,
    CAST(CAST(round(CAST(COALESCE(waited_ms, 0) AS DOUBLE) / 3600000.0) AS BIGINT) AS VARCHAR) AS waited_hours,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS dark_hours,
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
  status,
  CASE WHEN total_ms > 0
    THEN CAST(total_ms - unknown_ms AS DOUBLE) / CAST(total_ms AS DOUBLE) END AS coverage,
  -- Three witnesses agree where the queue was seen to be empty beside an idle GPU.
  CASE WHEN medium_ms > 0 AND COALESCE(empty_ms, 0) < idle_ms THEN 'medium' ELSE 'high' END AS confidence,
  model,
  gpu_product,
  team,
  headline,
  'it had no work for ' || dark_hours || ' GPU-hours' AS because,
  CASE
    WHEN status = 'skip' AND total_ms = 0 THEN 'It held no GPU in the closed hours of the window.'
    WHEN status = 'skip' THEN
      'It is no serving workload (' || workload_class || '): quiet says nothing about it.'
    WHEN status = 'undetermined' AND covered THEN 'Work waited in its queue (' || scaler || ') for '
      || waited_hours || ' of its dark GPU-hours: it is broken or blocked rather than unneeded, and '
      || 'nothing is claimed.'
    WHEN status = 'undetermined' THEN 'Too much of its time is unknown: no telemetry, or telemetry '
      || 'that contradicts itself, so what was seen does not speak for the window.'
    WHEN status = 'alarm' AND cause = 'orphan-reservation' THEN 'No controller owns this pod, and it '
      || 'did nothing in all the time that was seen: ' || dark_hours || ' GPU-hours.'
    WHEN status = 'alarm' AND cause = 'leftover-revision' THEN 'Its routes give it no share of the '
      || 'traffic, and it did no work: ' || dark_hours || ' GPU-hours.'
    WHEN status = 'alarm' AND cause = 'unroutable' THEN 'No Service, pool or route selects its pods, '
      || 'so nobody can ask it anything, and nobody did: ' || dark_hours || ' GPU-hours.'
    WHEN status = 'alarm' AND cause = 'probes-only' THEN 'Of its ' || CAST(requests AS VARCHAR)
      || ' requests none made work beyond the level of a probe: ' || dark_hours
      || ' GPU-hours in runs of at least six hours.'
    WHEN status = 'alarm' AND cause = 'unexplained-activity' THEN 'Its GPU moved at times and nothing says for '
      || 'whom; between that it is dark for ' || dark_hours || ' GPU-hours in runs of at least six hours.'
    WHEN status = 'alarm' AND cause = 'stuck-consumer' THEN 'It did nothing in all the time that was seen, '
      || 'not even in the ' || waited_hours || ' GPU-hours in which work waited in its queue; beyond these '
      || 'it was dark for ' || dark_hours || ' GPU-hours.'
    WHEN status = 'alarm' AND unwanted AND empty_ms > 0 THEN 'Its queue (' || scaler || ') was empty and it '
      || 'did nothing: ' || dark_hours || ' GPU-hours in runs of at least six hours.'
    WHEN status = 'alarm' AND used_ms = 0 AND asked_ms > 0 THEN 'Its queue (' || scaler || ') gives it work, '
      || 'and between that it is dark for ' || dark_hours || ' GPU-hours in runs of at least six hours.'
    WHEN status = 'alarm' AND unwanted THEN 'Nothing was asked of it in all the time that was '
      || 'seen: ' || dark_hours || ' GPU-hours in runs of at least six hours.'
    WHEN status = 'alarm' THEN 'It works, and between that it is dark for ' || dark_hours
      || ' GPU-hours in runs of at least six hours.'
    ELSE 'Its dark time is below the threshold: ' || dark_hours || ' GPU-hours.'
  END AS reason,
  existed_ms,
  alive_at_end AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  CASE
    WHEN cause = 'orphan-reservation' THEN 'Ask whose pod it is, then delete it: no controller brings it back.'
    WHEN cause = 'leftover-revision' THEN 'Remove the old revision, or scale it to zero: its routes already point elsewhere.'
    WHEN cause = 'unroutable' THEN 'Give it a route if it should serve; else remove it or scale it to zero.'
    WHEN cause = 'probes-only' THEN 'Remove it or scale it to zero, and end the probes that keep it looking busy.'
    WHEN cause = 'stuck-consumer' THEN 'Find out why it takes nothing from its queue, then let it scale to zero while the queue is empty.'
    WHEN unwanted THEN 'Remove it or scale it to zero.'
    ELSE 'Scale it to zero for its dark hours, by schedule or by its own demand.'
  END AS remedy,
  CASE WHEN unwanted THEN 'stop' ELSE 'scale-to-zero' END AS remedy_action,
  CAST(COALESCE(min_replicas, replicas) AS VARCHAR) AS remedy_current,
  '0' AS remedy_proposed,
  CASE WHEN unwanted THEN 'low' ELSE 'medium' END AS remedy_risk,
  CASE WHEN unwanted THEN 'none seen: nobody asked for it'
    ELSE 'the first request after a dark stretch waits for a cold start' END AS remedy_disruption,
  cause AS ev_cause,
  served AS ev_reached_by,
  traffic_percent AS ev_traffic_percent,
  requests AS ev_requests,
  total_ms AS ev_held_gpu_ms,
  dark_ms AS ev_dark_gpu_ms,
  medium_ms AS ev_dark_without_engine_series_gpu_ms,
  used_ms AS ev_used_gpu_ms,
  standby_ms AS ev_standby_gpu_ms,
  COALESCE(scaler, 'none') AS ev_queue_told_by,
  empty_ms AS ev_dark_beside_an_empty_queue_gpu_ms,
  waited_ms AS ev_dark_while_its_queue_waited_gpu_ms,
  moved_ms AS ev_unknown_while_it_moved_gpu_ms,
  unknown_ms AS ev_unknown_gpu_ms
FROM texts
ORDER BY cluster, namespace, workload_kind, workload_name
