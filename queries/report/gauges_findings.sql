-- Findings by cluster, detector and status, and what they would save a month; accepted waste is in no sum.
SELECT
  cluster,
  detector,
  status,
  CAST(COUNT(*) AS BIGINT) AS findings,
  CAST(COALESCE(SUM(CASE WHEN status = 'alarm' AND state <> 'accepted' THEN net_monthly_usd END), CAST(0 AS DECIMAL(38, 6)))
    AS DECIMAL(38, 6)) AS net_monthly_usd
FROM v_findings
GROUP BY cluster, detector, status
ORDER BY cluster, detector, status
