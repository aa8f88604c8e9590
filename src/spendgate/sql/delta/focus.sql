-- The view focus_charges: `charges` as FOCUS 1.3, a superset of 1.2 with both pairs of provider
-- columns. {source} is the table; what begins with $ is quoted text of the settings. Times are made
-- from seconds, so that the session's time zone stays out.

-- name: focus_charges
WITH named AS (
  SELECT
    *,
    CASE token_kind
      WHEN 'input' THEN 'Input Tokens'
      WHEN 'cache_read' THEN 'Cached Input Tokens'
      WHEN 'cache_write' THEN 'Cache Write Tokens'
      WHEN 'output' THEN 'Output Tokens'
      WHEN 'reasoning' THEN 'Reasoning Tokens'
      ELSE 'Requests'
    END AS meter,
    token_kind <> 'none' AS is_tokens,
    CASE
      WHEN token_kind <> 'none' THEN CAST(quantity AS DECIMAL(20, 0)) * CAST(0.000001 AS DECIMAL(7, 6))
      ELSE CAST(quantity AS DECIMAL(20, 0))
    END AS priced_quantity,
    CAST(list_usd AS DECIMAL(18, 12)) * CAST(quantity AS DECIMAL(19, 0)) AS list_cost,
    CAST(list_usd * 1000000 AS DECIMAL(38, 12)) AS list_price,
    CAST(list_dbu * 1000000 AS DECIMAL(38, 12)) AS list_price_dbu,
    trunc(date_from_unix_date(CAST(unix_seconds(hour) DIV 86400 AS INT)), 'MM') AS month
  FROM {source}
),
priced AS (
  SELECT
    *,
    CASE
      WHEN list_price IS NOT NULL THEN list_price
      WHEN priced_quantity > 0 THEN CAST(cost_usd / priced_quantity AS DECIMAL(38, 12))
    END AS unit_price,
    COALESCE(CAST(list_cost AS DECIMAL(38, 12)), CAST(cost_usd AS DECIMAL(38, 12))) AS listed,
    dbu IS NOT NULL AS is_dbu
  FROM named
)
SELECT
  CAST(NULL AS STRING) AS AllocatedTags,
  CAST(NULL AS STRING) AS AllocatedMethodDetails,
  CAST(NULL AS STRING) AS AllocatedMethodId,
  CAST(NULL AS STRING) AS AllocatedResourceId,
  CAST(NULL AS STRING) AS AllocatedResourceName,
  CAST(NULL AS STRING) AS AvailabilityZone,
  cost_usd AS BilledCost,
  $account_id AS BillingAccountId,
  $account_name AS BillingAccountName,
  'Account' AS BillingAccountType,
  'USD' AS BillingCurrency,
  timestamp_seconds(unix_date(add_months(month, 1)) * 86400L) AS BillingPeriodEnd,
  timestamp_seconds(unix_date(month) * 86400L) AS BillingPeriodStart,
  CAST(NULL AS STRING) AS CapacityReservationId,
  CAST(NULL AS STRING) AS CapacityReservationStatus,
  'Usage' AS ChargeCategory,
  CASE WHEN charge_class = 'correction' THEN 'Correction' END AS ChargeClass,
  CASE
    WHEN charge_class = 'correction' THEN concat(model, ', correction')
    WHEN token_kind = 'none' THEN concat(model, ', calls whose usage is not known')
    ELSE concat(model, ', ', lower(meter))
  END AS ChargeDescription,
  'Usage-Based' AS ChargeFrequency,
  timestamp_seconds(unix_seconds(hour) + 3600) AS ChargePeriodEnd,
  hour AS ChargePeriodStart,
  CAST(NULL AS STRING) AS CommitmentDiscountCategory,
  CAST(NULL AS STRING) AS CommitmentDiscountId,
  CAST(NULL AS STRING) AS CommitmentDiscountName,
  CAST(NULL AS DECIMAL(38, 12)) AS CommitmentDiscountQuantity,
  CAST(NULL AS STRING) AS CommitmentDiscountStatus,
  CAST(NULL AS STRING) AS CommitmentDiscountType,
  CAST(NULL AS STRING) AS CommitmentDiscountUnit,
  CAST(quantity AS DECIMAL(38, 6)) AS ConsumedQuantity,
  CASE WHEN quantity IS NULL THEN NULL WHEN is_tokens THEN 'Tokens' ELSE 'Requests' END
    AS ConsumedUnit,
  CAST(NULL AS STRING) AS ContractApplied,
  listed AS ContractedCost,
  unit_price AS ContractedUnitPrice,
  cost_usd AS EffectiveCost,
  $cloud AS HostProviderName,
  CAST(NULL AS STRING) AS InvoiceId,
  'Databricks' AS InvoiceIssuerName,
  listed AS ListCost,
  unit_price AS ListUnitPrice,
  'Standard' AS PricingCategory,
  CASE WHEN is_dbu THEN 'DBU' ELSE 'USD' END AS PricingCurrency,
  CASE WHEN is_dbu THEN list_price_dbu ELSE unit_price END AS PricingCurrencyContractedUnitPrice,
  CASE WHEN is_dbu THEN dbu ELSE cost_usd END AS PricingCurrencyEffectiveCost,
  CASE WHEN is_dbu THEN list_price_dbu ELSE unit_price END AS PricingCurrencyListUnitPrice,
  CAST(priced_quantity AS DECIMAL(38, 6)) AS PricingQuantity,
  CASE WHEN quantity IS NULL THEN NULL WHEN is_tokens THEN '1000000 Tokens' ELSE 'Requests' END
    AS PricingUnit,
  'Databricks' AS ProviderName,
  'Databricks' AS PublisherName,
  CAST(NULL AS STRING) AS RegionId,
  CAST(NULL AS STRING) AS RegionName,
  COALESCE(concat(upstream, '/', model), model) AS ResourceId,
  model AS ResourceName,
  'Model Serving Endpoint' AS ResourceType,
  'AI and Machine Learning' AS ServiceCategory,
  'Foundation Model Serving' AS ServiceName,
  'Databricks' AS ServiceProviderName,
  'Generative AI' AS ServiceSubcategory,
  concat(model, '/', token_kind) AS SkuId,
  meter AS SkuMeter,
  to_json(
    named_struct(
      'x_ModelId', model,
      'x_TokenDirection', CASE
        WHEN token_kind IN ('output', 'reasoning') THEN 'Output'
        WHEN token_kind <> 'none' THEN 'Input'
      END,
      'x_TokenCacheAction', CASE token_kind
        WHEN 'cache_read' THEN 'Read'
        WHEN 'cache_write' THEN 'Write'
        WHEN 'none' THEN NULL
        ELSE 'None'
      END,
      'x_ContextTier', context_tier,
      'x_Geo', geo
    )
  ) AS SkuPriceDetails,
  concat(model, '/', token_kind, '/', COALESCE(price_version, 'unknown')) AS SkuPriceId,
  $workspace_id AS SubAccountId,
  CAST(NULL AS STRING) AS SubAccountName,
  CASE WHEN $workspace_id IS NOT NULL THEN 'Workspace' END AS SubAccountType,
  tags AS Tags,
  org_id AS x_OrgId,
  team_id AS x_TeamId,
  agent_id AS x_AgentId,
  user_id AS x_UserId,
  requests AS x_RequestCount,
  price_version AS x_PriceVersion
FROM priced
