-- The uid of kube-system that a cluster was first seen with.
SELECT uid
FROM objects
WHERE cluster = $cluster
  AND api_version = 'v1'
  AND kind = 'Namespace'
  AND name = 'kube-system'
  AND uid IS NOT NULL
ORDER BY seen_from, uid
LIMIT 1
