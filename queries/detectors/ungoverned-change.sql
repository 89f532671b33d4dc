/*---
id: ungoverned-change
version: 1.1.0
title: What scaled by itself, without anybody's approval, and its price
status: stable
severity: low
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts, scaling_events, outcomes]
order: 80
window: {default: 14d, min: 3d}
params:
  min_added_gpu_hours: {type: int, unit: GPU-hours, default: 24, why: "a day of one GPU in a fortnight: less is what a scaler is for"}
  people: {type: text, default: "kubectl", why: "field managers that begin so are people at a keyboard, and so is a name with helm, argocd, flux or terraform in it: everything else acted by itself"}
false_positives:
  - a pipeline with a name of its own that people drive
remediation:
  action: agree-bounds
  text: have who pays agree on the scaler's maximum; a signed decision makes it governed
references:
  - https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers
rationale: >-
  Every change of replicas that a scaler or controller made, or that nobody put a name to where a scaler
  stands, priced by what it held above the minimum that people set, until the next change. A change is
  governed where a signed and exported decision was seen to be applied: the change itself, between the same
  sightings, and what a scaler does while bounds stand that were so agreed. What people changed without a
  decision is counted beside it, with what it added. It claims nothing: scaling up for demand is no waste.
  It says what happened without an approval, and its price.
---*/
-- In the order in which they were seen; a change holds until the next of the same field.
WITH ordered AS (
  SELECT
    e.*,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name
      ORDER BY seen_ms, object, field, after, before, seen_in
    ) AS event_no,
    COALESCE(LEAD(seen_ms) OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name, object, field
      ORDER BY seen_ms, what, after, before, seen_in
    ), $window_end_ms) AS until_ms
  FROM scaling_events AS e
  WHERE what = 'replicas' AND seen_ms < $window_end_ms
),
-- Decisions that were signed, exported and seen in the cluster.
approved AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    action,
    COALESCE(applied_not_before_ms, exported_ms) AS from_ms,
    applied_ms AS seen_ms,
    COALESCE(ended_not_before_ms, ended_ms, $window_end_ms) AS until_ms
  FROM outcomes
  -- Outcomes also name changes that nobody approved.
  WHERE applied_ms IS NOT NULL AND COALESCE(state, '') <> 'ungoverned'
),
governed AS (
  SELECT DISTINCT o.cluster, o.namespace, o.workload_kind, o.workload_name, o.event_no
  FROM ordered AS o
  INNER JOIN approved AS a
    ON o.cluster = a.cluster
    AND o.namespace = a.namespace
    AND o.workload_kind = a.workload_kind
    AND o.workload_name = a.workload_name
  -- The change that was agreed, or a scaler's within bounds that were.
  WHERE (o.seen_ms > a.from_ms AND COALESCE(o.not_before_ms, o.seen_ms) <= a.seen_ms)
    OR (a.action IN ('bounds', 'scale-to-zero') AND o.seen_ms > a.from_ms AND o.seen_ms <= a.until_ms)
),
changes AS (
  SELECT
    o.cluster,
    o.namespace,
    o.workload_kind,
    o.workload_name,
    o.actor,
    CASE
      WHEN o.actor LIKE $people || '%' OR o.actor LIKE '%helm%' OR o.actor LIKE '%argocd%'
        OR o.actor LIKE '%flux%' OR o.actor LIKE '%kustomize-controller%' OR o.actor LIKE '%terraform%' THEN 'person'
      WHEN o.actor IS NOT NULL THEN 'machine'
      WHEN w.autoscaler IS NOT NULL THEN 'machine'
      ELSE 'unknown'
    END AS by_whom,
    g.event_no IS NOT NULL AS is_approved,
    CASE WHEN o.gpu_milli_after > o.gpu_milli_before THEN 1 ELSE 0 END AS is_up,
    GREATEST(0, COALESCE(o.gpu_milli_after - o.gpu_milli_before, 0)) AS more_milli,
    GREATEST(0, COALESCE(o.gpu_milli_after, 0)
      - COALESCE(w.min_replicas, 0) * w.gpu_milli_per_replica) AS above_milli,
    GREATEST(0, LEAST(o.until_ms, w.last_ms, $window_end_ms) - GREATEST(o.seen_ms, $window_start_ms))
      AS held_ms,
    o.seen_ms >= $window_start_ms AS in_window
  FROM ordered AS o
  INNER JOIN workload_facts AS w
    ON o.cluster = w.cluster
    AND o.namespace = w.namespace
    AND o.workload_kind = w.workload_kind
    AND o.workload_name = w.workload_name
  LEFT JOIN governed AS g
    ON o.cluster = g.cluster
    AND o.namespace = g.namespace
    AND o.workload_kind = g.workload_kind
    AND o.workload_name = g.workload_name
    AND o.event_no = g.event_no
),
sums AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(CASE WHEN in_window THEN 1 ELSE 0 END) AS BIGINT) AS changes,
    CAST(SUM(CASE WHEN in_window AND is_approved THEN 1 ELSE 0 END) AS BIGINT) AS approved,
    CAST(SUM(CASE WHEN in_window AND NOT is_approved AND by_whom = 'machine' THEN 1 ELSE 0 END) AS BIGINT) AS by_machine,
    CAST(SUM(CASE WHEN in_window AND NOT is_approved AND by_whom = 'machine' AND is_up = 1 THEN 1 ELSE 0 END) AS BIGINT)
      AS ups_by_machine,
    CAST(SUM(CASE WHEN in_window AND NOT is_approved AND by_whom = 'person' THEN 1 ELSE 0 END) AS BIGINT) AS by_people,
    CAST(SUM(CASE WHEN in_window AND NOT is_approved AND by_whom = 'unknown' THEN 1 ELSE 0 END) AS BIGINT) AS by_nobody_known,
    CAST(SUM(CASE WHEN by_whom = 'machine' AND NOT is_approved THEN
      CAST(CAST(above_milli * held_ms - (above_milli * held_ms) % 1000 AS DOUBLE) / 1000.0 AS BIGINT)
      ELSE 0 END) AS BIGINT) AS added_ms,
    -- Of a person's change nobody set a minimum to measure it by: what it added.
    CAST(SUM(CASE WHEN by_whom = 'person' AND NOT is_approved AND in_window THEN
      CAST(CAST(more_milli * held_ms - (more_milli * held_ms) % 1000 AS DOUBLE) / 1000.0 AS BIGINT)
      ELSE 0 END) AS BIGINT) AS people_ms,
    MAX(CASE WHEN by_whom = 'machine' AND NOT is_approved THEN actor END) AS an_actor
  FROM changes
  GROUP BY cluster, namespace, workload_kind, workload_name
),
held AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(ms) AS BIGINT) AS total_ms,
    CAST(SUM(CASE WHEN class = 'unknown' THEN ms ELSE 0 END) AS BIGINT) AS unknown_ms
  FROM ledger
  WHERE hour_ms >= $window_start_ms AND hour_ms < $window_end_ms
    AND final AND class <> 'absent' AND workload_name <> ''
  GROUP BY cluster, namespace, workload_kind, workload_name
),
judged AS (
  SELECT
    w.*,
    COALESCE(h.total_ms, 0) AS total_ms,
    COALESCE(h.unknown_ms, 0) AS unknown_ms,
    COALESCE(s.changes, 0) AS changes,
    COALESCE(s.by_machine, 0) AS by_machine,
    COALESCE(s.ups_by_machine, 0) AS ups_by_machine,
    COALESCE(s.by_nobody_known, 0) AS by_nobody_known,
    COALESCE(s.approved, 0) AS approved,
    COALESCE(s.by_people, 0) AS by_people,
    LEAST(COALESCE(s.people_ms, 0), COALESCE(h.total_ms, 0)) AS people_ms,
    -- No more than it held: a sighting brackets a change, it does not date it.
    LEAST(COALESCE(s.added_ms, 0), COALESCE(h.total_ms, 0)) AS added_ms,
    s.an_actor,
    CAST(CAST(LEAST(COALESCE(s.added_ms, 0), COALESCE(h.total_ms, 0)) + 180000 - (LEAST(COALESCE(s.added_ms, 0), COALESCE(h.total_ms, 0)) + 180000) % 360000 AS DOUBLE) / 360000.0 AS BIGINT) AS tenths,
    CASE
      WHEN COALESCE(h.total_ms, 0) = 0 THEN 'skip'
      WHEN LEAST(s.added_ms, h.total_ms) >= $min_added_gpu_hours * 3600000 AND s.ups_by_machine > 0
        THEN 'alarm'
      WHEN s.by_nobody_known > 0 THEN 'undetermined'
      ELSE 'ok'
    END AS status
  FROM workload_facts AS w
  LEFT JOIN held AS h
    ON w.cluster = h.cluster
    AND w.namespace = h.namespace
    AND w.workload_kind = h.workload_kind
    AND w.workload_name = h.workload_name
  LEFT JOIN sums AS s
    ON w.cluster = s.cluster
    AND w.namespace = s.namespace
    AND w.workload_kind = s.workload_kind
    AND w.workload_name = s.workload_name
),
texts AS (
  SELECT
    j.*,
    CAST(CAST(CAST(tenths - tenths % 10 AS DOUBLE) / 10.0 AS BIGINT) AS VARCHAR)
      || '.' || CAST(tenths % 10 AS VARCHAR) AS added_hours,
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
  status AS status,
  CASE WHEN total_ms > 0
    THEN CAST(total_ms - unknown_ms AS DOUBLE) / CAST(total_ms AS DOUBLE) END AS coverage,
  'medium' AS confidence,
  model,
  gpu_product,
  team,
  headline,
  'it scaled up ' || CAST(ups_by_machine AS VARCHAR) || ' times by itself and held ' || added_hours || ' GPU-hours above its minimum, without an approval' AS because,
  CASE status
    WHEN 'skip' THEN 'It held no GPU in the closed hours of the window.'
    WHEN 'alarm' THEN CAST(by_machine AS VARCHAR) || ' of ' || CAST(changes AS VARCHAR)
      || ' changes of its replicas were made by no person, and no signed decision covers them'
      || COALESCE(' (' || an_actor || ')', '') || ': ' || added_hours
      || ' GPU-hours above its minimum. Nothing is claimed here: what of it demand did not need is claimed as surplus.'
    WHEN 'undetermined' THEN CAST(by_nobody_known AS VARCHAR)
      || ' changes of its replicas were seen, and nothing says who made them.'
    ELSE 'What changed by itself and without an approval is below the threshold: ' || added_hours || ' GPU-hours above its minimum.'
  END AS reason,
  existed_ms,
  alive_at_end AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  'Agree on the maximum of its scaler with who pays for it; a signed decision makes the change a governed one.' AS remedy,
  CAST(NULL AS VARCHAR) AS remedy_action,
  CAST(NULL AS VARCHAR) AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed,
  'low' AS remedy_risk,
  'none' AS remedy_disruption,
  added_ms AS cost_gpu_ms,
  price_key AS cost_price_key,
  changes AS ev_changes_of_replicas,
  approved AS ev_changes_approved,
  by_people AS ev_changes_by_people_without_approval,
  people_ms AS ev_added_by_people_without_approval_gpu_ms,
  by_machine AS ev_changes_by_no_person,
  ups_by_machine AS ev_scaled_up_by_no_person,
  by_nobody_known AS ev_changes_by_nobody_known,
  an_actor AS ev_an_actor,
  added_ms AS ev_above_minimum_gpu_ms
FROM texts
ORDER BY cluster, namespace, workload_kind, workload_name
