-- FOCUS cost-and-usage rows: one charge a day, node, workload and class of the ledger. Hours without a
-- known price have no cost and are no charge; the caller says how many they are.
WITH newest AS (
  SELECT
    cluster,
    node,
    provider,
    region,
    zone,
    instance_type,
    capacity_type,
    provider_id,
    ROW_NUMBER() OVER (PARTITION BY cluster, node ORDER BY valid_to_ms DESC, valid_from_ms DESC) AS pick
  FROM nodes
),
charges AS (
  SELECT
    l.date,
    l.cluster,
    l.node,
    l.gpu_product,
    l.price_key,
    l.namespace,
    l.workload_kind,
    l.workload_name,
    l.model,
    l.team,
    l.class,
    CAST(SUM(l.ms) AS BIGINT) AS ms,
    CAST(SUM(l.list_cost_usd) AS DECIMAL(38, 6)) AS list_usd,
    CAST(SUM(CAST(CAST(l.ms AS DECIMAL(15, 0)) * CAST(COALESCE(p.contracted_usd_per_gpu_hour, p.list_usd_per_gpu_hour)
      AS DECIMAL(16, 6)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(38, 10))) AS DECIMAL(38, 6)) AS contracted_usd,
    CAST(SUM(l.effective_cost_usd) AS DECIMAL(38, 6)) AS effective_usd
  FROM v_ledger AS l
  LEFT JOIN prices AS p ON p.cluster = l.cluster AND p.price_key = l.price_key
  WHERE l.date >= $from_date AND l.date < $to_date AND l.final
  GROUP BY l.date, l.cluster, l.node, l.gpu_product, l.price_key, l.namespace, l.workload_kind,
    l.workload_name, l.model, l.team, l.class
)
SELECT
  c.effective_usd AS "BilledCost",
  c.cluster AS "BillingAccountId",
  c.cluster AS "BillingAccountName",
  'USD' AS "BillingCurrency",
  to_char(date_trunc('month', CAST(c.date AS TIMESTAMP)), '%Y-%m-%dT00:00:00Z') AS "BillingPeriodStart",
  to_char(date_trunc('month', CAST(c.date AS TIMESTAMP)) + INTERVAL '1 month', '%Y-%m-%dT00:00:00Z') AS "BillingPeriodEnd",
  'Usage' AS "ChargeCategory",
  CAST(NULL AS VARCHAR) AS "ChargeClass",
  CASE
    WHEN c.workload_name <> '' THEN COALESCE(c.gpu_product, 'GPU') || ' held by ' || c.namespace || '/' || c.workload_name || ', ' || c.class
    ELSE COALESCE(c.gpu_product, 'GPU') || ' held by nobody, ' || c.class
  END AS "ChargeDescription",
  'Usage-Based' AS "ChargeFrequency",
  to_char(CAST(c.date AS TIMESTAMP), '%Y-%m-%dT00:00:00Z') AS "ChargePeriodStart",
  to_char(CAST(c.date AS TIMESTAMP) + INTERVAL '1 day', '%Y-%m-%dT00:00:00Z') AS "ChargePeriodEnd",
  CAST(CAST(c.ms AS DECIMAL(18, 6)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(18, 6)) AS "ConsumedQuantity",
  'GPU-Hours' AS "ConsumedUnit",
  c.contracted_usd AS "ContractedCost",
  c.effective_usd AS "EffectiveCost",
  COALESCE(n.provider, 'unknown') AS "HostProviderName",
  COALESCE(n.provider, 'unknown') AS "InvoiceIssuerName",
  c.list_usd AS "ListCost",
  CASE n.capacity_type WHEN 'spot' THEN 'Dynamic' WHEN 'reserved' THEN 'Committed' ELSE 'Standard' END AS "PricingCategory",
  CAST(CAST(c.ms AS DECIMAL(18, 6)) / CAST(3600000 AS DECIMAL(7, 0)) AS DECIMAL(18, 6)) AS "PricingQuantity",
  'GPU-Hours' AS "PricingUnit",
  n.region AS "RegionId",
  n.region AS "RegionName",
  COALESCE(n.provider_id, c.cluster || '/' || c.node) AS "ResourceId",
  c.node AS "ResourceName",
  'Virtual Machine' AS "ResourceType",
  'Compute' AS "ServiceCategory",
  'GPU nodes of Kubernetes' AS "ServiceName",
  COALESCE(n.provider, 'unknown') AS "ServiceProviderName",
  c.price_key AS "SkuId",
  n.instance_type AS "SkuMeter",
  c.cluster AS "SubAccountId",
  c.cluster AS "SubAccountName",
  n.zone AS "AvailabilityZone",
  c.class AS "x_GpuState",
  CASE WHEN c.class IN ('surplus', 'misplaced', 'starved', 'dark', 'unallocated') THEN c.class END AS "x_WasteClass",
  c.gpu_product AS "x_GpuProduct",
  c.namespace AS "x_Namespace",
  c.workload_kind AS "x_WorkloadKind",
  c.workload_name AS "x_WorkloadName",
  c.model AS "x_Model",
  c.team AS "x_Team"
FROM charges AS c
LEFT JOIN newest AS n ON n.cluster = c.cluster AND n.node = c.node AND n.pick = 1
WHERE c.list_usd IS NOT NULL AND c.contracted_usd IS NOT NULL AND c.effective_usd IS NOT NULL
ORDER BY c.date, c.cluster, c.node, c.gpu_product, c.price_key, c.namespace, c.workload_kind, c.workload_name,
  c.model, c.team, c.class
