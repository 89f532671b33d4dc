-- Full closed days of one workload: what it cost and the tokens that it was asked for. A day with an
-- hour missing, or with a second that has no price, is left out.
WITH cost AS (
  SELECT
    date AS day,
    COUNT(DISTINCT hour) AS hours,
    COUNT(*) AS parts,
    COUNT(effective_cost_usd) AS priced,
    SUM(effective_cost_usd) AS cost_usd
  FROM v_ledger
  WHERE cluster = $cluster
    AND namespace = $namespace
    AND workload_kind = $kind
    AND workload_name = $workload
    AND final
  GROUP BY date
),
demand AS (
  SELECT
    CAST(hour AS DATE) AS day,
    SUM(COALESCE(prompt_tokens, 0) + COALESCE(output_tokens, 0)) AS tokens
  FROM v_workload_hours
  WHERE cluster = $cluster
    AND namespace = $namespace
    AND workload_kind = $kind
    AND workload_name = $workload
  GROUP BY CAST(hour AS DATE)
)
SELECT
  CAST(ROUND(EXTRACT(EPOCH FROM CAST(c.day AS TIMESTAMP)) * 1000) AS BIGINT) AS day_ms,
  CAST(c.cost_usd AS DECIMAL(38, 6)) AS cost_usd,
  CAST(COALESCE(d.tokens, 0) AS BIGINT) AS tokens
FROM cost c
LEFT JOIN demand d ON d.day = c.day
WHERE c.hours = 24
  AND c.parts = c.priced
ORDER BY day_ms
