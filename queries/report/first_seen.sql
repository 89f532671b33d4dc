-- When each finding of the last publication was first seen.
SELECT finding_id, MIN(first_seen_ms) AS first_seen_ms
FROM findings
GROUP BY finding_id
ORDER BY finding_id
