/*---
id: ungoverned-change
version: 1.0.0
title: What scaled by itself, without anybody's approval, and its price
status: stable
severity: low
grain: [cluster, namespace, workload_kind, workload_name]
requires: [ledger, workload_facts, scaling_events]
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
  stands, priced by what it held above the minimum that people set, until the next change. It claims
  nothing: scaling up for demand is no waste. It says what happened without an approval, and its price.
---*/
-- In the order in which they were seen; a change holds until the next of the same field.
WITH ordered AS (
  SELECT
    e.*,
    COALESCE(LEAD(seen_ms) OVER (
      PARTITION BY cluster, namespace, workload_kind, workload_name, object, field
      ORDER BY seen_ms, what, after, before, seen_in
    ), $window_end_ms) AS until_ms
  FROM scaling_events AS e
  WHERE what = 'replicas' AND seen_ms < $window_end_ms
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
    CASE WHEN o.gpu_milli_after > o.gpu_milli_before THEN 1 ELSE 0 END AS is_up,
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
),
sums AS (
  SELECT
    cluster,
    namespace,
    workload_kind,
    workload_name,
    CAST(SUM(CASE WHEN in_window THEN 1 ELSE 0 END) AS BIGINT) AS changes,
    CAST(SUM(CASE WHEN in_window AND by_whom = 'machine' THEN 1 ELSE 0 END) AS BIGINT) AS by_machine,
    CAST(SUM(CASE WHEN in_window AND by_whom = 'machine' AND is_up = 1 THEN 1 ELSE 0 END) AS BIGINT)
      AS ups_by_machine,
    CAST(SUM(CASE WHEN in_window AND by_whom = 'unknown' THEN 1 ELSE 0 END) AS BIGINT) AS by_nobody_known,
    CAST(SUM(CASE WHEN by_whom = 'machine' THEN
      CAST(CAST(above_milli * held_ms - (above_milli * held_ms) % 1000 AS DOUBLE) / 1000.0 AS BIGINT)
      ELSE 0 END) AS BIGINT) AS added_ms,
    MAX(CASE WHEN by_whom = 'machine' THEN actor END) AS an_actor
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
      || ' changes of its replicas were made by no person'
      || COALESCE(' (' || an_actor || ')', '') || ': ' || added_hours
      || ' GPU-hours above its minimum. Nothing is claimed here: what of it demand did not need is claimed as surplus.'
    WHEN 'undetermined' THEN CAST(by_nobody_known AS VARCHAR)
      || ' changes of its replicas were seen, and nothing says who made them.'
    ELSE 'What changed by itself is below the threshold: ' || added_hours || ' GPU-hours above its minimum.'
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
  by_machine AS ev_changes_by_no_person,
  ups_by_machine AS ev_scaled_up_by_no_person,
  by_nobody_known AS ev_changes_by_nobody_known,
  an_actor AS ev_an_actor,
  added_ms AS ev_above_minimum_gpu_ms
FROM texts
ORDER BY cluster, namespace, workload_kind, workload_name
