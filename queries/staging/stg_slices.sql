/*---
name: stg_slices
title: Slices that exist, clipped to what the sources have completed
order: 60
grain: [slice_id]
requires: [slices]
params: {}
---*/
WITH clipped AS (
  SELECT node, slot, slice, gpu_uuid, gpu, mig_instance, slice_kind, share_num, share_den,
    gpu_product, instance_type, price_key, unavailable,
    GREATEST(valid_from_ms, $day_start_ms - $margin_ms) AS from_ms,
    -- After the last complete moment of the sources nothing is known to exist.
    LEAST(valid_to_ms, $day_end_ms + $margin_ms, $data_end_ms,
      COALESCE(LEAD(valid_from_ms) OVER (
        PARTITION BY node, slot, slice ORDER BY valid_from_ms, valid_to_ms), valid_to_ms)) AS to_ms
  FROM slices
  WHERE cluster = $cluster
    AND valid_to_ms > $day_start_ms - $margin_ms
    AND valid_from_ms < $day_end_ms + $margin_ms
)
SELECT CAST(ROW_NUMBER() OVER (ORDER BY node, slot, slice, from_ms) AS BIGINT) AS slice_id,
  node, slot, slice, gpu_uuid, gpu, mig_instance, slice_kind, share_num, share_den,
  gpu_product, instance_type, COALESCE(price_key, '') AS price_key,
  CAST(CASE WHEN unavailable THEN 1 ELSE 0 END AS BIGINT) AS unavailable, from_ms, to_ms
FROM clipped
WHERE to_ms > from_ms
ORDER BY slice_id
