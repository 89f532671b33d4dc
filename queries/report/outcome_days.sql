-- Full closed days of one workload, from its first on: what each cost and the tokens that it was asked for.
-- Which days were closed is the cluster's: where the workload held nothing, it cost nothing and served
-- nothing. A day with a second that has no price is left out; an hour in which a replica ran and nobody
-- counted leaves the day's tokens unknown.
WITH fleet AS (
  SELECT
    date AS day,
    COUNT(DISTINCT hour) AS hours
  FROM v_ledger
  WHERE cluster = $cluster
    AND date >= CAST($from_date AS DATE)
    AND final
  GROUP BY date
),
own AS (
  SELECT
    date AS day,
    COUNT(*) AS parts,
    COUNT(effective_cost_usd) AS priced,
    SUM(effective_cost_usd) AS cost_usd
  FROM v_ledger
  WHERE cluster = $cluster
    AND date >= CAST($from_date AS DATE)
    AND namespace = $namespace
    AND workload_kind = $kind
    AND workload_name = $workload
    AND final
  GROUP BY date
),
born AS (
  SELECT MIN(day) AS day
  FROM own
),
demand AS (
  SELECT
    CAST(hour AS DATE) AS day,
    SUM(CASE WHEN replica_hours > 0 AND prompt_tokens IS NULL AND output_tokens IS NULL THEN 1 ELSE 0 END) AS uncounted,
    SUM(COALESCE(prompt_tokens, 0) + COALESCE(output_tokens, 0)) AS tokens
  FROM v_workload_hours
  WHERE cluster = $cluster
    AND namespace = $namespace
    AND workload_kind = $kind
    AND workload_name = $workload
  GROUP BY CAST(hour AS DATE)
)
SELECT
  CAST(ROUND(EXTRACT(EPOCH FROM CAST(f.day AS TIMESTAMP)) * 1000) AS BIGINT) AS day_ms,
  CAST(COALESCE(c.cost_usd, 0) AS DECIMAL(38, 6)) AS cost_usd,
  CAST(CASE
    WHEN c.day IS NULL THEN 0
    WHEN d.uncounted = 0 THEN d.tokens
  END AS BIGINT) AS tokens
FROM fleet f
CROSS JOIN born b
LEFT JOIN own c ON c.day = f.day
LEFT JOIN demand d ON d.day = f.day
WHERE f.hours = 24
  AND f.day >= b.day
  AND (c.day IS NULL OR c.parts = c.priced)
ORDER BY day_ms
