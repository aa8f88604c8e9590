-- title: Forecast of the budget nearest its cap
-- Three points of one line: nothing at the window's start, what is spent now, the forecast at its
-- end. Windows without an end have no forecast.
WITH nearest AS (
  SELECT
    CONCAT(LEFT(budget_id, 40), ' · ', LEFT(scope_value, 60)) AS budget,
    window_start,
    window_end,
    updated_at,
    limit_usd,
    spent_usd,
    forecast_usd,
    forecast_low_usd,
    forecast_high_usd
  FROM budget_state
  WHERE window_end > now() AND forecast_usd IS NOT NULL
  ORDER BY forecast_usd / NULLIF(limit_usd, 0) DESC, budget_id, scope_value
  LIMIT 1
)
SELECT
  budget,
  window_start AS at,
  limit_usd * 0 AS spent_usd,
  CAST(NULL AS DECIMAL(28, 9)) AS forecast_usd,
  CAST(NULL AS DECIMAL(28, 9)) AS forecast_low_usd,
  CAST(NULL AS DECIMAL(28, 9)) AS forecast_high_usd,
  limit_usd
FROM nearest
UNION ALL
SELECT
  budget,
  updated_at AS at,
  spent_usd,
  spent_usd AS forecast_usd,
  spent_usd AS forecast_low_usd,
  spent_usd AS forecast_high_usd,
  limit_usd
FROM nearest
UNION ALL
SELECT
  budget,
  window_end AS at,
  CAST(NULL AS DECIMAL(28, 9)) AS spent_usd,
  forecast_usd,
  forecast_low_usd,
  forecast_high_usd,
  limit_usd
FROM nearest
ORDER BY at
