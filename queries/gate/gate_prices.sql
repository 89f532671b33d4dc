-- What a GPU-hour costs under each price key of one cluster, and how well that is known.
SELECT
  price_key,
  MIN(rung) AS rung,
  MAX(band_percent) AS band_percent,
  MAX(COALESCE(effective_usd_per_gpu_hour, contracted_usd_per_gpu_hour, list_usd_per_gpu_hour)) AS price_usd
FROM prices
WHERE cluster = $cluster
GROUP BY price_key
ORDER BY price_key
