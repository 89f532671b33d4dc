-- GPU-hours of the window that have no price and so no cost.
SELECT
  CAST(COALESCE(SUM(CASE WHEN effective_cost_usd IS NULL THEN ms ELSE 0 END), 0) AS BIGINT) AS unpriced_ms
FROM v_ledger
WHERE date >= $from_date AND date < $to_date AND final
