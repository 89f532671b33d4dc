-- The last known content of the objects of one name in a namespace, by kind.
WITH versions AS (
  SELECT
    api_version,
    kind,
    uid,
    resource_version,
    MIN(object_json) AS object_json,
    MAX(seen_to) AS seen_to
  FROM objects
  WHERE cluster = $cluster AND COALESCE(namespace, '') = $namespace AND name = $name
  GROUP BY api_version, kind, uid, resource_version
),
ranked AS (
  SELECT v.*, ROW_NUMBER() OVER (
    PARTITION BY kind ORDER BY seen_to DESC, resource_version DESC NULLS LAST
  ) AS place
  FROM versions v
  WHERE object_json IS NOT NULL
)
SELECT api_version, kind, resource_version, object_json
FROM ranked
WHERE place = 1
ORDER BY kind
