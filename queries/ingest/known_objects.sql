-- The versions of objects that one source and day hold, and when each was last seen.
SELECT
  api_version,
  kind,
  namespace,
  name,
  uid,
  resource_version,
  CAST(ROUND(EXTRACT(EPOCH FROM MAX(seen_to)) * 1000) AS BIGINT) AS seen_to_ms
FROM objects
WHERE source = $source
  AND date = CAST($date AS DATE)
GROUP BY api_version, kind, namespace, name, uid, resource_version
ORDER BY api_version, kind, namespace, name, uid, resource_version
