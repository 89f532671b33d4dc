-- Every kind of node that GPU time was spent on, and how many GPUs such a node has.
SELECT
  s.cluster,
  s.price_key,
  MAX(n.gpu_count) AS gpus_per_node
FROM slices s
LEFT JOIN nodes n
  ON n.cluster = s.cluster AND n.date = s.date AND n.node = s.node
WHERE s.date >= CAST($from_date AS DATE) AND s.date < CAST($to_date AS DATE)
GROUP BY s.cluster, s.price_key
ORDER BY s.cluster, s.price_key
