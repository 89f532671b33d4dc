/*---
name: stg_engine_processes
title: Engine processes, numbered
order: 114
parts: workloads
grain: [process]
requires: [serving_samples]
params: {}
---*/
-- Seven texts name a process; what sorts and groups its scrapes needs one number.
WITH named AS (
  SELECT DISTINCT namespace, pod, COALESCE(container, '') AS container, target, engine,
    COALESCE(engine_index, '') AS engine_index, COALESCE(model_name, '') AS model_name
  FROM serving_samples
  WHERE cluster = $cluster
)
SELECT CAST(ROW_NUMBER() OVER (
    ORDER BY namespace, pod, container, target, engine, engine_index, model_name) AS BIGINT) AS process,
  namespace, pod, container, target, engine, engine_index, model_name
FROM named
ORDER BY process
