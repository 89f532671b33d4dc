-- What was billed and what of it GPU time explains, by bill, provider and SKU, the largest first.
SELECT
  bill,
  provider,
  sku,
  CAST(SUM(billed_usd) AS DECIMAL(38, 6)) AS billed_usd,
  CAST(SUM(matched_usd) AS DECIMAL(38, 6)) AS matched_usd,
  CAST(SUM(residual_usd) AS DECIMAL(38, 6)) AS residual_usd
FROM bill_lines
GROUP BY bill, provider, sku
ORDER BY billed_usd DESC, bill, provider, sku
