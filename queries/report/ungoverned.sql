-- Changes of scale and of GPUs by somebody's hand since decisions are asked for, oldest first. What scalers
-- do by themselves is not among them: ungoverned-change prices it. People are told from machines as there;
-- a bound that changed by an unknown hand counts, as no scaler moves its own bounds.
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  seen_ms,
  COALESCE(not_before_ms, seen_ms) AS not_before_ms,
  object,
  field,
  what,
  before,
  after,
  actor
FROM scaling_events
WHERE seen_ms > $since_ms
  AND seen_in <> 'pods'
  AND what IN ('replicas', 'min_replicas', 'max_replicas', 'idle_replicas', 'paused', 'gpus', 'gpu_selection')
  AND (
    actor LIKE 'kubectl%' OR actor LIKE '%helm%' OR actor LIKE '%argocd%' OR actor LIKE '%flux%'
    OR actor LIKE '%kustomize-controller%' OR actor LIKE '%terraform%'
    OR (actor IS NULL AND what <> 'replicas')
  )
ORDER BY cluster, seen_ms, object, field
