-- Where sources contradict each other or leave a hole within the window: each check with how many things it
-- is true of, and one of its sentences.
SELECT
  cluster,
  scope,
  check_id,
  CAST(COUNT(*) AS BIGINT) AS things,
  MIN(message) AS message
FROM (
  SELECT cluster, scope, check_id, namespace, kind, name, MIN(message) AS message
  FROM data_quality
  WHERE valid_from_ms < $window_end_ms AND valid_to_ms > $window_start_ms
  GROUP BY cluster, scope, check_id, namespace, kind, name
) AS things
GROUP BY cluster, scope, check_id
ORDER BY things DESC, cluster, scope, check_id
