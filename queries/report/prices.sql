-- The prices that the publication's runs used.
SELECT DISTINCT
  price_key,
  COALESCE(effective_usd_per_gpu_hour, contracted_usd_per_gpu_hour, list_usd_per_gpu_hour) AS usd_per_gpu_hour,
  rung,
  provenance
FROM prices
ORDER BY price_key
