-- How many faults of the data there are of each scope.
SELECT scope, COUNT(*) AS faults
FROM v_data_quality
GROUP BY scope
ORDER BY scope
