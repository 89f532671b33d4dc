-- The newest body of every object that scales, up to the window's end. An object that stayed as it was has
-- later rows without one.
WITH bodies AS (
  SELECT
    cluster,
    namespace,
    kind,
    name,
    object_json,
    ROW_NUMBER() OVER (
      PARTITION BY cluster, namespace, kind, name ORDER BY seen_from DESC, seen_to DESC, api_version
    ) AS place
  FROM objects
  WHERE (kind IN ('HorizontalPodAutoscaler', 'ScaledObject', 'PodAutoscaler')
      OR (kind IN ('Service', 'Configuration') AND api_version LIKE 'serving.knative.dev/%'))
    AND object_json IS NOT NULL
    AND CAST(round(extract(epoch FROM seen_from) * 1000) AS BIGINT) < $to_ms
)
SELECT cluster, namespace, kind, name, object_json
FROM bodies
WHERE place = 1
ORDER BY cluster, namespace, kind, name
