-- Versions of Kubernetes objects, joined up over the days in which they were seen. A row without a
-- body says that its version was seen again; MIN leaves it out.
SELECT
  api_version,
  kind,
  COALESCE(namespace, '') AS namespace,
  name,
  uid,
  MIN(object_json) AS object_json,
  CAST(ROUND(EXTRACT(EPOCH FROM MIN(seen_from)) * 1000) AS BIGINT) AS seen_from_ms,
  CAST(ROUND(EXTRACT(EPOCH FROM MAX(seen_to)) * 1000) AS BIGINT) AS seen_to_ms
FROM objects
WHERE cluster = $cluster
GROUP BY api_version, kind, COALESCE(namespace, ''), name, uid, resource_version
ORDER BY api_version, kind, namespace, name, seen_from_ms, seen_to_ms, uid NULLS FIRST
