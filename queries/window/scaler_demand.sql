/*---
name: scaler_demand
title: What each queue-driven workload was asked for, as its scaler's own metric tells it
grain: [cluster, namespace, workload_kind, workload_name, hour_ms]
requires: [scaler_hours, autoscalers]
params:
  min_told_percent: {type: int, unit: percent, default: 80, why: "an hour in which the metric was gone for longer says nothing of its queue, and nothing is not zero"}
order: 93
---*/
-- Scalers that listen to a queue. What a scaler is told may change in the window.
WITH listening AS (
  SELECT
    cluster,
    namespace,
    scaler_kind,
    scaler_name,
    workload_kind,
    workload_name,
    valid_from_ms,
    valid_to_ms,
    CASE
      -- A parked scaler asks its queue nothing.
      WHEN policy_json LIKE '%"paused"%' THEN NULL
      WHEN triggers_json LIKE '%"type":"kafka"%' OR triggers_json LIKE '%"type":"apache-kafka"%' THEN 'kafka'
      WHEN triggers_json LIKE '%"type":"aws-sqs-queue"%' THEN 'aws-sqs-queue'
      WHEN triggers_json LIKE '%"type":"rabbitmq"%' THEN 'rabbitmq'
      WHEN triggers_json LIKE '%"type":"gcp-pubsub"%' THEN 'gcp-pubsub'
      WHEN triggers_json LIKE '%"type":"azure-servicebus"%' THEN 'azure-servicebus'
      WHEN triggers_json LIKE '%"type":"azure-queue"%' THEN 'azure-queue'
      WHEN triggers_json LIKE '%"type":"azure-eventhub"%' THEN 'azure-eventhub'
      WHEN triggers_json LIKE '%"type":"redis%' THEN 'redis'
      WHEN triggers_json LIKE '%"type":"nats-jetstream"%' THEN 'nats-jetstream'
      WHEN triggers_json LIKE '%"type":"pulsar"%' THEN 'pulsar'
      WHEN triggers_json LIKE '%"type":"activemq"%' OR triggers_json LIKE '%"type":"artemis-queue"%'
        OR triggers_json LIKE '%"type":"ibmmq"%' OR triggers_json LIKE '%"type":"solace-event-queue"%' THEN 'message queue'
      -- An HPA names the metric that an adapter, or KEDA, answers it with.
      WHEN scaler_kind LIKE 'horizontalpodautoscaler%' AND triggers_json LIKE '%"type":"External"%'
        AND (triggers_json LIKE '%kafka%' OR triggers_json LIKE '%sqs%' OR triggers_json LIKE '%rabbitmq%'
          OR triggers_json LIKE '%pubsub%' OR triggers_json LIKE '%servicebus%' OR triggers_json LIKE '%consumer_lag%')
        THEN 'external metric'
    END AS queue,
    -- The target of one replica, where one trigger alone decides and its target is a mean.
    CASE
      WHEN scaler_kind = 'scaledobject.keda.sh' AND length(triggers_json) - length(replace(triggers_json, '"type":', '')) = 7
        AND triggers_json NOT LIKE '%"target_type":"Value"%' AND policy_json NOT LIKE '%"formula"%'
        THEN TRY_CAST(split_part(split_part(triggers_json, '"threshold":"', 2), '"', 1) AS DOUBLE)
    END AS threshold
  FROM autoscalers
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms AND workload_name IS NOT NULL
),
told AS (
  SELECT
    l.cluster,
    l.namespace,
    l.workload_kind,
    l.workload_name,
    h.hour_ms,
    l.scaler_kind || '/' || l.scaler_name AS scaler,
    l.queue,
    h.known_ms,
    h.asked_ms,
    h.value_milli_max,
    CASE WHEN l.threshold >= 0.001 AND l.threshold < 1000000000000
      -- No scaler holds a million: a sentinel in its place must not run over.
      THEN CAST(LEAST(ceil(CAST(h.value_milli_max AS DOUBLE) / CAST(l.threshold * 1000 AS DOUBLE)), 1000000.0) AS BIGINT) END
      AS needed_replicas,
    -- KEDA's own HPA repeats what KEDA says, divided by the replicas.
    ROW_NUMBER() OVER (
      PARTITION BY l.cluster, l.namespace, l.workload_kind, l.workload_name, h.hour_ms
      ORDER BY CASE WHEN l.scaler_kind = 'scaledobject.keda.sh' THEN 0 ELSE 1 END, l.valid_to_ms DESC,
        l.valid_from_ms DESC, l.scaler_kind, l.scaler_name
    ) AS pick
  FROM listening AS l
  INNER JOIN scaler_hours AS h
    ON l.cluster = h.cluster
    AND l.namespace = h.namespace
    AND l.scaler_kind = h.scaler_kind
    AND l.scaler_name = h.scaler_name
  WHERE l.queue IS NOT NULL
    AND h.hour_ms >= $window_start_ms AND h.hour_ms < $window_end_ms
    AND l.valid_from_ms < h.hour_ms + 3600000 AND l.valid_to_ms > h.hour_ms
)
SELECT
  cluster,
  namespace,
  workload_kind,
  workload_name,
  hour_ms,
  scaler,
  queue,
  known_ms,
  asked_ms,
  value_milli_max,
  needed_replicas,
  -- What waits is told by a glimpse; that nothing waits needs the hour.
  CAST(CASE WHEN asked_ms > 0 OR known_ms * 100 >= 3600000 * $min_told_percent THEN 1 ELSE 0 END AS BIGINT)
    AS is_told
FROM told
WHERE pick = 1
ORDER BY cluster, namespace, workload_kind, workload_name, hour_ms
