/*---
id: scaling-signal-lint
version: 1.0.0
title: Autoscalers that listen to a signal which misleads them
status: stable
severity: medium
grain: [cluster, namespace, scaler_kind, scaler_name]
requires: [autoscalers, scaling_lint]
order: 63
window: {default: 14d, min: 3d}
params: {}
false_positives:
  - a recording rule that filters what the trigger's own query does not
  - a metric that a proxy renames back
remediation:
  action: none
  text: mend the trigger; what it costs is in the findings about the workload
references:
  - https://keda.sh/docs/latest/scalers/prometheus/
rationale: >-
  A renamed metric, a query over every model, a series that is absent without pods: the autoscaler then
  keeps what nobody needs, or never wakes. It claims nothing: surplus and dark time are claimed where they are.
---*/
WITH faults AS (
  SELECT
    cluster,
    namespace,
    scaler_kind,
    scaler_name,
    rule,
    sentence,
    MIN(valid_from_ms) AS from_ms,
    MAX(valid_to_ms) AS to_ms
  FROM scaling_lint
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms
  GROUP BY cluster, namespace, scaler_kind, scaler_name, rule, sentence
),
summed AS (
  SELECT
    cluster,
    namespace,
    scaler_kind,
    scaler_name,
    -- What was mended before the window's end is told, and no alarm.
    CAST(COUNT(CASE WHEN to_ms >= $window_end_ms THEN 1 END) AS BIGINT) AS standing,
    MIN(CASE WHEN to_ms >= $window_end_ms THEN rule || ': ' || sentence END) AS first_fault,
    MIN(CASE WHEN rule = 'renamed-metric' THEN sentence END) AS renamed_metric,
    MIN(CASE WHEN rule = 'unfiltered-query' THEN sentence END) AS unfiltered_query,
    MIN(CASE WHEN rule = 'label-mismatch' THEN sentence END) AS label_mismatch,
    MIN(CASE WHEN rule = 'two-scalers' THEN sentence END) AS two_scalers,
    MIN(CASE WHEN rule = 'gpu-utilisation-target' THEN sentence END) AS gpu_utilisation,
    MIN(CASE WHEN rule = 'wake-signal-vanishes' THEN sentence END) AS wake_signal,
    MIN(CASE WHEN rule = 'blind-scaler' THEN sentence END) AS blind_scaler,
    MIN(CASE WHEN rule = 'mean-of-pods' THEN sentence END) AS mean_of_pods
  FROM faults
  GROUP BY cluster, namespace, scaler_kind, scaler_name
),
scalers AS (
  SELECT
    cluster,
    namespace,
    scaler_kind,
    scaler_name,
    MAX(workload_kind) AS workload_kind,
    MAX(workload_name) AS workload_name,
    MIN(valid_from_ms) AS from_ms,
    MAX(valid_to_ms) AS to_ms
  FROM autoscalers
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms
  GROUP BY cluster, namespace, scaler_kind, scaler_name
)
SELECT
  s.cluster,
  s.namespace,
  s.scaler_kind,
  s.scaler_name,
  CAST($window_start_ms AS BIGINT) AS window_start_ms,
  CAST($window_end_ms AS BIGINT) AS window_end_ms,
  CASE WHEN COALESCE(f.standing, 0) > 0 THEN 'alarm' ELSE 'ok' END AS status,
  -- The policy itself was read, and nothing else is needed to judge it.
  CAST(1 AS DOUBLE) AS coverage,
  'high' AS confidence,
  CAST(NULL AS VARCHAR) AS model,
  CAST(NULL AS VARCHAR) AS gpu_product,
  CAST(NULL AS VARCHAR) AS team,
  'the autoscaler ' || s.scaler_name
    || COALESCE(' of ' || s.workload_name, '') AS headline,
  f.first_fault AS because,
  CASE
    WHEN COALESCE(f.standing, 0) > 1 THEN CAST(f.standing AS VARCHAR)
      || ' faults of its signals stand at the end of the window; the first is ' || f.first_fault
    WHEN f.standing = 1 THEN 'One fault of its signals stands at the end of the window: '
      || f.first_fault
    WHEN f.cluster IS NOT NULL THEN 'Its signals had faults, which were mended.'
    ELSE 'No rule finds a fault in what it listens to.'
  END AS reason,
  CASE WHEN s.to_ms > $window_end_ms THEN $window_end_ms ELSE s.to_ms END
    - CASE WHEN s.from_ms < $window_start_ms THEN $window_start_ms ELSE s.from_ms END AS existed_ms,
  CAST(CASE WHEN s.to_ms >= $window_end_ms THEN 1 ELSE 0 END AS BIGINT) AS alive,
  CAST(0 AS BIGINT) AS band_percent,
  'Mend the trigger: what it wastes shows in the findings about its workload.' AS remedy,
  CAST(NULL AS VARCHAR) AS remedy_action,
  CAST(NULL AS VARCHAR) AS remedy_current,
  CAST(NULL AS VARCHAR) AS remedy_proposed,
  CAST(NULL AS VARCHAR) AS remedy_risk,
  CAST(NULL AS VARCHAR) AS remedy_disruption,
  COALESCE(s.workload_kind || '/' || s.workload_name, 'none known') AS ev_workload,
  COALESCE(f.standing, 0) AS ev_standing_faults,
  COALESCE(f.renamed_metric, 'none') AS ev_renamed_metric,
  COALESCE(f.unfiltered_query, 'none') AS ev_unfiltered_query,
  COALESCE(f.label_mismatch, 'none') AS ev_label_mismatch,
  COALESCE(f.two_scalers, 'none') AS ev_two_scalers,
  COALESCE(f.gpu_utilisation, 'none') AS ev_gpu_utilisation_target,
  COALESCE(f.wake_signal, 'none') AS ev_wake_signal_vanishes,
  COALESCE(f.blind_scaler, 'none') AS ev_blind_scaler,
  COALESCE(f.mean_of_pods, 'none') AS ev_mean_of_pods
FROM scalers AS s
LEFT JOIN summed AS f
  ON s.cluster = f.cluster
  AND s.namespace = f.namespace
  AND s.scaler_kind = f.scaler_kind
  AND s.scaler_name = f.scaler_name
ORDER BY s.cluster, s.namespace, s.scaler_kind, s.scaler_name
